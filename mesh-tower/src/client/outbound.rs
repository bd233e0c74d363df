//! The mesh in front of a client that keeps its own connections: routes, picks and counts, and leaves the sending to
//! it. The layers are those of [`MeshClient`](super::MeshClient); only the innermost differs.

mod carry;
mod cause;
#[cfg(feature = "reqwest")]
mod reqwest;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::retry::{Retry, RetryLayer};
use super::route::{Route, RouteLayer};
use crate::body::Body;
use crate::error::{BoxError, Error};
use crate::mesh::{Mesh, Shared};
use crate::telemetry::{Telemetry, TelemetryLayer};
use carry::Carry;

type Stack<S> = Telemetry<Route<Retry<Carry<S>>>>;

impl Mesh {
    /// A layer over any HTTP client that keeps its own connections: hyper-util's, or, with the feature `reqwest`,
    /// as a middleware of reqwest.
    ///
    /// The mesh routes each request, picks its endpoint and counts it; the client sends it there.
    ///
    /// ```no_run
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    /// use mesh_tower::{Body, Mesh};
    /// use tower_layer::Layer;
    /// use tower_service::Service;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let mesh = Mesh::from_env().await?;
    /// let mut client = mesh.outbound().layer(Client::builder(TokioExecutor::new()).build_http::<Body>());
    /// let request = http::Request::get("http://reviews:9080/reviews/0").body(Body::empty())?;
    /// println!("{}", client.call(request).await?.into_body().text().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// [`OutboundLayer`] says what becomes of a request.
    pub fn outbound(&self) -> OutboundLayer {
        OutboundLayer {
            shared: Arc::clone(&self.shared),
            call_info: false,
        }
    }
}

/// Puts [`Outbound`] around a client of the application's own.
///
/// # What becomes of a request
/// It is decided upon as by [`MeshClient`](super::MeshClient): host, route, split, header changes, rewrites, what the
/// configuration answers itself, errors with Envoy's response flags, and what a request may be.
/// * To an endpoint of a cluster: the URI's scheme and authority become `http://IP:PORT`, and `Host` the authority
///   that a sidecar would have sent, after rewrites. It counts as in flight until the response's body has ended or is
///   dropped.
/// * To a host that the mesh does not know, and to `https://`, as the outbound policy says: either as it came, its
///   URI untouched, for the client to resolve, or refused.
/// * With `MESH=off`: as it came, whatever it is.
///
/// # What is the client's business
/// * Connections, their number, their timeouts, and the version of HTTP. Over HTTP/2 a client takes `:authority` from
///   the URI, so a server sees the endpoint's address there, and the host of the call in `Host`.
/// * TLS. That of the mesh is not the client's: an endpoint that demands it is refused
///   ([`Error::is_tls_demanded`]), and never called in plaintext.
/// * Redirects and proxies. A client that follows a redirect leaves the mesh, and one with a proxy hands the
///   endpoint's address to it: switch both off (`redirect::Policy::none()` and `no_proxy()` of reqwest).
/// * Copies for mirrors, however, go by the mesh's own connections, and only of a request whose body is a [`Body`];
///   another can be read once. It is counted as dropped.
/// * Readiness: it is waited for inside of the call, as the destination is not known before.
///
/// # Limits of time
/// Those of the route and of [`CallOptions`](super::CallOptions) hold until the response's body has ended, and drop
/// the client's future when they pass. A request's body tells how far it is only if it is a [`Body`]; another counts
/// as whole when the call begins, so the route's `timeout` and `idle_timeout` go on while it is uploaded.
///
/// # Errors
/// An error of the client is the cause of ours: that of a connection that ended (`UC`, perhaps processed), or, where
/// hyper-util says so, of one that did not come about (`UF`, not sent). Nothing is sent again.
#[derive(Clone)]
pub struct OutboundLayer {
    shared: Arc<Shared>,
    call_info: bool,
}

impl OutboundLayer {
    /// The same layer, whose responses carry a [`CallInfo`](super::CallInfo) in their extensions.
    #[must_use]
    pub fn with_call_info(self) -> Self {
        Self {
            call_info: true,
            ..self
        }
    }
}

impl<S> Layer<S> for OutboundLayer {
    type Service = Outbound<S>;

    fn layer(&self, client: S) -> Outbound<S> {
        let carry = Carry::new(Arc::clone(&self.shared), client);
        let informs = self.call_info || self.shared.observer.is_some();
        let routed =
            RouteLayer::foreign(Arc::clone(&self.shared), informs).layer(RetryLayer.layer(carry));
        Outbound {
            stack: TelemetryLayer::new(&self.shared, self.call_info).layer(routed),
        }
    }
}

/// The service of [`OutboundLayer`]. It is always ready.
#[derive(Clone)]
pub struct Outbound<S> {
    stack: Stack<S>,
}

impl<S, B, R> Service<Request<B>> for Outbound<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = <Stack<S> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<B>>::poll_ready(&mut self.stack, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.stack.call(request)
    }
}

impl fmt::Debug for OutboundLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundLayer").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Outbound<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}
