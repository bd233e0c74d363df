//! Repeats a request that was not sent, over any service.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Request;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::client::Repeats;
use crate::error::{BoxError, Error, Sent};

/// Repeats a request whose failure says that it was not sent, so that nothing is processed twice. Once, unless
/// [`most`](Self::most) says something else; at once, without back-off. What a service answers is never repeated,
/// whatever its status.
///
/// By default it is [`not_sent`] that decides. For the errors of other services, [`when`](Self::when) says it:
///
/// ```
/// use std::io;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use http::{Request, Response};
/// use mesh_tower::layer::RepeatLayer;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mesh_tower::BoxError> {
/// let calls = AtomicU32::new(0);
/// let refuses_once = service_fn(async |request: Request<&str>| {
///     match calls.fetch_add(1, Ordering::Relaxed) {
///         0 => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
///         _ => Ok(Response::new(request.into_body().len())),
///     }
/// });
/// let refused = |error: &(dyn std::error::Error + 'static)| {
///     let error = error.downcast_ref::<io::Error>();
///     error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
/// };
/// let service = ServiceBuilder::new()
///     .layer(RepeatLayer::new().most(2).when(refused))
///     .service(refuses_once);
/// let response = service.oneshot(Request::new("hello")).await?;
/// assert_eq!((*response.body(), calls.into_inner()), (5, 2));
/// # Ok(()) }
/// ```
///
/// Of hyper-util's client, `is_connect()` says it. A request that was sent may have been processed though its
/// connection broke: then there is nothing that says so, and nothing to repeat.
///
/// # Requests and services
/// The request is cloned before each try that may be repeated, so its body has to be `Clone`, as `Full<Bytes>` and
/// `Empty` are. So has the service, as tower's own retry demands; a `tower::buffer::Buffer` makes one of any. Errors
/// are boxed; that of the last try is returned.
///
/// A [`MeshClient`](crate::MeshClient) does this by itself, on another endpoint of its cluster: see
/// [`CallOptions::retries`](crate::CallOptions::retries). Put this layer inside of a
/// [`TimeoutLayer`](super::TimeoutLayer) whose limits shall hold over all tries, outside of one for limits on each.
#[derive(Clone, Copy)]
pub struct RepeatLayer<P = fn(&(dyn StdError + 'static)) -> bool> {
    most: Option<u32>,
    when: P,
}

/// Whether a failure says that its request was not sent, or not processed: the first [`Error`] in its chain of sources tells of a
/// connection that failed ([`Error::is_connect`], [`Error::is_reset`]), with [`Sent::NotSent`] or
/// [`Sent::Refused`]. What would be the same
/// next time (no route, no endpoint, a limit of time) is none.
pub fn not_sent(error: &(dyn StdError + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source())
        .find_map(|error| error.downcast_ref::<Error>())
        .is_some_and(|error| {
            matches!(error.sent(), Sent::NotSent | Sent::Refused)
                && (error.is_connect() || error.is_reset())
        })
}

impl RepeatLayer {
    /// One repeat of a request that was [`not_sent`].
    pub fn new() -> Self {
        Self {
            most: None,
            when: not_sent,
        }
    }
}

impl<P> RepeatLayer<P> {
    /// How often a request is repeated at most; 0 is never.
    #[must_use]
    pub fn most(self, most: u32) -> Self {
        Self {
            most: Some(most),
            ..self
        }
    }

    /// Repeats what this says was not sent. It is given the error of the service.
    pub fn when<Q>(self, when: Q) -> RepeatLayer<Q>
    where
        Q: Fn(&(dyn StdError + 'static)) -> bool,
    {
        RepeatLayer {
            most: self.most,
            when,
        }
    }
}

impl Default for RepeatLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, P: Clone> Layer<S> for RepeatLayer<P> {
    type Service = Repeat<S, P>;

    fn layer(&self, inner: S) -> Repeat<S, P> {
        Repeat {
            layer: self.clone(),
            inner,
        }
    }
}

/// The service of [`RepeatLayer`].
#[derive(Clone)]
pub struct Repeat<S, P = fn(&(dyn StdError + 'static)) -> bool> {
    layer: RepeatLayer<P>,
    inner: S,
}

impl<S, P, B> Service<Request<B>> for Repeat<S, P>
where
    S: Service<Request<B>> + Clone,
    S::Error: Into<BoxError>,
    P: Fn(&(dyn StdError + 'static)) -> bool + Clone,
    B: Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = RepeatFuture<S, P, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // It is this one that has said that it is ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let mut repeats = Repeats::up_to(self.layer.most);
        let again = repeats.take().then(|| request.clone());
        RepeatFuture {
            call: Some(inner.call(request)),
            inner,
            when: self.layer.when.clone(),
            repeats,
            again,
        }
    }
}

pin_project! {
    /// The future of [`Repeat`].
    pub struct RepeatFuture<S: Service<Request<B>>, P, B> {
        // None while the service is asked whether it is ready for the next.
        #[pin]
        call: Option<S::Future>,
        inner: S,
        when: P,
        repeats: Repeats,
        again: Option<Request<B>>,
    }
}

impl<S, P, B> Future for RepeatFuture<S, P, B>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
    P: Fn(&(dyn StdError + 'static)) -> bool,
    B: Clone,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Some(call) = this.call.as_mut().as_pin_mut() {
                let result = ready!(call.poll(cx)).map_err(Into::into);
                this.call.set(None);
                let error = match result {
                    Err(error) if this.again.is_some() && (this.when)(&*error) => error,
                    end => {
                        *this.again = None;
                        return Poll::Ready(end);
                    }
                };
                tracing::debug!(%error, "repeated: the request was not sent");
            }
            ready!(this.inner.poll_ready(cx)).map_err(Into::into)?;
            // Polled again after its end, as no caller may: never ready.
            let Some(request) = this.again.take() else {
                return Poll::Pending;
            };
            *this.again = this.repeats.take().then(|| request.clone());
            this.call.set(Some(this.inner.call(request)));
        }
    }
}

impl<P> fmt::Debug for RepeatLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatLayer")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, P> fmt::Debug for Repeat<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeat")
            .field("layer", &self.layer)
            .field("inner", &self.inner)
            .finish()
    }
}

impl<S: Service<Request<B>>, P, B> fmt::Debug for RepeatFuture<S, P, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatFuture")
            .field("repeats", &self.repeats)
            .finish_non_exhaustive()
    }
}
