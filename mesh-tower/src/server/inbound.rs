//! What a mesh does with each request that comes in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use mesh_core::request::content_length;
use mesh_core::server::ask::HeaderChange;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::asking::Asking;
use super::door::Door;
use super::drain::Begun;
use super::guard::{Guard, Judged};
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
    /// are refused. Keys are those of the configuration, or are fetched in the background from where it says
    /// (`remote_jwks`): before `cache_duration` is over anew, and sooner if a token names a key that is not there, once in
    /// 10 s at most. While an issuer cannot be reached the last ones hold until they are two `cache_duration`s old; without any,
    /// tokens are refused with `Jwks remote fetch is failed`. No request waits for a fetch: rules that name a new issuer
    /// hold when it was asked for the first time, after 5 s at most. istiod fetches keys itself, unless it is told
    /// otherwise. Access log and
    /// traces tell the target without the parameters that tokens are looked for in.
    ///
    /// Where a policy has the action `CUSTOM`, it asks the authorizer that the policy's provider names, by gRPC or by HTTP, over
    /// the mesh's own client (balanced, with mutual TLS where the authorizer's endpoints take it). Only requests that the
    /// policy matches are asked about; the service is called after the answer, by a clone of it that was ready. An authorizer
    /// that is away, fails or takes too long refuses the request (403, or the provider's `statusOnError`), unless the provider
    /// says `failOpen`. What it answers may change headers and query of the request, and nothing that addresses or frames it,
    /// nor `x-envoy-...` and `x-forwarded-client-cert`. A body is shown to it (`includeRequestBodyInCheck`, 4 MiB at most) under
    /// [`Mesh::serve`], axum and tonic; behind a server whose bodies are of another type such requests are refused. The mesh
    /// must be there while it is asked for: once its last owner is gone, authorizers count as away.
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
        self.shared.begin_to_listen(None);
        InboundLayer::of(&self.shared)
    }
}

/// Makes an [`Inbound`] of a service; from [`Mesh::inbound`].
#[derive(Debug, Clone)]
pub struct InboundLayer {
    of_mesh: Arc<OfMesh>,
}

/// What the layer needs of its mesh, in one place: a service is cloned for each request.
#[derive(Debug)]
struct OfMesh {
    drain: Begun,
    door: Arc<Door>,
    edges: Arc<Edges>,
    observer: Option<Arc<Observer>>,
}

impl InboundLayer {
    pub(super) fn of(shared: &Shared) -> Self {
        Self {
            of_mesh: Arc::new(OfMesh {
                drain: shared.drain.begun(),
                door: Arc::clone(&shared.door),
                edges: Arc::clone(&shared.edges),
                observer: shared.observer.clone(),
            }),
        }
    }
}

impl<S> Layer<S> for InboundLayer {
    type Service = Inbound<S>;

    fn layer(&self, inner: S) -> Inbound<S> {
        Inbound {
            inner,
            of_mesh: Arc::clone(&self.of_mesh),
        }
    }
}

/// A service behind [`Mesh::inbound`].
#[derive(Debug, Clone)]
pub struct Inbound<S> {
    inner: S,
    of_mesh: Arc<OfMesh>,
}

impl<S, B, R> Service<Request<B>> for Inbound<S>
where
    // An authorizer may have to be asked before the call, which is then made by the clone that is ready.
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    B: Send + 'static,
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
        let of_mesh = &*self.of_mesh;
        let begun = telemetry::Begun::now(request.headers());
        identify(request.extensions_mut());
        let peer = request.extensions().get::<PeerIdentity>().cloned();
        let edge = peer.as_ref().map_or_else(
            || of_mesh.edges.inbound(),
            |peer| peer.connection.edge(&of_mesh.edges),
        );
        let edge = Arc::clone(edge);
        let guard = Guard::of(&mut request, peer.as_ref(), &of_mesh.door);
        // HTTP/2 has GOAWAY, and forbids this header (RFC 9113, 8.2.2).
        let http1 = request.version() < Version::HTTP_2;
        let is_head = request.method() == Method::HEAD;
        let is_grpc = begun.is_grpc();
        let mut account = begun.toward(Toward::Edge(edge));
        let scope = of_mesh.observer.as_ref().map(|observer| {
            let (observed, scope) = untold::told(&mut request, |request| observer.inbound(request));
            account.observe(observed);
            scope
        });
        let (mut inner, mut asking, mut refused) = (None, None, None);
        match guard.pass(request, peer.as_ref()) {
            Ok(Judged::Served(request)) => {
                inner = Some(within(scope.as_ref(), || self.inner.call(request)));
            }
            Ok(Judged::Asks(paused)) => {
                let next = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, next);
                asking = Some(Asking::new(paused, ready));
            }
            Err(refusal) => refused = Some(Box::new(refusal)),
        }
        let ends = http1.then(|| Ends {
            drain: of_mesh.drain.clone(),
            peer,
        });
        Answering {
            inner,
            asking,
            added: Vec::new(),
            refused,
            is_grpc,
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
    /// Whose connection rules can end.
    peer: Option<PeerIdentity>,
}

impl Ends {
    fn now(&self) -> bool {
        let leaves = |peer: &PeerIdentity| peer.connection.is_leaving();
        self.drain.get() || self.peer.as_ref().is_some_and(leaves)
    }
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
        account.flagged(refusal.flags);
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
        // Until somebody else has said that it may begin.
        asking: Option<Asking<F>>,
        // What those who let it want in the response.
        added: Vec<HeaderChange>,
        refused: Option<Box<Refusal>>,
        is_grpc: bool,
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
        let mut this = self.project();
        if let Some(asking) = this.asking {
            let decided = ready!(within(this.scope.as_ref(), || asking.poll(cx)));
            *this.asking = None;
            match decided {
                Ok((inner, added)) => {
                    this.inner.set(Some(inner));
                    *this.added = added;
                }
                Err(refusal) => *this.refused = Some(Box::new(refusal)),
            }
        }
        let Some(inner) = this.inner.as_pin_mut() else {
            // Once it has answered, nobody asks again.
            let refusal = this.refused.take();
            let refusal = refusal.map_or_else(Refusal::stranger, |refusal| *refusal);
            let account = this.account.take();
            let ends = this.ends.as_ref().is_some_and(Ends::now);
            return Poll::Ready(Ok(refused_by(&refusal, *this.is_grpc, account, ends)));
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
        for change in &*this.added {
            change.apply(response.headers_mut());
        }
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
