//! Asks an authorizer about a request (`envoy.filters.http.ext_authz`), by the mesh's own client.

mod exchange;
mod shown;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Request};
use mesh_core::request::Admitted;
use mesh_core::server::ask::{
    Answer, Ask, Denial, FAILURE_MODE_ALLOWED, HeaderChange, Malformed, OnError,
};
use mesh_core::server::{Pipeline, Step};
use tower_service::Service;

use super::guard::{Asked, Told, finished};
use super::refusal::Refusal;
use super::stream::PeerIdentity;
use exchange::exchange;
use shown::Shown;

/// A request that somebody else decides about, as far as it has come.
pub(super) struct Paused<B> {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) peer: PeerIdentity,
    pub(super) head: Admitted,
    pub(super) body: B,
    /// Which step asks.
    pub(super) at: usize,
    pub(super) told: Told,
}

/// A request that may go on, and what its response gets from those who let it.
pub(super) type Let<B> = (Request<B>, Vec<HeaderChange>);

/// What comes of asking: a call of the application's, or the refusal.
type Begun<F> = Result<(F, Vec<HeaderChange>), Refusal>;

/// An authorizer is being asked; the call that it may allow begins after that.
pub(super) struct Asking<F> {
    decided: Pin<Box<dyn Future<Output = Begun<F>> + Send>>,
}

impl<F> Asking<F> {
    /// `ready` is a service that has said that it is.
    pub(super) fn new<S, B>(paused: Box<Paused<B>>, mut ready: S) -> Self
    where
        S: Service<Request<B>, Future = F> + Send + 'static,
        B: Send + 'static,
    {
        Self {
            decided: Box::pin(async move {
                let (request, added) = paused.decided().await?;
                Ok((ready.call(request), added))
            }),
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Begun<F>> {
        self.decided.as_mut().poll(cx)
    }
}

impl<F> fmt::Debug for Asking<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

/// Why nothing is known from an authorizer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It could not be asked, or did not answer in time, or says that it does not know.
    Away(String),
    /// It wants what cannot be done to a request. Envoy refuses that, whatever `failure_mode_allow` says.
    Invalid(Malformed),
}

impl From<Malformed> for Trouble {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Message(_) => Self::Away(malformed.to_string()),
            Malformed::Header(_)
            | Malformed::TooMany(_)
            | Malformed::Status(_)
            | Malformed::Parameter(_) => Self::Invalid(malformed),
        }
    }
}

impl<B: Send + 'static> Paused<B> {
    /// Asks, and passes what stands behind.
    pub(super) async fn decided(self) -> Result<Let<B>, Refusal> {
        let (rules, peer) = (Arc::clone(&self.pipeline.name), self.peer.address);
        self.asked().await.inspect_err(|no| {
            tracing::debug!(%rules, %peer, details = %no.details, "request refused");
        })
    }

    async fn asked(mut self) -> Result<Let<B>, Refusal> {
        let mut response = Vec::new();
        loop {
            let pipeline = Arc::clone(&self.pipeline);
            let Some(Step::Ask(ask)) = pipeline.steps.get(self.at) else {
                return Err(Refusal::filter("a step that asks nobody"));
            };
            self.ask(ask, &mut response).await?;
            // It may have taken long enough for that.
            if self.peer.connection.is_refused() {
                return Err(Refusal::leaving());
            }
            let asked = Asked::of(&self.peer);
            let next = asked.about(&mut self.head, &pipeline, self.at + 1, &mut self.told)?;
            match next {
                Some(next) => self.at = next,
                None => return Ok((finished(&pipeline, self.head, self.body)?, response)),
            }
        }
    }

    async fn ask(&mut self, ask: &Ask, response: &mut Vec<HeaderChange>) -> Result<(), Refusal> {
        let shown = match &ask.body {
            None => None,
            Some(rule) => Some(Shown::read(&mut self.body, rule).await?),
        };
        let answer = exchange(ask, &self.head, &self.peer, shown.as_ref()).await;
        match answer {
            Ok(Answer::Allowed(changes)) => {
                let changed = self.head.change(&changes);
                changed.map_err(|malformed| invalid(ask, &malformed))?;
                response.extend(changes.response);
                Ok(())
            }
            Ok(Answer::Denied(denial)) => Err(Refusal::by_authorizer(cut(ask, denial))),
            Ok(Answer::Failed(why, denial)) => {
                self.unknown(ask, &why, denial.map(|denial| cut(ask, denial)))
            }
            Err(Trouble::Away(why)) => self.unknown(ask, &why, None),
            Err(Trouble::Invalid(malformed)) => Err(invalid(ask, &malformed)),
        }
    }

    /// Nobody said whether it may go on.
    fn unknown(
        &mut self,
        ask: &Ask,
        why: &str,
        denial: Option<Box<Denial>>,
    ) -> Result<(), Refusal> {
        let cluster = &ask.cluster;
        match ask.on_error {
            OnError::Deny(status) => {
                tracing::debug!(%cluster, why, "the authorizer could not be asked: request refused");
                Err(Refusal::authorizer_away(status, denial))
            }
            OnError::Allow { tells } => {
                tracing::debug!(%cluster, why, "the authorizer could not be asked: the configuration lets the request pass");
                if tells {
                    let told = HeaderValue::from_static("true");
                    self.head.set(FAILURE_MODE_ALLOWED, told);
                }
                Ok(())
            }
        }
    }
}

/// The body of a denial as far as the configuration lets it be sent.
fn cut(ask: &Ask, mut denial: Box<Denial>) -> Box<Denial> {
    if ask.most_denied_body > 0 {
        denial.body.truncate(ask.most_denied_body);
    }
    denial
}

fn invalid(ask: &Ask, malformed: &Malformed) -> Refusal {
    tracing::warn!(cluster = %ask.cluster, %malformed, "what an authorizer answers cannot be done");
    Refusal::authorizer_invalid()
}
