//! The outermost layer of a client: counts calls and the errors that end them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
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

impl<S, B> Service<Request<B>> for Telemetry<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = TelemetryFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let running = Some(Running::start(Arc::clone(&self.shared)));
        TelemetryFuture {
            call: self.inner.call(request),
            running,
        }
    }
}

pin_project! {
    /// The future of [`Telemetry`].
    #[derive(Debug)]
    pub struct TelemetryFuture<F> {
        #[pin]
        call: F,
        running: Option<Running>,
    }
}

impl<F: Future<Output = Result<Response<Body>, Error>>> Future for TelemetryFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let result = ready!(this.call.poll(cx));
        if let Some(running) = this.running.take() {
            running.end(&result);
        }
        Poll::Ready(result)
    }
}

/// A call that runs. A caller that drops it is counted as well.
#[derive(Debug)]
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
