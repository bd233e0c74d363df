//! The ingress's outer side: accepts connections, checks framing, serves HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::framing::Guard;
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
    #[error(
        "the ingress cannot listen on {address} ({source}); choose another port with --port, or let the system choose with --port 0"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The announcement could not be written.
    #[error("stdout is closed: {0}")]
    Announce(io::Error),
}

/// Listens on `address`, tells `listening` where, and serves until `stop`, within the default [`Limits`].
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    proxy: Proxy,
    address: SocketAddr,
    listening: impl FnOnce(SocketAddr) -> io::Result<()>,
    stop: impl Future<Output = ()>,
) -> Result<(), IngressError> {
    serve_within(Limits::default(), proxy, address, listening, stop).await
}

/// [`serve`] within these limits.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve_within(
    limits: Limits,
    proxy: Proxy,
    address: SocketAddr,
    listening: impl FnOnce(SocketAddr) -> io::Result<()>,
    stop: impl Future<Output = ()>,
) -> Result<(), IngressError> {
    let at = |source| IngressError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(at)?;
    listening(listener.local_addr().map_err(at)?).map_err(IngressError::Announce)?;
    let connections = GracefulShutdown::new();
    let builder = builder(limits);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    let io = Opening::new(Guard::new(stream), limits.head);
                    connection(io, peer, proxy.clone(), &builder, &connections);
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, connections.shutdown())
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

fn connection(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    proxy: Proxy,
    builder: &auto::Builder<TokioExecutor>,
    connections: &GracefulShutdown,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let proxy = proxy.clone();
        async move { Ok::<_, Infallible>(proxy.handle(request, Some(peer.ip())).await) }
    });
    let serving = builder.serve_connection(TokioIo::new(io), service);
    let serving = connections.watch(serving.into_owned());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::debug!(%error, %peer, "a connection ended early");
        }
    });
}
