//! Repeats a request when it provably was not sent, once or as often as the caller lets it: nothing can be
//! processed twice by that.
//! The repeat stays in the cluster that was chosen, and goes to another endpoint if there is one; a
//! failed connect to the only endpoint is not repeated, since that would only wait twice.
//!
//! Owns the limits of the call's time: they hold over all attempts, and go on with the response's body.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::limit::{By, Trail, Watch};
use super::seam::{Answered, Attempt, Destination, Routed};
use crate::body::Body;
use crate::error::Error;
use crate::pool::Failed;

/// How often a request is repeated at most, unless its caller says something else.
const REPEATS: u32 = 1;

/// How often a request was repeated, and may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeats {
    done: u32,
    most: u32,
}

impl Repeats {
    /// Of a request that has not been tried yet.
    pub(crate) fn up_to(most: Option<u32>) -> Self {
        Self {
            done: 0,
            most: most.unwrap_or(REPEATS),
        }
    }

    /// Takes one, if one is left.
    pub(crate) const fn take(&mut self) -> bool {
        let left = self.done < self.most;
        if left {
            self.done += 1;
        }
        left
    }

    /// How often the request was tried.
    const fn attempts(self) -> u32 {
        self.done.saturating_add(1)
    }
}

/// Puts [`Retry`] around a service of attempts.
#[derive(Debug, Clone, Copy, Default)]
pub struct RetryLayer;

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry { inner }
    }
}

/// The service of [`RetryLayer`].
#[derive(Debug, Clone)]
pub struct Retry<S> {
    inner: S,
}

impl<S, B> Service<Routed<B>> for Retry<S>
where
    S: Service<Attempt<B>, Response = Answered, Error = Failed<B>> + Clone,
    B: 'static,
{
    type Response = Answered;
    type Error = Error;
    type Future = RetryFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|failed| failed.error)
    }

    fn call(
        &mut self,
        Routed {
            mut request,
            destination,
            limits,
            since,
            due,
            retries,
            was,
        }: Routed<B>,
    ) -> Self::Future {
        // Only our own body tells how far it is: with another one a request counts as whole at once.
        let streaming = (request.body_mut() as &mut dyn Any)
            .downcast_mut::<Body>()
            .filter(|body| body.is_stream());
        let watch = Watch::start(limits, due, By::Route, since, streaming.is_some());
        if let (Some(trail), Some(body)) = (trail(watch.as_ref()), streaming) {
            body.upload(trail);
        }
        let mut inner = self.inner.clone();
        let attempt = Attempt {
            request,
            destination: destination.clone(),
            avoid: None,
            trail: trail(watch.as_ref()),
            was,
        };
        RetryFuture {
            call: Some(inner.call(attempt)),
            watch,
            inner,
            destination,
            repeats: Repeats::up_to(retries),
        }
    }
}

pin_project! {
    /// The future of [`Retry`].
    pub struct RetryFuture<S, B = Body>
    where
        S: Service<Attempt<B>>,
    {
        inner: S,
        destination: Destination,
        repeats: Repeats,
        watch: Option<Pin<Box<Watch>>>,
        // None once a limit has ended it: what it holds goes at once, even if the future is kept.
        #[pin]
        call: Option<S::Future>,
    }
}

impl<S, B> Future for RetryFuture<S, B>
where
    S: Service<Attempt<B>, Response = Answered, Error = Failed<B>>,
{
    type Output = Result<Answered, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let Some(call) = this.call.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            let Poll::Ready(result) = call.poll(cx) else {
                let error = ready!(out_of_time(this.watch, this.destination, cx));
                this.call.set(None);
                return Poll::Ready(Err(error));
            };
            let Failed { error, unsent } = match result {
                Ok(mut answered) => {
                    // What the configuration answers itself is none.
                    answered.attempts *= this.repeats.attempts();
                    if let Some(mut watch) = this.watch.take() {
                        watch.as_mut().answered();
                        answered.response.body_mut().watch(watch);
                    }
                    return Poll::Ready(Ok(answered));
                }
                Err(failed) => failed,
            };
            let hopeless = error.is_connect() && this.destination.is_single();
            let unsent = unsent.filter(|_| !hopeless);
            let Some(request) = unsent.filter(|_| this.repeats.take()) else {
                return Poll::Ready(Err(error));
            };
            tracing::debug!(%error, "repeated: the request was not sent");
            let attempt = Attempt {
                request,
                destination: this.destination.clone(),
                avoid: error.endpoint(),
                trail: trail(this.watch.as_ref()),
                // Foreign clients give no request back.
                was: None,
            };
            this.call.set(Some(this.inner.call(attempt)));
        }
    }
}

/// The error of a call one of whose limits has passed. A call without limits has no timer.
fn out_of_time(
    watch: &mut Option<Pin<Box<Watch>>>,
    destination: &Destination,
    cx: &mut Context<'_>,
) -> Poll<Error> {
    let Some(watch) = watch else {
        return Poll::Pending;
    };
    let expired = ready!(watch.as_mut().poll(cx));
    Poll::Ready(watch.error(expired, destination.place.clone()))
}

fn trail(watch: Option<&Pin<Box<Watch>>>) -> Option<Arc<Trail>> {
    watch.map(|watch| Arc::clone(watch.trail()))
}

impl<S: Service<Attempt<B>>, B> fmt::Debug for RetryFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryFuture")
            .field("repeats", &self.repeats)
            .finish_non_exhaustive()
    }
}
