//! The outermost layer of a client: counts calls and the errors that end them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::cells::Cells;
use super::running::Running;
use crate::body::Body;
use crate::error::Error;

/// Counts every call of a mesh.
#[derive(Debug, Clone)]
pub struct TelemetryLayer {
    cells: Arc<Cells>,
}

impl TelemetryLayer {
    pub(crate) const fn new(cells: Arc<Cells>) -> Self {
        Self { cells }
    }
}

impl<S> Layer<S> for TelemetryLayer {
    type Service = Telemetry<S>;

    fn layer(&self, inner: S) -> Telemetry<S> {
        Telemetry {
            cells: Arc::clone(&self.cells),
            inner,
        }
    }
}

/// The service of [`TelemetryLayer`].
#[derive(Debug, Clone)]
pub struct Telemetry<S> {
    cells: Arc<Cells>,
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
        let running = Some(Running::start(Arc::clone(&self.cells)));
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
        if let Some(mut running) = this.running.take() {
            match &result {
                Ok(response) => running.answered(response.status()),
                Err(error) => running.failed(error.flags()),
            }
        }
        Poll::Ready(result)
    }
}
