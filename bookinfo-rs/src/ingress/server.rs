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
use tokio::net::{TcpListener, TcpStream};

use super::framing::Guard;
use super::proxy::Proxy;
use crate::process::GRACE;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

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

/// Listens on `address`, tells `listening` where, and serves until `stop`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    proxy: Proxy,
    address: SocketAddr,
    listening: impl FnOnce(SocketAddr) -> io::Result<()>,
    stop: impl Future<Output = ()>,
) -> Result<(), IngressError> {
    let at = |source| IngressError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(at)?;
    listening(listener.local_addr().map_err(at)?).map_err(IngressError::Announce)?;
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => connection(stream, peer, proxy.clone(), &connections),
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

fn connection(stream: TcpStream, peer: SocketAddr, proxy: Proxy, connections: &GracefulShutdown) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let proxy = proxy.clone();
        async move { Ok::<_, Infallible>(proxy.handle(request, Some(peer.ip())).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let io = TokioIo::new(Guard::new(stream));
    let serving = connections.watch(builder.serve_connection(io, service).into_owned());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::debug!(%error, %peer, "a connection ended early");
        }
    });
}
