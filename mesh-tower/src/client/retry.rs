//! Repeats a request once when it provably was not sent: nothing can be processed twice by that.
//! The repeat stays in the cluster that was chosen, and goes to another endpoint if there is one; a
//! failed connect to the only endpoint is not repeated, since that would only wait twice.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::seam::{Answered, Attempt, Destination, Routed};
use crate::error::Error;
use crate::pool::Failed;

/// How often a request is tried at most.
const ATTEMPTS: u32 = 2;

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

impl<S> Service<Routed> for Retry<S>
where
    S: Service<Attempt, Response = Answered, Error = Failed> + Clone,
{
    type Response = Answered;
    type Error = Error;
    type Future = RetryFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|failed| failed.error)
    }

    fn call(
        &mut self,
        Routed {
            request,
            destination,
        }: Routed,
    ) -> Self::Future {
        let mut inner = self.inner.clone();
        let attempt = Attempt {
            request,
            destination: destination.clone(),
            avoid: None,
        };
        RetryFuture {
            call: inner.call(attempt),
            inner,
            destination,
            attempts: 1,
        }
    }
}

pin_project! {
    /// The future of [`Retry`].
    pub struct RetryFuture<S: Service<Attempt>> {
        inner: S,
        destination: Destination,
        attempts: u32,
        #[pin]
        call: S::Future,
    }
}

impl<S> Future for RetryFuture<S>
where
    S: Service<Attempt, Response = Answered, Error = Failed>,
{
    type Output = Result<Answered, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let Failed { error, unsent } = match ready!(this.call.as_mut().poll(cx)) {
                Ok(answered) => {
                    let attempts = answered.endpoint.map_or(0, |_| *this.attempts);
                    return Poll::Ready(Ok(Answered {
                        attempts,
                        ..answered
                    }));
                }
                Err(failed) => failed,
            };
            let again =
                *this.attempts < ATTEMPTS && !(error.is_connect() && this.destination.is_single());
            let Some(request) = unsent.filter(|_| again) else {
                return Poll::Ready(Err(error));
            };
            tracing::debug!(%error, "repeated: the request was not sent");
            *this.attempts += 1;
            let destination = this.destination.clone();
            let attempt = Attempt {
                request,
                destination,
                avoid: error.endpoint(),
            };
            this.call.set(this.inner.call(attempt));
        }
    }
}

impl<S: Service<Attempt>> fmt::Debug for RetryFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryFuture")
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
