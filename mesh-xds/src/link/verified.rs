//! Channels, and what may be sent on which.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{Connecting, Secure, Secured, Terms, TokenFile};

/// How long connecting to the control plane may take (gRPC's minimum connect timeout is 20 s; a
/// control plane is near).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds half-open connections: without it a client can sit on stale endpoints for ever.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a stream is opened with.
pub(crate) struct Bounds {
    pub(crate) method: &'static str,
    /// In bytes.
    pub(crate) largest_response: usize,
}

/// The channel to a control plane.
#[derive(Debug, Clone)]
pub(crate) enum Wire {
    /// Nothing secret is sent on it.
    Plaintext(Channel),
    Verified(Verified),
}

/// A channel all of whose connections are made by a [`Secure`]. A token is sent on no other.
#[derive(Clone)]
pub struct Verified {
    channel: Channel,
    token: Option<TokenFile>,
}

impl Wire {
    /// To `host:port` or a socket, as `tonic` knows them.
    pub(crate) fn plaintext(endpoint: Endpoint) -> Self {
        Self::Plaintext(watched(endpoint).connect_lazy())
    }

    pub(crate) async fn stream<Q, R>(
        self,
        bounds: Bounds,
        requests: mpsc::Receiver<Q>,
    ) -> Result<Streaming<R>, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let requests = Request::new(ReceiverStream::new(requests));
        match self {
            Self::Plaintext(channel) => stream(channel, bounds, requests).await,
            Self::Verified(link) => {
                let requests = link.authorized(requests).await?;
                let opened = stream(link.channel.clone(), bounds, requests).await;
                opened.map_err(|status| link.explained(status))
            }
        }
    }
}

impl Verified {
    /// A channel that connects when it is first used, and again when it has to. `token` goes with each call.
    pub fn new(terms: &Terms, secure: Arc<dyn Secure>, token: Option<TokenFile>) -> Self {
        // Without the scheme of TLS, for which tonic would want its own.
        let endpoint = Endpoint::from(Uri::from_static("http://control-plane"));
        let endpoint = match origin(terms) {
            Some(origin) => endpoint.origin(origin),
            None => endpoint,
        };
        Self {
            channel: watched(endpoint).connect_with_connector_lazy(Connector(secure)),
            token,
        }
    }

    /// One call with one answer.
    ///
    /// # Errors
    /// When there is no verified connection, the token cannot be read, or the server says so.
    pub async fn unary<Q, R>(&self, method: &'static str, request: Q) -> Result<R, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let request = self.authorized(Request::new(request)).await?;
        let mut client = ready(self.channel.clone()).await?;
        let codec = ProstCodec::<Q, R>::default();
        let answer = client
            .unary(request, PathAndQuery::from_static(method), codec)
            .await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.explained(status)),
        }
    }

    /// Private: a request that has the token is for this channel.
    async fn authorized<T>(&self, mut request: Request<T>) -> Result<Request<T>, Status> {
        if let Some(token) = &self.token {
            let bearer = token.bearer().await?;
            request.metadata_mut().insert("authorization", bearer);
        }
        Ok(request)
    }

    /// A server that does not take a token says little.
    fn explained(&self, status: Status) -> Status {
        if status.code() != Code::Unauthenticated {
            return status;
        }
        let advice = match &self.token {
            Some(token) => format!(
                "the token of {:?} is not taken; it may have expired, or be for another audience",
                token.path()
            ),
            None => {
                "no token was sent; name the file of one (token_file, MESH_TOKEN_FILE)".to_owned()
            }
        };
        Status::unauthenticated(format!("{}; {advice}", status.message()))
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// What the server sees as `:scheme` and `:authority`.
fn origin(terms: &Terms) -> Option<Uri> {
    let name = match terms.server_name.contains(':') {
        true => format!("[{}]", terms.server_name),
        false => terms.server_name.to_string(),
    };
    format!("https://{name}:{}", terms.port).parse().ok()
}

pub(super) fn watched(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

async fn ready(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut client = Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(client)
}

pub(super) async fn stream<Q, R>(
    channel: Channel,
    bounds: Bounds,
    requests: Request<ReceiverStream<Q>>,
) -> Result<Streaming<R>, Status>
where
    Q: Message + 'static,
    R: Message + Default + 'static,
{
    let mut client = ready(channel)
        .await?
        .max_decoding_message_size(bounds.largest_response);
    let method = PathAndQuery::from_static(bounds.method);
    let codec = ProstCodec::<Q, R>::default();
    let opened = client.streaming(requests, method, codec).await?;
    Ok(opened.into_inner())
}

/// A status in one line, with its causes: tonic's own text stops at `transport error`.
pub fn told(status: &Status) -> String {
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

/// Where tonic asks for connections.
struct Connector(Arc<dyn Secure>);

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Secured>>;
    type Error = io::Error;
    type Future = Opened;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Opened {
        Opened(self.0.connect())
    }
}

struct Opened(Connecting);

impl Future for Opened {
    type Output = io::Result<TokioIo<Box<dyn Secured>>>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map_ok(TokioIo::new)
    }
}
