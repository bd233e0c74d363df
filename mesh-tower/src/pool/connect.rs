//! Opens connections within the cluster's `connect_timeout`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mesh_core::cluster::Protocol;
use tokio::net::TcpStream;

use super::stream::Stream;
use crate::outside::{Dial, DialError};

/// Whom a pool connects to.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// An endpoint of a cluster, in plaintext.
    Endpoint {
        address: SocketAddr,
        connect_timeout: Duration,
    },
    /// A host outside of the mesh, in this version of HTTP.
    Outside(Arc<Dial>, Protocol),
}

/// A connection without HTTP on it yet.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) io: TokioIo<Stream>,
    pub(crate) address: SocketAddr,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect to {0}: {1}")]
    Tcp(SocketAddr, #[source] io::Error),
    #[error("cannot connect to {0} within {1:?}")]
    Timeout(Peer, Duration),
    #[error("no HTTP connection to {0}: {1}")]
    Http(SocketAddr, #[source] hyper::Error),
    #[error(transparent)]
    Outside(#[from] DialError),
}

impl Peer {
    pub(super) fn connect_timeout(&self) -> Duration {
        match self {
            Self::Endpoint {
                connect_timeout, ..
            } => *connect_timeout,
            Self::Outside(dial, _) => dial.connect_timeout(),
        }
    }

    /// Whether it belongs to the mesh, and so is set up for the way in which we keep connections.
    pub(super) const fn is_ours(&self) -> bool {
        matches!(self, Self::Endpoint { .. })
    }

    pub(super) async fn open(&self) -> Result<Open, ConnectError> {
        match self {
            Self::Endpoint {
                address,
                connect_timeout,
            } => {
                let connecting =
                    tokio::time::timeout(*connect_timeout, TcpStream::connect(*address));
                match connecting.await {
                    Ok(Ok(stream)) => Ok(Open::plain(stream, *address)),
                    Ok(Err(error)) => Err(ConnectError::Tcp(*address, error)),
                    Err(_) => Err(ConnectError::Timeout(self.clone(), *connect_timeout)),
                }
            }
            Self::Outside(dial, protocol) => Ok(dial.open(*protocol).await?),
        }
    }
}

impl Open {
    pub(crate) fn plain(stream: TcpStream, address: SocketAddr) -> Self {
        // A request is one write; waiting for more only adds latency. A socket that is already dead
        // says so on its first use.
        drop(stream.set_nodelay(true));
        Self {
            io: TokioIo::new(Stream::Plain(stream)),
            address,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(stream: crate::tls::Stream, address: SocketAddr) -> Self {
        drop(stream.get_ref().0.set_nodelay(true));
        Self {
            io: TokioIo::new(Stream::Tls(Box::new(stream))),
            address,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { address, .. } => address.fmt(f),
            Self::Outside(dial, _) => dial.fmt(f),
        }
    }
}
