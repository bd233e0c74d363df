//! A bound address of a mesh.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower_service::Service;

use super::serve;
use crate::error::BoxError;
use crate::mesh::{Mesh, Shared};

/// Accepts connections for a mesh. Bound, and not yet serving.
#[derive(Debug)]
pub struct MeshListener {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// An address that could not be bound.
#[derive(thiserror::Error)]
#[error("cannot listen on {address}: {cause}; choose another address, or port 0 for a free one")]
pub struct ListenError {
    address: String,
    #[source]
    cause: io::Error,
}

/// The sentence, not the fields: a `main` that returns the error prints this.
impl fmt::Debug for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Mesh {
    /// Binds `host:port`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn listen(&self, address: &str) -> Result<MeshListener, ListenError> {
        let error = |cause| ListenError {
            address: address.to_owned(),
            cause,
        };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let bound = listener.local_addr().map_err(error)?;
        Ok(MeshListener {
            listener,
            address: bound,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Binds and serves until [`Self::shutdown`].
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve<S, B>(&self, address: &str, service: S) -> Result<(), ListenError>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.listen(address).await?.serve(service).await
    }
}

impl MeshListener {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves HTTP/1.1 and HTTP/2 (told apart by the first bytes) until [`Mesh::shutdown`]. Takes any
    /// tower service: an axum router, tonic's routes, your own.
    ///
    /// # Errors
    /// None yet; listeners that take their security from the configuration can refuse to open.
    pub async fn serve<S, B>(self, service: S) -> Result<(), ListenError>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        serve::run(self.listener, service, self.shared.drain.member()).await;
        Ok(())
    }
}
