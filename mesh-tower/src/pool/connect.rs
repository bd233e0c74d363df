//! Opens connections within the cluster's `connect_timeout`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mesh_core::cluster::Protocol;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

#[cfg(feature = "tls")]
use super::secured::Secured;
use super::stream::Stream;
use crate::error::{BoxError, Kind};
use crate::outside::{Dial, DialError};
use crate::security::{Plaintext, Via};
#[cfg(feature = "tls")]
use crate::tls::{Kept, TlsError};

/// How long nothing may come from an endpoint of the mesh before it is asked whether it is there.
const IDLE: Duration = Duration::from_secs(10);
/// How often it is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long it may leave that, and anything else that was sent, unanswered.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNANSWERED: Duration = Duration::from_secs(15);

/// Whom a pool connects to.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// An endpoint of a cluster.
    Endpoint {
        address: SocketAddr,
        connect_timeout: Duration,
        via: Via,
    },
    /// A host outside of the mesh.
    Outside(Arc<Dial>),
}

/// A connection without HTTP on it yet.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) io: TokioIo<Stream>,
    pub(crate) address: SocketAddr,
    /// Of a peer that is proven.
    #[cfg(feature = "tls")]
    pub(super) kept: Option<Kept>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect to {0}: {1}")]
    Tcp(SocketAddr, #[source] io::Error),
    #[error("cannot connect to {0} within {1:?}")]
    Timeout(Peer, Duration),
    #[cfg(feature = "tls")]
    #[error("no TLS with {0}: {1}")]
    Tls(SocketAddr, #[source] TlsError),
    #[cfg(feature = "tls")]
    #[error("no TLS with {0} within {1:?}: it is connected, and does not answer the handshake")]
    TlsTimeout(SocketAddr, Duration),
    #[cfg(feature = "tls")]
    #[error("no HTTP connection to {0}: {1}")]
    RefusedByPeer(SocketAddr, #[source] BoxError),
    #[error("no HTTP connection to {0}: {1}")]
    Http(SocketAddr, #[source] BoxError),
    #[error("all connections to {0} ended before one had room for the call")]
    NoRoom(Peer),
    #[error(transparent)]
    Outside(#[from] DialError),
}

impl ConnectError {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(..) | Self::TlsTimeout(..) | Self::RefusedByPeer(..) => Kind::Tls,
            Self::Outside(DialError::Forbidden(..)) => Kind::TlsDemanded,
            _ => Kind::Connect,
        }
    }
}

impl Peer {
    pub(super) fn connect_timeout(&self) -> Duration {
        match self {
            Self::Endpoint {
                connect_timeout, ..
            } => *connect_timeout,
            Self::Outside(dial) => dial.connect_timeout(),
        }
    }

    /// Whether it belongs to the mesh, and so is set up for the way in which we keep connections.
    pub(super) const fn is_ours(&self) -> bool {
        matches!(self, Self::Endpoint { .. })
    }

    /// Whether a handshake stands before the first request.
    pub(super) const fn is_secured(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Endpoint { via, .. } => matches!(via, Via::Tls(_)),
            #[cfg(not(feature = "tls"))]
            Self::Endpoint { .. } => false,
            // Those are as many as callers name, and each is called by few.
            Self::Outside(_) => false,
        }
    }

    /// A connection on which this version of HTTP is to be spoken.
    pub(super) async fn open(&self, protocol: Protocol) -> Result<Open, ConnectError> {
        match self {
            Self::Endpoint {
                address,
                connect_timeout,
                via,
            } => {
                let deadline = Instant::now() + *connect_timeout;
                let stream = match timeout_at(deadline, TcpStream::connect(*address)).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => return Err(ConnectError::Tcp(*address, error)),
                    Err(_) => return Err(ConnectError::Timeout(self.clone(), *connect_timeout)),
                };
                watched(&stream);
                match via {
                    Via::Plaintext(permit) => Ok(Open::plain(stream, *address, permit)),
                    #[cfg(feature = "tls")]
                    Via::Tls(client) => {
                        drop(stream.set_nodelay(true));
                        // One box more beside a handshake, and no larger future for all the others.
                        let securing = Box::pin(client.keep(stream, protocol));
                        match timeout_at(deadline, securing).await {
                            Ok(Ok((stream, kept))) => Ok(Open::kept(stream, *address, kept)),
                            Ok(Err(error)) => Err(ConnectError::Tls(*address, error)),
                            Err(_) => Err(ConnectError::TlsTimeout(*address, *connect_timeout)),
                        }
                    }
                }
            }
            Self::Outside(dial) => Ok(dial.open(protocol).await?),
        }
    }
}

/// Lets TCP find out that the other side is gone: without it a connection on which nobody answers stays for ever. A
/// platform that knows no such option goes without.
fn watched(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let asked = TcpKeepalive::new().with_time(IDLE).with_interval(AGAIN);
    drop(socket.set_tcp_keepalive(&asked));
    #[cfg(any(target_os = "linux", target_os = "android"))]
    drop(socket.set_tcp_user_timeout(Some(UNANSWERED)));
}

impl Open {
    pub(crate) fn plain(stream: TcpStream, address: SocketAddr, _: &Plaintext) -> Self {
        // A request is one write; waiting for more only adds latency. A socket that is already dead
        // says so on its first use.
        drop(stream.set_nodelay(true));
        Self {
            io: TokioIo::new(Stream::Plain(stream)),
            address,
            #[cfg(feature = "tls")]
            kept: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(stream: crate::tls::Stream, address: SocketAddr) -> Self {
        drop(stream.get_ref().0.set_nodelay(true));
        Self {
            io: TokioIo::new(Stream::Tls(Box::new(Secured::new(stream)))),
            address,
            kept: None,
        }
    }

    #[cfg(feature = "tls")]
    fn kept(stream: crate::tls::Stream, address: SocketAddr, kept: Kept) -> Self {
        let secured = Secured::kept(stream, kept.clone());
        Self {
            io: TokioIo::new(Stream::Tls(Box::new(secured))),
            address,
            kept: Some(kept),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { address, .. } => address.fmt(f),
            Self::Outside(dial) => dial.fmt(f),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::security::Security;

    #[tokio::test]
    async fn an_endpoint_that_is_gone_is_found_out() -> io::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let peer = Peer::Endpoint {
            address: listener.local_addr()?,
            connect_timeout: Duration::from_secs(10),
            via: Via::Plaintext(
                Security::AsConfigured
                    .beyond()
                    .map_err(|no| io::Error::other(no.to_string()))?,
            ),
        };
        let open = peer.open(Protocol::Http1).await.map_err(io::Error::other)?;
        #[cfg_attr(
            not(feature = "tls"),
            expect(irrefutable_let_patterns, reason = "one kind")
        )]
        let Stream::Plain(stream) = open.io.inner() else {
            return Err(io::Error::other("not plain"));
        };
        let socket = SockRef::from(stream);
        assert!(socket.keepalive()?);
        assert_eq!(socket.tcp_keepalive_time()?, IDLE);
        assert_eq!(socket.tcp_keepalive_interval()?, AGAIN);
        assert_eq!(socket.tcp_user_timeout()?, Some(UNANSWERED));
        Ok(())
    }
}
