//! Moves the machine's bytes: one ADS stream, opened again for ever, and nothing else.
//!
//! Reading never waits for writing: a server that answers only after it was read, or reads only
//! after it answered, does not stop us.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use http::uri::PathAndQuery;
use mesh_core::snapshot::TableKey;
use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::machine::{self, Machine};
use super::request::Request;
use crate::assemble::Assembled;
use crate::dns::Lookups;

/// How long connecting to the control plane may take (gRPC's minimum connect timeout is 20 s; a
/// control plane is near).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds half-open connections: without it a client can sit on stale endpoints for ever.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The method of the stream.
const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// A sidecar's CDS of a large mesh is far above tonic's 4 MiB.
const LARGEST_RESPONSE: usize = 256 * 1024 * 1024;

/// A control plane's address.
#[derive(Debug, Clone)]
pub struct Server {
    uri: Arc<str>,
    endpoint: Endpoint,
}

impl Server {
    /// Parses `host:port` or `http://host:port`.
    ///
    /// # Errors
    /// When it is neither. TLS (`https`) is refused: it is not served yet, and must not become plaintext.
    pub fn parse(uri: &str) -> Result<Self, InvalidServer> {
        let error = |reason: String| InvalidServer {
            uri: uri.to_owned(),
            reason,
        };
        let full = match scheme(uri) {
            Some("http") => uri.to_owned(),
            // Before it is parsed: those of sockets and resolvers are no URIs to `http`.
            Some(scheme) => {
                return Err(error(format!(
                    "{scheme:?} is not served yet, and plaintext TCP in its place would be unsafe"
                )));
            }
            None => format!("http://{uri}"),
        };
        let parsed: http::Uri = full
            .parse()
            .map_err(|e: http::uri::InvalidUri| error(e.to_string()))?;
        if parsed.port_u16().is_none_or(|port| port == 0) {
            return Err(error("it has no port from 1 to 65535".to_owned()));
        }
        let endpoint = Endpoint::from_shared(full)
            .map_err(|e| error(e.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(Self {
            uri: uri.into(),
            endpoint,
        })
    }

    /// The address as it was given.
    pub fn uri(&self) -> &Arc<str> {
        &self.uri
    }
}

/// What precedes `://`, and gRPC's short forms `unix:PATH` and `unix-abstract:NAME`.
fn scheme(uri: &str) -> Option<&str> {
    let short = || {
        uri.split_once(':')
            .filter(|(scheme, _)| matches!(*scheme, "unix" | "unix-abstract"))
    };
    let (scheme, _) = uri.split_once("://").or_else(short)?;
    Some(scheme)
}

/// An address that no control plane can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("control plane {uri:?}: {reason}; expected host:port or http://host:port")]
pub struct InvalidServer {
    uri: String,
    reason: String,
}

/// What the other side of [`run`] holds: asks for tables, sees how the link stands.
#[derive(Debug)]
pub struct Control {
    /// Tables that calls have asked for.
    pub wanted: mpsc::UnboundedReceiver<TableKey>,
    /// Where the link's state is told.
    pub status: watch::Sender<machine::Status>,
    /// Looks up the names that clusters of DNS types have.
    pub lookups: Lookups,
}

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<DiscoveryResponse>, Status>> + Send>>;

/// Runs until every sender of [`Control::wanted`] is gone. `publish` gets each new generation.
pub async fn run(
    server: Server,
    mut machine: Machine,
    mut control: Control,
    mut rng: impl Rng,
    mut publish: impl FnMut(Assembled),
) {
    let client =
        Grpc::new(server.endpoint.connect_lazy()).max_decoding_message_size(LARGEST_RESPONSE);
    control.tell(&machine);
    loop {
        machine.connected();
        let Some(error) = serve(&mut machine, &mut control, client.clone(), &mut publish).await
        else {
            return;
        };
        // Said once per cause: a control plane that is away for an hour fills no log.
        if machine.status().last_error.as_deref() == Some(&*error) {
            tracing::debug!(server = %server.uri, error, "still no stream to the control plane");
        } else {
            tracing::warn!(server = %server.uri, error, "no stream to the control plane; what it sent stays in force");
        }
        machine.disconnected(error, now(), &mut rng);
        control.tell(&machine);
        if !pause(&mut machine, &mut control, &mut publish).await {
            return;
        }
    }
}

/// The reading half. A server may send its headers only after it has read a request, so requests go
/// out while the stream is still being opened.
enum Reading {
    Opening(Opening),
    Open(Box<Streaming<DiscoveryResponse>>),
}

impl Reading {
    /// The next response. Can be dropped and called again without loss.
    async fn next(&mut self) -> Result<Option<DiscoveryResponse>, Status> {
        loop {
            match self {
                Self::Opening(opening) => *self = Self::Open(Box::new(opening.await?)),
                Self::Open(responses) => return responses.message().await,
            }
        }
    }
}

async fn open(
    mut client: Grpc<Channel>,
    requests: mpsc::Receiver<Request>,
) -> Result<Streaming<DiscoveryResponse>, Status> {
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let requests = tonic::Request::new(ReceiverStream::new(requests));
    let codec = ProstCodec::<Request, DiscoveryResponse>::default();
    let opened = client
        .streaming(requests, PathAndQuery::from_static(METHOD), codec)
        .await?;
    Ok(opened.into_inner())
}

/// One stream's life. Returns why it ended; `None` when nobody wants anything any more.
async fn serve(
    machine: &mut Machine,
    control: &mut Control,
    client: Grpc<Channel>,
    publish: &mut impl FnMut(Assembled),
) -> Option<String> {
    let (outgoing, requests) = mpsc::channel(1);
    let mut reading = Reading::Opening(Box::pin(open(client, requests)));
    let mut unsent: Option<Request> = None;
    loop {
        if let Some(assembled) = machine.assemble(now()) {
            publish(assembled);
        }
        control.lookups.follow(&machine.lookups());
        unsent = unsent.or_else(|| machine.request(now()));
        let wake_at = machine.wake_at();
        tokio::select! {
            permit = outgoing.reserve(), if unsent.is_some() => {
                if let (Ok(permit), Some(request)) = (permit, unsent.take()) {
                    permit.send(request);
                }
            }
            response = reading.next() => match response {
                Ok(Some(response)) => {
                    machine.received(response);
                    control.tell(machine);
                }
                Ok(None) => return Some("the control plane ended the stream".to_owned()),
                Err(status) => return Some(describe(&status)),
            },
            wanted = control.wanted.recv() => {
                machine.want(wanted?);
            }
            (lookup, answer) = control.lookups.next() => machine.looked_up(&lookup, answer),
            () = sleep_until(wake_at) => {}
        }
    }
}

/// Between two streams. Returns false when nobody wants anything any more.
async fn pause(
    machine: &mut Machine,
    control: &mut Control,
    publish: &mut impl FnMut(Assembled),
) -> bool {
    loop {
        if let Some(assembled) = machine.assemble(now()) {
            publish(assembled);
        }
        control.lookups.follow(&machine.lookups());
        let wake_at = machine.wake_at();
        tokio::select! {
            () = sleep_until(machine.reconnect_at()) => return true,
            (lookup, answer) = control.lookups.next() => machine.looked_up(&lookup, answer),
            wanted = control.wanted.recv() => match wanted {
                Some(table) => drop(machine.want(table)),
                None => return false,
            },
            () = sleep_until(wake_at) => {}
        }
    }
}

impl Control {
    fn tell(&self, machine: &Machine) {
        self.status.send_if_modified(|status| {
            let differs = status != machine.status();
            if differs {
                status.clone_from(machine.status());
            }
            differs
        });
    }
}

fn describe(status: &Status) -> String {
    let mut text = format!("{}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
