//! The timer: it runs with the call until the response begins, then with the response's body.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mesh_core::route::Limits;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::trail::Trail;
use crate::body::Body;
use crate::client::options::Due;
use crate::error::{Error, Kind, Place, Sent};
use crate::span::bounded;

/// How long a reader has who comes after the limit: what had arrived in time is his to take, and a peer
/// that never stops sending does not outlast the limit by more.
const GRACE: Duration = Duration::from_millis(20);

pin_project! {
    /// Ends a call at the first of its limits.
    #[derive(Debug)]
    pub(crate) struct Watch {
        limits: Limits,
        start: Instant,
        due: Option<Due>,
        trail: Arc<Trail>,
        // Whether somebody waits, and so learns of the limit when it passes.
        awaited: bool,
        grace: Option<Instant>,
        #[pin]
        sleep: Sleep,
    }
}

/// Which limit ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `RouteAction.timeout`
    Route,
    /// `RouteAction.max_stream_duration`, or the `grpc-timeout` that it admits.
    Whole,
    /// `RouteAction.idle_timeout`
    Idle,
    /// `CallOptions::timeout`
    Caller,
    /// `grpc-timeout` of a call through a `MeshChannel`
    Deadline,
}

/// A limit that has passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expired {
    limit: Limit,
    allowed: Duration,
    uploaded: bool,
}

impl Watch {
    /// Starts the timer of a call. A call without limits has none.
    ///
    /// Only our own body tells how far it is: a request with another one, which goes by a foreign client, counts as
    /// whole at once.
    pub(crate) fn start<B: 'static>(
        limits: Limits,
        due: Option<Due>,
        body: &mut B,
    ) -> Option<Pin<Box<Self>>> {
        if limits == Limits::default() && due.is_none() {
            return None;
        }
        let now = Instant::now();
        // Bytes at hand are the whole request: only a stream can keep its limit waiting.
        let streaming = (body as &mut dyn Any)
            .downcast_mut::<Body>()
            .filter(|body| body.is_stream());
        let trail = Arc::new(Trail::start(now, streaming.is_some()));
        if let Some(body) = streaming {
            body.upload(Arc::clone(&trail));
        }
        let first = first(&limits, due, now, &trail, now)?.0;
        Some(Box::pin(Self {
            limits,
            start: now,
            due,
            trail,
            awaited: true,
            grace: None,
            sleep: sleep_until(first),
        }))
    }

    /// For whoever has something to tell.
    pub(crate) const fn trail(&self) -> &Arc<Trail> {
        &self.trail
    }

    /// Ready when a limit has passed, for somebody who waits for the response or for more of it.
    pub(crate) fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Expired> {
        let expired = self.as_mut().passed(cx);
        *self.project().awaited = true;
        expired
    }

    /// The same when a frame of the response came by.
    pub(crate) fn frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Expired> {
        self.trail.frame();
        *self.as_mut().project().awaited = false;
        self.passed(cx)
    }

    /// The response has begun: the timer goes on with its body.
    pub(crate) fn answered(mut watch: Pin<Box<Self>>, body: &mut Body) {
        watch.trail.frame();
        *watch.as_mut().project().awaited = false;
        body.watch(watch);
    }

    /// The timer is never moved when something happens: it finds out when it fires, since nothing that
    /// happens brings a limit nearer.
    fn passed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Expired> {
        let mut this = self.project();
        loop {
            ready!(this.sleep.as_mut().poll(cx));
            let now = Instant::now();
            let known = first(this.limits, *this.due, *this.start, this.trail, now);
            let Some((at, limit, allowed)) = known else {
                return Poll::Pending;
            };
            if at > now {
                *this.grace = None;
                this.sleep.as_mut().reset(at);
                continue;
            }
            if !*this.awaited {
                let until = *this.grace.get_or_insert(now + GRACE);
                if until > now {
                    this.sleep.as_mut().reset(until);
                    continue;
                }
            }
            this.trail.give_up();
            return Poll::Ready(Expired {
                limit,
                allowed,
                uploaded: this.trail.uploaded().is_some(),
            });
        }
    }

    /// The error of a call that a limit ended before its response began.
    pub(crate) fn error(&self, expired: Expired, mut place: Place) -> Error {
        place.endpoint = self.trail.endpoint();
        expired.error(place, self.trail.sent())
    }
}

/// The limit that passes first, when, and how long it allows, as far as is known now.
fn first(
    limits: &Limits,
    due: Option<Due>,
    start: Instant,
    trail: &Trail,
    now: Instant,
) -> Option<(Instant, Limit, Duration)> {
    let after = |since: Instant, limit: Limit, allowed: Option<Duration>| {
        let allowed = allowed?;
        Some((since.checked_add(bounded(allowed))?, limit, allowed))
    };
    let uploaded = trail.uploaded().unwrap_or(now);
    [
        due.map(|due| (due.at, due.limit, due.timeout)),
        after(uploaded, Limit::Route, limits.route),
        after(start, Limit::Whole, limits.whole),
        after(trail.heard(), Limit::Idle, limits.idle),
    ]
    .into_iter()
    .flatten()
    .min_by_key(|(at, ..)| *at)
}

impl Expired {
    /// The caller's own limit, passed before anything was sent.
    pub(crate) const fn waiting(due: Due) -> Self {
        Self {
            limit: due.limit,
            allowed: due.timeout,
            uploaded: true,
        }
    }

    pub(crate) fn error(self, place: Place, sent: Sent) -> Error {
        let kind = Kind::Timeout {
            limit: self.limit,
            uploaded: self.uploaded,
        };
        Error::new(kind, place, self.to_string()).came(sent)
    }
}

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = self.allowed;
        match self.limit {
            Limit::Route => write!(
                f,
                "no whole response within {allowed:?} of the whole request, the timeout of the route or of x-envoy-upstream-rq-timeout-ms"
            ),
            Limit::Whole => write!(
                f,
                "not done within {allowed:?}, the max_stream_duration of the route or the request's grpc-timeout"
            ),
            Limit::Idle => write!(
                f,
                "not a byte in either direction for {allowed:?}, the idle_timeout of the route"
            ),
            Limit::Caller => write!(
                f,
                "not done within {allowed:?}, the timeout of its CallOptions"
            ),
            Limit::Deadline => write!(f, "not done within {allowed:?}, its own grpc-timeout"),
        }
    }
}
