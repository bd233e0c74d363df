//! What a mesh does with each request that comes in.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::drain::Begun;
#[cfg(feature = "axum")]
use super::stream::PeerIdentity;
use crate::mesh::Mesh;

impl Mesh {
    /// The layer for requests that come in. [`Mesh::serve`] has it already; with `axum::serve` and tonic's server
    /// it is yours to add.
    ///
    /// It puts the [`PeerIdentity`](crate::PeerIdentity) of the connection into the extensions of each request, and while the mesh
    /// drains it answers HTTP/1 requests with `connection: close`, so that clients go elsewhere with the next one
    /// (RFC 9112, 9.6).
    ///
    /// ```
    /// # fn example(mesh: &mesh_tower::Mesh) -> impl Sized {
    /// let app = axum::Router::<()>::new().layer(mesh.inbound());
    /// # app }
    /// ```
    pub fn inbound(&self) -> InboundLayer {
        InboundLayer {
            drain: self.shared.drain.begun(),
        }
    }
}

/// Makes an [`Inbound`] of a service; from [`Mesh::inbound`].
#[derive(Debug, Clone)]
pub struct InboundLayer {
    pub(super) drain: Begun,
}

impl<S> Layer<S> for InboundLayer {
    type Service = Inbound<S>;

    fn layer(&self, inner: S) -> Inbound<S> {
        Inbound {
            inner,
            drain: self.drain.clone(),
        }
    }
}

/// A service behind [`Mesh::inbound`].
#[derive(Debug, Clone)]
pub struct Inbound<S> {
    inner: S,
    drain: Begun,
}

impl<S, B, R> Service<Request<B>> for Inbound<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        identify(request.extensions_mut());
        // HTTP/2 has GOAWAY, and forbids this header (RFC 9113, 8.2.2).
        let drain = (request.version() < Version::HTTP_2).then(|| self.drain.clone());
        Answering {
            inner: self.inner.call(request),
            drain,
        }
    }
}

/// tonic puts the identity there by itself; axum wraps it.
#[cfg(feature = "axum")]
fn identify(extensions: &mut http::Extensions) {
    use axum::extract::ConnectInfo;

    if extensions.get::<PeerIdentity>().is_some() {
        return;
    }
    if let Some(ConnectInfo(peer)) = extensions.get::<ConnectInfo<PeerIdentity>>().cloned() {
        extensions.insert(peer);
    }
}

#[cfg(not(feature = "axum"))]
const fn identify(_: &mut http::Extensions) {}

pin_project! {
    /// The answer of an [`Inbound`].
    #[derive(Debug)]
    pub struct Answering<F> {
        #[pin]
        inner: F,
        drain: Option<Begun>,
    }
}

impl<F, R, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let closes = this.drain.as_ref().is_some_and(Begun::get);
        if closes && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Poll::Ready(Ok(response))
    }
}
