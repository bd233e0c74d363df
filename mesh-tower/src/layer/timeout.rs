//! Envoy's limits of a call's time, around any service.

mod body;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use mesh_core::route::Limits;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::client::{By, Watch};
use crate::error::{BoxError, Place};
pub use body::{TimedBody, UploadBody};

/// Ends calls that take too long, by the limits that a route has in Envoy:
///
/// | limit | from | to | [`Error::flags`](crate::Error::flags) |
/// | --- | --- | --- | --- |
/// | [`timeout`](Self::timeout) | the end of the request | the end of the response | `UT` |
/// | [`idle_timeout`](Self::idle_timeout) | the last byte in either direction | the next | `SI` |
/// | [`max_stream_duration`](Self::max_stream_duration) | the beginning of the request | the end of the response | `DT` |
///
/// By default there is none. The end of a response is that of its body, so a limit may pass while the body is read;
/// then the body ends with the error. A reader who comes late is given what had arrived in time.
///
/// ```
/// # use std::time::Duration;
/// use http::{Request, Response};
/// use mesh_tower::{BoxError, Error};
/// use mesh_tower::layer::TimeoutLayer;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let slow = service_fn(async |_: Request<_>| {
///     tokio::time::sleep(Duration::from_secs(60)).await;
///     Ok::<_, BoxError>(Response::new(String::new()))
/// });
/// let service = ServiceBuilder::new()
///     .layer(TimeoutLayer::new().timeout(Duration::from_secs(2)))
///     .service(slow);
/// let error = service.oneshot(Request::new(String::new())).await.unwrap_err();
/// assert_eq!(error.downcast_ref::<Error>().unwrap().flags(), "UT");
/// # }
/// ```
///
/// # Bodies and errors
/// The service within takes `Request<UploadBody<B>>`, since only the request's body can tell when it was whole; a
/// service for one type of body gets it by `map_request` of `tower::ServiceBuilder` below this layer:
///
/// ```
/// # use std::time::Duration;
/// # use http::Request;
/// # use mesh_tower::{Body, BoxError, Mesh};
/// # use mesh_tower::layer::{TimeoutLayer, UploadBody};
/// # use tower::ServiceBuilder;
/// # let mesh = Mesh::builder().direct().build().unwrap();
/// let service = ServiceBuilder::new()
///     .layer(TimeoutLayer::new().idle_timeout(Duration::from_secs(30)))
///     .map_request(|request: Request<UploadBody<Body>>| request.map(Body::new))
///     .service(mesh.client());
/// # fn takes<S: tower::Service<Request<Body>, Error = BoxError>>(_: S) {}
/// # takes(service);
/// ```
///
/// Errors are boxed: the service's own, or [`Error`](crate::Error) where a limit has passed. How far a request came
/// within the service is not known here, so that [`Error::sent`](crate::Error::sent) is `MaybeProcessed`, and
/// `Processed` once the response has begun.
///
/// # Cancellation
/// When a limit passes, the call within is dropped at once, and the body of its request ends with an error, so that
/// an HTTP/2 stream is reset.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeoutLayer {
    limits: Limits,
}

impl TimeoutLayer {
    /// No limits.
    pub const fn new() -> Self {
        Self {
            limits: Limits {
                route: None,
                whole: None,
                idle: None,
            },
        }
    }

    /// From the end of the request to the end of the response (`RouteAction.timeout`). Zero is no limit, as in Envoy;
    /// Envoy's own default of 15 s is not applied.
    #[must_use]
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.limits.route = limit_of(limit);
        self
    }

    /// Without a byte in either direction (`RouteAction.idle_timeout`). Zero is no limit.
    #[must_use]
    pub const fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle = limit_of(limit);
        self
    }

    /// From the beginning of the request to the end of the response
    /// (`RouteAction.max_stream_duration.max_stream_duration`). Zero is no limit. Unlike in a route of Envoy,
    /// [`Self::timeout`] holds beside it.
    #[must_use]
    pub const fn max_stream_duration(mut self, limit: Duration) -> Self {
        self.limits.whole = limit_of(limit);
        self
    }
}

const fn limit_of(limit: Duration) -> Option<Duration> {
    if limit.is_zero() { None } else { Some(limit) }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout {
            limits: self.limits,
            inner,
        }
    }
}

/// The service of [`TimeoutLayer`].
#[derive(Debug, Clone, Copy)]
pub struct Timeout<S> {
    limits: Limits,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Timeout<S>
where
    S: Service<Request<UploadBody<B>>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
    R: Body,
    R::Error: Into<BoxError>,
{
    type Response = Response<TimedBody<R>>;
    type Error = BoxError;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(UploadBody::new);
        let body = request.body_mut();
        let watch = Watch::start(self.limits, None, By::Layer, None, body.is_stream());
        if let Some(watch) = &watch {
            // What the service does with it is not seen from here.
            watch.trail().handed_over();
            body.tell(Arc::clone(watch.trail()));
        }
        TimeoutFuture {
            call: Some(self.inner.call(request)),
            watch,
        }
    }
}

pin_project! {
    /// The future of [`Timeout`].
    pub struct TimeoutFuture<F> {
        // None once it has ended: what it holds goes at once, even if the future is kept.
        #[pin]
        call: Option<F>,
        watch: Option<Pin<Box<Watch>>>,
    }
}

impl<F, R, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
    E: Into<BoxError>,
{
    type Output = Result<Response<TimedBody<R>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(call) = this.call.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let result = match call.poll(cx) {
            Poll::Ready(result) => result
                .map(|response| response.map(|body| TimedBody::new(body, this.watch.take())))
                .map_err(Into::into),
            Poll::Pending => {
                let Some(watch) = this.watch else {
                    return Poll::Pending;
                };
                let expired = ready!(watch.as_mut().poll(cx));
                Err(watch.error(expired, Place::default()).into())
            }
        };
        this.call.set(None);
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for TimeoutFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutFuture")
            .field("limited", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}
