//! The ingress's outer side: takes connections that the gateway's listener lets in, checks framing, serves HTTP/1.1 and
//! HTTP/2.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use mesh_tower::{InboundLayer, ListenError, Mesh, MeshStream};
use tower_layer::Layer;
use tower_service::Service;

use super::framing::{Guard, Switch};
use super::opening::Opening;
use super::proxy::Proxy;
use crate::process::GRACE;

/// How long the ingress waits for a client before it takes the connection for dead.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the head of a request, the first byte included.
    pub head: Duration,
    /// Between two pings of an HTTP/2 connection.
    pub ping_interval: Duration,
    /// For the answer to such a ping.
    pub ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A head is one packet or a few: even over a bad line it is there in seconds, with retransmissions.
            head: Duration::from_secs(30),
            // An HTTP/2 connection has no heads to wait for, so it is asked as often as heads are waited for.
            ping_interval: Duration::from_secs(30),
            // Ten seconds are many round trips, on any line that could still carry a page.
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// Why the ingress cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The port is not free, or the address is not ours.
    #[error("the ingress {0} (--port)")]
    Listen(#[source] ListenError),
    /// The announcement could not be written.
    #[error("stdout is closed: {0}")]
    Announce(io::Error),
}

/// A gateway: its rules, and which of its ports is served.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Whose node is a router's.
    pub mesh: Mesh,
    /// The port's number in the `Gateway`, whatever port is listened on.
    pub port: u16,
}

/// Listens on `address`, tells `listening` where, and serves until `stop`, within the default [`Limits`].
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    gateway: &Gateway,
    address: SocketAddr,
    listening: impl FnOnce(SocketAddr) -> io::Result<()>,
    stop: impl Future<Output = ()>,
) -> Result<(), IngressError> {
    serve_within(Limits::default(), gateway, address, listening, stop).await
}

/// [`serve`] within these limits.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve_within(
    limits: Limits,
    gateway: &Gateway,
    address: SocketAddr,
    listening: impl FnOnce(SocketAddr) -> io::Result<()>,
    stop: impl Future<Output = ()>,
) -> Result<(), IngressError> {
    let Gateway { mesh, port } = gateway;
    let listener = mesh.listen(&address.to_string()).await;
    let listener = listener.map_err(IngressError::Listen)?;
    let listener = listener.as_gateway_port(*port);
    listening(listener.local_addr()).map_err(IngressError::Announce)?;
    let served = Served {
        proxy: Proxy::new(mesh.gateway(*port)),
        inbound: mesh.inbound(),
        builder: builder(limits),
        connections: GracefulShutdown::new(),
        limits,
    };
    let mut incoming = listener.incoming();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = incoming.next() => match accepted {
                Some(Ok(stream)) => served.connection(stream),
                Some(Err(error)) => tracing::warn!(%error, "a connection could not be accepted"),
                None => break,
            },
            () = &mut stop => break,
        }
    }
    drop(incoming);
    if tokio::time::timeout(GRACE, served.connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still open after {GRACE:?}; they end here");
    }
    Ok(())
}

fn builder(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}

/// What every connection gets.
struct Served {
    proxy: Proxy,
    inbound: InboundLayer,
    builder: auto::Builder<TokioExecutor>,
    connections: GracefulShutdown,
    limits: Limits,
}

impl Served {
    /// Policies are asked between the check of framing and the proxy, who sees what they have let through.
    fn connection(&self, stream: MeshStream) {
        let peer = stream.peer().clone();
        let address = peer.address;
        let switch = Switch::default();
        let io = Opening::new(Guard::new(stream, switch.clone()), self.limits.head);
        let proxied = self.inbound.layer(self.proxy.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let answer = proxied.clone().call(request);
            let switch = switch.clone();
            async move {
                let answer = answer.await;
                if let Ok(response) = &answer
                    && response.status() == StatusCode::SWITCHING_PROTOCOLS
                {
                    switch.set();
                }
                answer
            }
        });
        let builder = &self.builder;
        let serving = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
        let serving = self.connections.watch(serving.into_owned());
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, peer = %address, "a connection ended early");
            }
        });
    }
}
