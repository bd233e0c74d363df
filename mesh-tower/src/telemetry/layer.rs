//! The outermost layer of a client: counts calls and the errors that end them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::cells::Outcome;
use crate::body::Body;
use crate::error::Error;
use crate::mesh::Shared;

/// Counts every call of a mesh.
#[derive(Debug, Clone)]
pub struct TelemetryLayer {
    shared: Arc<Shared>,
}

impl TelemetryLayer {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl<S> Layer<S> for TelemetryLayer {
    type Service = Telemetry<S>;

    fn layer(&self, inner: S) -> Telemetry<S> {
        Telemetry {
            shared: Arc::clone(&self.shared),
            inner,
        }
    }
}

/// The service of [`TelemetryLayer`].
#[derive(Debug, Clone)]
pub struct Telemetry<S> {
    shared: Arc<Shared>,
    inner: S,
}

impl<S> Service<Request<Body>> for Telemetry<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let running = Running::start(Arc::clone(&self.shared));
        let call = self.inner.call(request);
        Box::pin(async move {
            let result = call.await;
            running.end(&result);
            result
        })
    }
}

/// A call that runs. A caller that drops it is counted as well.
struct Running {
    shared: Arc<Shared>,
    outcome: Outcome,
}

impl Running {
    fn start(shared: Arc<Shared>) -> Self {
        shared.cells.start();
        Self {
            shared,
            outcome: Outcome::Failed,
        }
    }

    fn end(mut self, result: &Result<Response<Body>, Error>) {
        match result {
            Ok(response) => self.outcome = Outcome::Answered(response.status()),
            Err(error) => self.shared.errors.count(error.flags()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.cells.end(self.outcome);
    }
}
