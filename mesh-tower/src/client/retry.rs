//! Repeats a request once when it provably was not sent: nothing can be processed twice by that.
//! The repeat stays in the cluster that was chosen, and goes to another endpoint if there is one.

use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::seam::{Answered, Attempt, Routed};
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
    S: Service<Attempt, Response = Answered, Error = Failed> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answered;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Answered, Error>> + Send>>;

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
        Box::pin(async move {
            let mut attempt = Attempt {
                request,
                destination: destination.clone(),
                avoid: None,
            };
            let mut attempts = 1;
            loop {
                let failed = match inner.call(attempt).await {
                    Ok(answered) => {
                        return Ok(Answered {
                            attempts,
                            ..answered
                        });
                    }
                    Err(failed) => failed,
                };
                let Failed { error, unsent } = failed;
                let Some(request) = unsent.filter(|_| attempts < ATTEMPTS) else {
                    return Err(error);
                };
                tracing::debug!(%error, "repeated: the request was not sent");
                attempts += 1;
                attempt = Attempt {
                    request,
                    destination: destination.clone(),
                    avoid: error.endpoint(),
                };
            }
        })
    }
}
