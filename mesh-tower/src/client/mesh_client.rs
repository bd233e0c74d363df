//! The client that people use.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::dispatch::Dispatch;
use super::retry::{Retry, RetryLayer};
use super::route::{Route, RouteLayer, Scope};
use crate::body::Body;
use crate::error::{BoxError, Error, Kind, Place};
use crate::mesh::Shared;
use crate::telemetry::{Telemetry, TelemetryLayer};

type Stack = Telemetry<Route<Retry<Dispatch>>>;

/// Sends requests as the mesh's rules say. Cloning is cheap; clones share connections and counts.
///
/// It is a `Service<Request<Body>>` and always ready: the destination is not known before the
/// request is.
#[derive(Clone)]
pub struct MeshClient {
    shared: Arc<Shared>,
    scope: Scope,
    stack: Stack,
}

impl MeshClient {
    pub(crate) fn new(shared: Arc<Shared>, scope: Scope, call_info: bool) -> Self {
        let dispatch = Dispatch::new(Arc::clone(&shared));
        let routed = RouteLayer::new(Arc::clone(&shared), scope, call_info)
            .layer(RetryLayer.layer(dispatch));
        let stack = TelemetryLayer::new(Arc::clone(&shared)).layer(routed);
        Self {
            shared,
            scope,
            stack,
        }
    }

    /// The same client, whose responses carry a [`CallInfo`](super::CallInfo) in their extensions.
    #[must_use]
    pub fn with_call_info(self) -> Self {
        Self::new(self.shared, self.scope, true)
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// When the URI is none, or as [`Self::send`].
    pub async fn get(&self, uri: &str) -> Result<Response<Body>, Error> {
        let request = Request::get(uri).body(Body::empty()).map_err(|error| {
            let place = Place {
                authority: Some(uri.into()),
                ..Place::default()
            };
            Error::new(Kind::InvalidRequest, place, error.to_string())
        })?;
        self.stack.clone().call(request).await
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
    type Future = <Stack as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.stack.call(request)
    }
}

impl fmt::Debug for MeshClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshClient")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
