//! The connections of a listener, for the servers of others: axum's and tonic's.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{Stream, unfold};

use super::listener::MeshListener;
use super::stream::MeshStream;

/// The accepted connections of a [`MeshListener`]; ends when draining begins.
pub struct Incoming {
    accepted: Pin<Box<dyn Stream<Item = MeshStream> + Send>>,
}

impl MeshListener {
    /// The accepted connections, for `serve_with_incoming_shutdown` of tonic's server and its like. They are TCP
    /// connections that nothing was read from.
    pub fn incoming(self) -> Incoming {
        let accepted = unfold(self, |mut listener| async move {
            let stream = listener.next().await?;
            Some((stream, listener))
        });
        Incoming {
            accepted: Box::pin(accepted),
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<MeshStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted
            .as_mut()
            .poll_next(cx)
            .map(|stream| stream.map(Ok))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

/// The connect info is the [`PeerIdentity`](crate::PeerIdentity), in the extensions of each request.
#[cfg(feature = "tonic-server")]
impl tonic::transport::server::Connected for MeshStream {
    type ConnectInfo = crate::PeerIdentity;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer().clone()
    }
}

/// For `axum::serve`. From the beginning of a drain on nothing is accepted any more.
#[cfg(feature = "axum")]
impl axum::serve::Listener for MeshListener {
    type Io = MeshStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (MeshStream, Self::Addr) {
        match self.next().await {
            Some(stream) => {
                let address = stream.peer().address;
                (stream, address)
            }
            // axum has no word for the end of a listener; `Mesh::draining` ends its loop.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Self::local_addr(self))
    }
}

/// For `into_make_service_with_connect_info::<PeerIdentity>()`.
#[cfg(feature = "axum")]
impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, MeshListener>>
    for crate::PeerIdentity
{
    fn connect_info(stream: axum::serve::IncomingStream<'_, MeshListener>) -> Self {
        stream.io().peer().clone()
    }
}
