//! Counts the calls of any service.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::telemetry::{Cells, Running};

/// Counts calls, those that run, and how they ended, in the cells that a mesh counts its own calls with: no lock, and
/// no allocation per call.
///
/// Everything that one layer and its clones are put around is counted together; another `StatsLayer` counts apart.
/// The counts are read from the layer, of which somebody keeps a clone:
///
/// ```
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use mesh_tower::layer::StatsLayer;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), std::io::Error> {
/// let stats = StatsLayer::new();
/// let service = ServiceBuilder::new()
///     .layer(stats.clone())
///     .service(service_fn(async |_: Request<()>| {
///         Ok::<_, std::io::Error>(Response::new(Full::new(bytes::Bytes::from("hello"))))
///     }));
/// let response = service.oneshot(Request::new(())).await?;
/// assert_eq!(stats.read().in_flight, 1);
/// response.into_body().collect().await.unwrap();
/// assert_eq!((stats.read().in_flight, stats.read().classes[1]), (0, 1));
/// # Ok(()) }
/// ```
///
/// Put it outside of layers that end or repeat calls to count what callers see, inside of them to count attempts.
/// Requests may be of any type.
#[derive(Debug, Clone, Default)]
pub struct StatsLayer {
    cells: Arc<Cells>,
}

impl StatsLayer {
    /// New counts, all 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been counted up to now. Each number is read by itself, so that a call that begins or ends meanwhile
    /// may be in one and not yet in another.
    pub fn read(&self) -> CallStats {
        CallStats {
            requests: self.cells.started(),
            in_flight: self.cells.in_flight(),
            classes: self.cells.classes(),
            failed: self.cells.failed(),
        }
    }
}

/// What a [`StatsLayer`] has counted. A call that has ended is in one of `classes` or in `failed`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallStats {
    /// Calls begun.
    pub requests: u64,
    /// Calls that run now: one counts until its response has been read to its end or dropped.
    pub in_flight: u64,
    /// Calls that have ended, by the class of their status, 1xx first. A response that its reader drops half-way is
    /// one of them.
    pub classes: [u64; 5],
    /// Calls that ended without a whole response: with an error, dropped by the caller before the response began, or
    /// broken off in its body. So is one whose status has no class, 600 and above.
    pub failed: u64,
}

impl<S> Layer<S> for StatsLayer {
    type Service = WithStats<S>;

    fn layer(&self, inner: S) -> WithStats<S> {
        WithStats {
            cells: Arc::clone(&self.cells),
            inner,
        }
    }
}

/// The service of [`StatsLayer`].
#[derive(Debug, Clone)]
pub struct WithStats<S> {
    cells: Arc<Cells>,
    inner: S,
}

impl<S, Q, R> Service<Q> for WithStats<S>
where
    S: Service<Q, Response = Response<R>>,
    R: Body,
{
    type Response = Response<CountedBody<R>>;
    type Error = S::Error;
    type Future = StatsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let running = Some(Running::start(Arc::clone(&self.cells)));
        StatsFuture {
            call: self.inner.call(request),
            running,
        }
    }
}

pin_project! {
    /// The future of [`WithStats`].
    pub struct StatsFuture<F> {
        #[pin]
        call: F,
        running: Option<Running>,
    }
}

impl<F, R, E> Future for StatsFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<CountedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.call.poll(cx));
        let mut running = this.running.take();
        Poll::Ready(result.map(|response| {
            if let Some(running) = &mut running {
                running.answered(response.status());
            }
            response.map(|body| CountedBody {
                running: running.filter(|_| !body.is_end_stream()),
                inner: body,
            })
        }))
    }
}

impl<F> fmt::Debug for StatsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsFuture")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The body of a response that counts as in flight until it has been read.
    pub struct CountedBody<R> {
        #[pin]
        inner: R,
        running: Option<Running>,
    }
}

impl<R: Body> Body for CountedBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let last = match &frame {
            Some(Ok(_)) => this.inner.is_end_stream(),
            Some(Err(_)) => {
                if let Some(running) = this.running {
                    running.broken_off();
                }
                true
            }
            None => true,
        };
        if last {
            *this.running = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<R> fmt::Debug for CountedBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountedBody")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}
