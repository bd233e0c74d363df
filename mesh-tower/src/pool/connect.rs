//! Opens plaintext TCP connections within the cluster's `connect_timeout`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Whom a pool connects to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) connect_timeout: Duration,
}

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

pub(super) async fn tcp(peer: Peer) -> Result<TokioIo<TcpStream>, ConnectError> {
    let Peer {
        address,
        connect_timeout: timeout,
    } = peer;
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
