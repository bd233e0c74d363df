//! What a mesh does with each request that comes in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use mesh_core::request::content_length;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::drain::Begun;
#[cfg(feature = "axum")]
use super::stream::PeerIdentity;
use crate::mesh::{Mesh, Shared};
use crate::telemetry::{self, Account, Accounted, Edges, Observer, Scope, Toward};

impl Mesh {
    /// The layer for requests that come in. [`Mesh::serve`] has it already; with `axum::serve` and tonic's server
    /// it is yours to add.
    ///
    /// It counts each request ([`Mesh::prometheus`]), and tells of it in traces and in the access log if the mesh has
    /// those. With feature `axum` it puts the [`PeerIdentity`](crate::PeerIdentity) of the connection, which
    /// `axum::serve` hands on as connect info, into the extensions of each request; [`Mesh::serve`] puts it there
    /// itself. While the mesh drains it answers HTTP/1 requests with `connection: close`, so that clients go elsewhere with the next one
    /// (RFC 9112, 9.6).
    ///
    /// ```
    /// # fn example(mesh: &mesh_tower::Mesh) -> impl Sized {
    /// let app = axum::Router::<()>::new().layer(mesh.inbound());
    /// # app }
    /// ```
    pub fn inbound(&self) -> InboundLayer {
        InboundLayer::of(&self.shared)
    }
}

/// Makes an [`Inbound`] of a service; from [`Mesh::inbound`].
#[derive(Debug, Clone)]
pub struct InboundLayer {
    drain: Begun,
    edges: Arc<Edges>,
    observer: Option<Arc<Observer>>,
}

impl InboundLayer {
    pub(super) fn of(shared: &Shared) -> Self {
        Self {
            drain: shared.drain.begun(),
            edges: Arc::clone(&shared.edges),
            observer: shared.observer.clone(),
        }
    }
}

impl<S> Layer<S> for InboundLayer {
    type Service = Inbound<S>;

    fn layer(&self, inner: S) -> Inbound<S> {
        Inbound {
            inner,
            drain: self.drain.clone(),
            edges: Arc::clone(&self.edges),
            observer: self.observer.clone(),
        }
    }
}

/// A service behind [`Mesh::inbound`].
#[derive(Debug, Clone)]
pub struct Inbound<S> {
    inner: S,
    drain: Begun,
    edges: Arc<Edges>,
    observer: Option<Arc<Observer>>,
}

impl<S, B, R> Service<Request<B>> for Inbound<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<Accounted<R>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let begun = telemetry::Begun::now(request.headers());
        let edge = Arc::clone(self.edges.inbound());
        identify(request.extensions_mut());
        // HTTP/2 has GOAWAY, and forbids this header (RFC 9113, 8.2.2).
        let http1 = request.version() < Version::HTTP_2;
        let drain = http1.then(|| self.drain.clone());
        let is_head = request.method() == Method::HEAD;
        let mut account = begun.toward(Toward::Edge(edge));
        let scope = self.observer.as_ref().map(|observer| {
            let (observed, scope) = observer.inbound(&mut request);
            account.observe(observed);
            scope
        });
        Answering {
            inner: within(scope.as_ref(), || self.inner.call(request)),
            drain,
            is_head,
            scope,
            account: Some(account),
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

/// How many bytes of a body HTTP/1 writes, if that is known beforehand (RFC 9112, 6.3).
fn written(is_head: bool, head: &http::response::Parts) -> Option<u64> {
    if is_head || matches!(head.status.as_u16(), 204 | 304) {
        return Some(0);
    }
    content_length(&head.headers)
}

/// A step of the application's, which finds there what the request carried.
fn within<T>(scope: Option<&Scope>, step: impl FnOnce() -> T) -> T {
    match scope {
        None => step(),
        Some(scope) => scope.within(step),
    }
}

pin_project! {
    /// The answer of an [`Inbound`].
    #[derive(Debug)]
    pub struct Answering<F> {
        #[pin]
        inner: F,
        drain: Option<Begun>,
        is_head: bool,
        scope: Option<Scope>,
        account: Option<Account>,
    }
}

impl<F, R, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<Accounted<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = ready!(within(this.scope.as_ref(), || this.inner.poll(cx)));
        let account = this.account.take();
        let mut response = match answered {
            Ok(response) => response,
            Err(error) => {
                if let Some(account) = account {
                    account.no_answer();
                }
                return Poll::Ready(Err(error));
            }
        };
        let closes = this.drain.as_ref().is_some_and(Begun::get);
        if closes && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        let account = account.map(|mut account| {
            if let Some(observed) = account.observed() {
                observed.answered(&response);
            }
            account.answered(response.status(), response.headers(), None);
            account
        });
        let (head, body) = response.into_parts();
        // Those of HTTP/1 are told apart by what they drain with.
        let left = this
            .drain
            .as_ref()
            .and_then(|_| written(*this.is_head, &head));
        let body = Accounted::new(body, account, left);
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}
