//! What a mesh does with each request that comes in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use mesh_core::request::content_length;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::connection::Connection;
use super::door::Door;
use super::drain::Begun;
use super::guard::Guard;
use super::refusal::Refusal;
use super::stream::PeerIdentity;
use super::untold;
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
    /// It asks the configuration's policies (`AuthorizationPolicy`): who is denied gets 403 `RBAC: access denied`, or
    /// gRPC's `PERMISSION_DENIED`, and heads that two readers could take for two requests get 400. A change of policy
    /// counts from the next request on, also of connections that are open.
    ///
    /// It verifies tokens (`RequestAuthentication`) before it asks the policies that speak of them: a bad one gets 401 with
    /// `www-authenticate`, or gRPC's `UNAUTHENTICATED`, and one for another audience 403. A request without a token passes;
    /// that there must be one is for a policy to say. Headers that a token's claims are written to are taken off first,
    /// whoever sent them. Signatures are verified by the cryptography of feature `tls`; without that feature the requests
    /// are refused. Keys are those of the configuration: where it would have them fetched (`remote_jwks`), tokens are
    /// refused with `Jwks remote fetch is failed`. istiod fetches them itself, unless it is told otherwise. Access log and
    /// traces tell the target without the parameters that tokens are looked for in.
    ///
    /// Before all that it takes off what a caller may
    /// not say of itself (`x-envoy-...`, and `x-forwarded-client-cert` of whom mutual TLS does not prove), and writes
    /// into `x-forwarded-client-cert` whom it does. The path that the application sees is the one that was judged. None
    /// of that is done where there are no rules. Put it around all that the server serves: what lies beside it
    /// is not guarded. A connection of which it sees no request is closed before its first answer if policies rule it;
    /// where there are none it is served, and headers and paths are not cleaned.
    ///
    /// ```
    /// # fn example(mesh: &mesh_tower::Mesh) -> impl Sized {
    /// let app = axum::Router::<()>::new().layer(mesh.inbound());
    /// # app }
    /// ```
    pub fn inbound(&self) -> InboundLayer {
        self.shared.door.layered();
        // It may stand behind a listener of others.
        self.shared.begin_to_listen();
        InboundLayer::of(&self.shared)
    }
}

/// Makes an [`Inbound`] of a service; from [`Mesh::inbound`].
#[derive(Debug, Clone)]
pub struct InboundLayer {
    drain: Begun,
    door: Arc<Door>,
    edges: Arc<Edges>,
    observer: Option<Arc<Observer>>,
}

impl InboundLayer {
    pub(super) fn of(shared: &Shared) -> Self {
        Self {
            drain: shared.drain.begun(),
            door: Arc::clone(&shared.door),
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
            door: Arc::clone(&self.door),
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
    door: Arc<Door>,
    edges: Arc<Edges>,
    observer: Option<Arc<Observer>>,
}

impl<S, B, R> Service<Request<B>> for Inbound<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
    // Of an answer of the mesh's own.
    R::Data: From<Bytes>,
{
    type Response = Response<Accounted<R>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let begun = telemetry::Begun::now(request.headers());
        identify(request.extensions_mut());
        let peer = request.extensions().get::<PeerIdentity>();
        let edge = peer.map_or_else(
            || self.edges.inbound(),
            |peer| peer.connection.edge(&self.edges),
        );
        let edge = Arc::clone(edge);
        let guard = Guard::of(&mut request, &self.door);
        // HTTP/2 has GOAWAY, and forbids this header (RFC 9113, 8.2.2).
        let http1 = request.version() < Version::HTTP_2;
        let ends = http1.then(|| Ends {
            drain: self.drain.clone(),
            connection: ruled(&request),
        });
        let is_head = request.method() == Method::HEAD;
        let is_grpc = begun.is_grpc();
        let mut account = begun.toward(Toward::Edge(edge));
        let scope = self.observer.as_ref().map(|observer| {
            let (observed, scope) = untold::told(&mut request, |request| observer.inbound(request));
            account.observe(observed);
            scope
        });
        let served = guard
            .pass(request)
            .map(|request| within(scope.as_ref(), || self.inner.call(request)));
        let (inner, refused) = match served {
            Ok(inner) => (Some(inner), None),
            Err(refusal) => (None, Some((refusal, is_grpc))),
        };
        Answering {
            inner,
            refused,
            ends,
            is_head,
            scope,
            account: Some(account),
        }
    }
}

/// Whether a connection of HTTP/1 takes no other request after this one.
#[derive(Debug)]
struct Ends {
    drain: Begun,
    /// If rules can end it.
    connection: Option<Arc<Connection>>,
}

impl Ends {
    fn now(&self) -> bool {
        let leaves = || self.connection.as_ref().is_some_and(|it| it.is_leaving());
        self.drain.get() || leaves()
    }
}

fn ruled<B>(request: &Request<B>) -> Option<Arc<Connection>> {
    let peer = request.extensions().get::<PeerIdentity>()?;
    let connection = &peer.connection;
    connection.is_ruled().then(|| Arc::clone(connection))
}

fn close<B>(response: &mut Response<B>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}

/// The mesh's own answer.
fn refused_by<R: Body>(
    refusal: &Refusal,
    is_grpc: bool,
    account: Option<Account>,
    ends: bool,
) -> Response<Accounted<R>> {
    let (mut response, text) = refusal.response(is_grpc);
    if ends {
        close(&mut response);
    }
    if let Some(mut account) = account {
        if let Some(observed) = account.observed() {
            observed.refused(&response, &refusal.details, text.len());
        }
        account.answered(response.status(), response.headers(), None);
        account.finished();
    }
    response.map(|()| Accounted::of_the_mesh(text))
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
        inner: Option<F>,
        refused: Option<(Refusal, bool)>,
        ends: Option<Ends>,
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
        let Some(inner) = this.inner.as_pin_mut() else {
            // Once it has answered, nobody asks again.
            let refused = this.refused.take();
            let (refusal, is_grpc) = refused.unwrap_or((Refusal::stranger(), false));
            let account = this.account.take();
            let ends = this.ends.as_ref().is_some_and(Ends::now);
            return Poll::Ready(Ok(refused_by(&refusal, is_grpc, account, ends)));
        };
        let answered = ready!(within(this.scope.as_ref(), || inner.poll(cx)));
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
        let ends = this.ends.as_ref().is_some_and(Ends::now);
        if ends && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            close(&mut response);
        }
        let account = account.map(|mut account| {
            if let Some(observed) = account.observed() {
                observed.answered(&response);
            }
            account.answered(response.status(), response.headers(), None);
            account
        });
        let (head, body) = response.into_parts();
        // Those of HTTP/1 are told apart by what they end with.
        let left = this
            .ends
            .as_ref()
            .and_then(|_| written(*this.is_head, &head));
        let body = Accounted::new(body, account, left);
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}
