//! The outermost layer of a client: counts calls and the errors that end them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::cells::Cells;
use super::observe::{Observed, Observer};
use super::running::Running;
use crate::body::Body;
use crate::client::CallInfo;
use crate::error::Error;
use crate::mesh::Shared;

/// Counts every call of a mesh.
#[derive(Debug, Clone)]
pub struct TelemetryLayer {
    cells: Arc<Cells>,
    observer: Option<Arc<Observer>>,
    /// Whether the caller wants to know how a call was made; an observer does in any case.
    call_info: bool,
}

impl TelemetryLayer {
    pub(crate) fn new(shared: &Shared, call_info: bool) -> Self {
        Self {
            cells: Arc::clone(&shared.cells),
            observer: shared.observer.clone(),
            call_info,
        }
    }
}

impl<S> Layer<S> for TelemetryLayer {
    type Service = Telemetry<S>;

    fn layer(&self, inner: S) -> Telemetry<S> {
        Telemetry {
            layer: self.clone(),
            inner,
        }
    }
}

/// The service of [`TelemetryLayer`].
#[derive(Debug, Clone)]
pub struct Telemetry<S> {
    layer: TelemetryLayer,
    inner: S,
}

impl<S, B> Service<Request<B>> for Telemetry<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Error>,
    B: 'static,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = TelemetryFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let running = Some(Running::start(Arc::clone(&self.layer.cells)));
        let observer = self.layer.observer.as_ref();
        let observed = observer.map(|observer| observer.outbound(&mut request));
        TelemetryFuture {
            call: self.inner.call(request),
            running,
            observed,
            call_info: self.layer.call_info,
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
        observed: Option<Box<Observed>>,
        call_info: bool,
    }
}

impl<F: Future<Output = Result<Response<Body>, Error>>> Future for TelemetryFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut result = ready!(this.call.poll(cx));
        if let Some(mut running) = this.running.take() {
            match &result {
                Ok(response) => running.answered(response.status()),
                Err(error) => running.failed(error.flags()),
            }
        }
        if let Some(observed) = this.observed.take() {
            observe(&mut result, observed, *this.call_info);
        }
        Poll::Ready(result)
    }
}

/// Lets an observer know how a call went; of a response that it has begun.
fn observe(
    result: &mut Result<Response<Body>, Error>,
    mut observed: Box<Observed>,
    call_info: bool,
) {
    let response = match result {
        Ok(response) => response,
        Err(error) => return observed.failed(error),
    };
    observed.answered(response);
    let extensions = response.extensions_mut();
    let info = match call_info {
        true => extensions.get::<CallInfo>().cloned(),
        false => extensions.remove(),
    };
    if let Some(info) = info {
        observed.went(info);
    }
    response.body_mut().observe(observed);
}
