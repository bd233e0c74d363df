//! Opens plaintext TCP connections within the cluster's `connect_timeout`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("cannot connect to {0}: {1}")]
    Tcp(SocketAddr, #[source] io::Error),
    #[error("cannot connect to {0} within {1:?}")]
    Timeout(SocketAddr, Duration),
    #[error("no HTTP connection to {0}: {1}")]
    Http(SocketAddr, #[source] hyper::Error),
}

pub(super) async fn tcp(
    address: SocketAddr,
    timeout: Duration,
) -> Result<TokioIo<TcpStream>, ConnectError> {
    let connecting = tokio::time::timeout(timeout, TcpStream::connect(address));
    let stream = match connecting.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(ConnectError::Tcp(address, error)),
        Err(_) => return Err(ConnectError::Timeout(address, timeout)),
    };
    // A request is one write; waiting for more only adds latency. A socket that is already dead
    // says so on its first use.
    drop(stream.set_nodelay(true));
    Ok(TokioIo::new(stream))
}
