//! The client that people use.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::dispatch::Dispatch;
use super::retry::{Retry, RetryLayer};
use super::route::{Route, RouteLayer, Scope, invalid};
use crate::body::Body;
use crate::error::{BoxError, Error};
use crate::mesh::Shared;
use crate::telemetry::{Telemetry, TelemetryLayer};

type Stack = Telemetry<Route<Retry<Dispatch>>>;

/// Sends requests as the mesh's rules say. Cloning is cheap; clones share connections and counts.
///
/// It is a `Service<Request<Body>>` and always ready: the destination is not known before the
/// request is.
///
/// # What a request may be
/// Its URI is absolute (`http://host[:port]/path`, port 80 by default) or a path beside one `Host`
/// header. Where both name a host, the URI wins and the header is rewritten. A call to a host that the mesh does not
/// know is passed through if its outbound policy allows that; so is every call to `https://`, which no rule for HTTP
/// is for, with TLS verified by the host's name (port 443 by default). CONNECT and
/// Upgrade are refused: they are not served yet, but for the Upgrade of [`Mesh::gateway`](crate::Mesh::gateway). Bodies of [`send`](Self::send) are any
/// `http_body::Body` of bytes; [`Body`] is made from strings, bytes and `()`. Trailers pass.
#[derive(Clone)]
pub struct MeshClient {
    shared: Arc<Shared>,
    scope: Scope,
    /// Whether a request's `grpc-timeout` limits it on this side, whatever the route admits.
    deadlines: bool,
    stack: Stack,
}

impl MeshClient {
    pub(crate) fn new(shared: Arc<Shared>, scope: Scope) -> Self {
        Self::assemble(shared, scope, false, false)
    }

    /// What stands under generated clients.
    #[cfg(feature = "grpc")]
    pub(crate) fn for_grpc(shared: Arc<Shared>) -> Self {
        Self::assemble(shared, Scope::Mesh, true, false)
    }

    fn assemble(shared: Arc<Shared>, scope: Scope, deadlines: bool, call_info: bool) -> Self {
        let informs = call_info || shared.observer.is_some();
        let dispatch = Dispatch::new(Arc::clone(&shared));
        let routed = RouteLayer::new(Arc::clone(&shared), scope, deadlines, informs)
            .layer(RetryLayer.layer(dispatch));
        let stack = TelemetryLayer::new(&shared, call_info).layer(routed);
        Self {
            shared,
            scope,
            deadlines,
            stack,
        }
    }

    /// The same client, whose responses carry a [`CallInfo`](super::CallInfo) in their extensions.
    #[must_use]
    pub fn with_call_info(self) -> Self {
        Self::assemble(self.shared, self.scope, self.deadlines, true)
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// When the URI is none, or as [`Self::send`].
    pub async fn get(&self, uri: &str) -> Result<Response<Body>, Error> {
        self.stack
            .clone()
            .call(request(Method::GET, uri, Body::empty())?)
            .await
    }

    /// Sends a POST.
    ///
    /// # Errors
    /// When the URI is none, or as [`Self::send`].
    pub async fn post(&self, uri: &str, body: impl Into<Body>) -> Result<Response<Body>, Error> {
        self.stack
            .clone()
            .call(request(Method::POST, uri, body.into())?)
            .await
    }

    /// Sends a request with any body of bytes.
    ///
    /// # Errors
    /// When the mesh could not bring back a response. Whatever a backend, or the configuration itself,
    /// answers is `Ok`.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Body>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.stack.clone().call(request.map(Body::new)).await
    }
}

impl Service<Request<Body>> for MeshClient {
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.stack, cx)
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        ResponseFuture {
            call: self.stack.call(request),
        }
    }
}

pin_project! {
    /// The response to come. Dropping it cancels the call.
    #[must_use = "a call does nothing unless it is awaited"]
    pub struct ResponseFuture {
        #[pin]
        call: <Stack as Service<Request<Body>>>::Future,
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

fn request(method: Method, uri: &str, body: Body) -> Result<Request<Body>, Error> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri
        .parse()
        .map_err(|error| invalid(&Uri::default(), &format!("{uri:?} is no URI: {error}")))?;
    Ok(request)
}

impl fmt::Debug for MeshClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshClient")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
