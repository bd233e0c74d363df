//! The timer: it runs with the call until the response begins, then with the response's body.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mesh_core::route::Limits;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::trail::Trail;
use crate::client::options::Due;
use crate::duration::bounded;
use crate::error::{Error, Kind, Place, Sent};

/// How long a reader has who comes after the limit: what had arrived in time is his to take, and a peer
/// that never stops sending does not outlast the limit by more.
const GRACE: Duration = Duration::from_millis(20);

pin_project! {
    /// Ends a call at the first of its limits.
    #[derive(Debug)]
    pub(crate) struct Watch {
        limits: Limits,
        by: By,
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

/// Who set the limits of a call, for the sentence of its error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A route of the configuration, or what it admits of the caller's own.
    Route,
    /// A [`TimeoutLayer`](crate::layer::TimeoutLayer).
    Layer,
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
    by: By,
    allowed: Duration,
    uploaded: bool,
}

impl Watch {
    /// Starts the timer of a call. A call without limits has none. A request whose body `streams` has to tell the
    /// trail how far it is: only a stream can keep its limit waiting, and bytes at hand are the whole request. A call
    /// that waited before has begun `since`.
    pub(crate) fn start(
        limits: Limits,
        due: Option<Due>,
        by: By,
        since: Option<Instant>,
        streams: bool,
    ) -> Option<Pin<Box<Self>>> {
        if limits == Limits::default() && due.is_none() {
            return None;
        }
        let now = Instant::now();
        let trail = Arc::new(Trail::start(now, streams));
        let start = since.unwrap_or(now);
        let first = first(&limits, due, start, &trail, now)?.0;
        Some(Box::pin(Self {
            limits,
            by,
            start,
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
    fn frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Expired> {
        self.trail.frame();
        *self.as_mut().project().awaited = false;
        self.passed(cx)
    }

    /// For somebody who reads the response: asked when it keeps him waiting, and when a `frame` of it came.
    pub(crate) fn next(self: Pin<&mut Self>, cx: &mut Context<'_>, frame: bool) -> Poll<Expired> {
        match frame {
            true => self.frame(cx),
            false => self.poll(cx),
        }
    }

    /// The response has begun: the timer has to go on with its body.
    pub(crate) fn answered(self: Pin<&mut Self>) {
        self.trail.frame();
        *self.project().awaited = false;
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
                by: *this.by,
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
            by: By::Route,
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
                "no whole response within {allowed:?} of the whole request, "
            ),
            Limit::Idle => write!(f, "not a byte in either direction for {allowed:?}, "),
            Limit::Whole | Limit::Caller | Limit::Deadline => {
                write!(f, "not done within {allowed:?}, ")
            }
        }?;
        f.write_str(match (self.limit, self.by) {
            (Limit::Route, By::Route) => {
                "the timeout of the route or of x-envoy-upstream-rq-timeout-ms"
            }
            (Limit::Route, By::Layer) => "the timeout of the TimeoutLayer",
            (Limit::Whole, By::Route) => {
                "the max_stream_duration of the route or the request's grpc-timeout"
            }
            (Limit::Whole, By::Layer) => "the max_stream_duration of the TimeoutLayer",
            (Limit::Idle, By::Route) => "the idle_timeout of the route",
            (Limit::Idle, By::Layer) => "the idle_timeout of the TimeoutLayer",
            (Limit::Caller, _) => "the timeout of its CallOptions",
            (Limit::Deadline, _) => "its own grpc-timeout",
        })
    }
}
