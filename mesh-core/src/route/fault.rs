//! `envoy.extensions.filters.http.fault.v3.HTTPFault` (gRPC A33): requests that are delayed or answered with an error
//! on purpose.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use rand::Rng;

use super::fraction::Fraction;
use crate::matcher::HeaderMatcher;
use crate::request::RequestView;

const DELAY: HeaderName = HeaderName::from_static("x-envoy-fault-delay-request");
const DELAY_PERCENTAGE: HeaderName =
    HeaderName::from_static("x-envoy-fault-delay-request-percentage");
const ABORT: HeaderName = HeaderName::from_static("x-envoy-fault-abort-request");
const ABORT_GRPC: HeaderName = HeaderName::from_static("x-envoy-fault-abort-grpc-request");
const ABORT_PERCENTAGE: HeaderName =
    HeaderName::from_static("x-envoy-fault-abort-request-percentage");
const DOWNSTREAM_NODE: HeaderName = HeaderName::from_static("x-envoy-downstream-service-node");

/// What an abort says when its configuration has no `response_body` (Envoy's text).
pub const ABORT_BODY: &str = "fault filter abort";

/// The faults of a route. The default injects none.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    /// `delay`
    pub delay: Option<Delay>,
    /// `abort`
    pub abort: Option<Abort>,
    /// `headers`: only for requests that pass all of them.
    pub headers: Box<[HeaderMatcher]>,
    /// `upstream_cluster`: only for requests to this cluster.
    pub upstream_cluster: Option<Arc<str>>,
    /// `downstream_nodes`: only for requests whose `x-envoy-downstream-service-node` is one of these; none is all.
    pub downstream_nodes: Box<[Box<str>]>,
    /// `max_active_faults`: how many requests may have a fault at a time. `None` is no limit.
    pub max_active: Option<u32>,
}

/// `FaultDelay`
#[derive(Debug, Clone)]
pub struct Delay {
    /// How long.
    pub by: DelayBy,
    /// `percentage`
    pub fraction: Fraction,
}

/// How long a delay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DelayBy {
    /// `fixed_delay`, in whole milliseconds, as Envoy counts.
    Fixed(Duration),
    /// `header_delay`: the milliseconds in the request's `x-envoy-fault-delay-request`. Its
    /// `x-envoy-fault-delay-request-percentage` may make fewer of `percentage`, not more.
    Header,
}

/// `FaultAbort`
#[derive(Debug, Clone)]
pub struct Abort {
    /// With what.
    pub by: AbortBy,
    /// `percentage`
    pub fraction: Fraction,
    /// `response_body`, or [`ABORT_BODY`]. Shared by all answers.
    pub body: Bytes,
}

/// What an abort answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortBy {
    /// `http_status`, `grpc_status`
    Status(AbortStatus),
    /// `header_abort`: the HTTP status (200 to 599) in `x-envoy-fault-abort-request`, else the gRPC status in
    /// `x-envoy-fault-abort-grpc-request`, as Envoy has it. `x-envoy-fault-abort-request-percentage` may make fewer of `percentage`.
    Header,
}

/// The status of an abort. A caller that asked in gRPC gets it in `grpc-status`, whichever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortStatus {
    /// Of HTTP.
    Http(StatusCode),
    /// Of gRPC; 0 is success at once (A33). A caller that asked in plain HTTP gets 200.
    Grpc(u32),
}

/// What happens to one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Injected {
    /// It waits this long first.
    pub delay: Option<Duration>,
    /// It is answered with this, after the delay, and goes nowhere.
    pub abort: Option<(AbortStatus, Bytes)>,
}

impl Injected {
    /// Whether nothing happens.
    pub const fn is_none(&self) -> bool {
        self.delay.is_none() && self.abort.is_none()
    }
}

impl Fault {
    /// What happens to one request, which goes to this cluster if to any. Once per request, never per attempt. The
    /// draws of delay and abort are independent.
    pub fn draw(
        &self,
        request: &RequestView<'_>,
        cluster: Option<&str>,
        rng: &mut impl Rng,
    ) -> Injected {
        if !self.is_for(request, cluster) {
            return Injected::default();
        }
        let delay = self.delay.as_ref();
        let abort = self.abort.as_ref();
        Injected {
            delay: delay.and_then(|delay| delay.draw(request.headers, rng)),
            abort: abort.and_then(|abort| {
                let status = abort.draw(request.headers, rng)?;
                Some((status, abort.body.clone()))
            }),
        }
    }

    pub(crate) fn is_for(&self, request: &RequestView<'_>, cluster: Option<&str>) -> bool {
        let wanted = self.upstream_cluster.as_deref();
        let node = request.headers.get(DOWNSTREAM_NODE);
        let node = node.map(http::HeaderValue::as_bytes);
        (wanted.is_none() || wanted == cluster)
            && (self.downstream_nodes.is_empty()
                || self
                    .downstream_nodes
                    .iter()
                    .any(|name| Some(name.as_bytes()) == node))
            && self.headers.iter().all(|header| header.matches(request))
    }
}

impl Delay {
    /// How many requests with these headers wait, and how long.
    pub(crate) fn odds(&self, headers: &HeaderMap) -> (Fraction, Option<Duration>) {
        match self.by {
            DelayBy::Fixed(delay) => (self.fraction, Some(delay)),
            DelayBy::Header => (
                by_header(self.fraction, headers, &DELAY_PERCENTAGE),
                number(headers, &DELAY).map(Duration::from_millis),
            ),
        }
    }

    fn draw(&self, headers: &HeaderMap, rng: &mut impl Rng) -> Option<Duration> {
        let (fraction, delay) = self.odds(headers);
        delay.filter(|delay| fraction.draw(rng) && !delay.is_zero())
    }
}

impl Abort {
    /// An abort with Envoy's text.
    pub const fn new(by: AbortBy, fraction: Fraction) -> Self {
        Self {
            by,
            fraction,
            body: Bytes::from_static(ABORT_BODY.as_bytes()),
        }
    }

    /// How many requests with these headers are answered, and with what.
    pub(crate) fn odds(&self, headers: &HeaderMap) -> (Fraction, Option<AbortStatus>) {
        match self.by {
            AbortBy::Status(status) => (self.fraction, Some(status)),
            AbortBy::Header => (
                by_header(self.fraction, headers, &ABORT_PERCENTAGE),
                status_in(headers),
            ),
        }
    }

    fn draw(&self, headers: &HeaderMap, rng: &mut impl Rng) -> Option<AbortStatus> {
        let (fraction, status) = self.odds(headers);
        status.filter(|_| fraction.draw(rng))
    }
}

fn by_header(fraction: Fraction, headers: &HeaderMap, name: &HeaderName) -> Fraction {
    let wanted = number(headers, name).and_then(|number| u32::try_from(number).ok());
    wanted.map_or(fraction, |wanted| fraction.at_most(wanted))
}

fn status_in(headers: &HeaderMap) -> Option<AbortStatus> {
    let http = number(headers, &ABORT).and_then(|number| u16::try_from(number).ok());
    let http = http.filter(|status| (200..600).contains(status));
    if let Some(http) = http.and_then(|status| StatusCode::from_u16(status).ok()) {
        return Some(AbortStatus::Http(http));
    }
    let grpc = number(headers, &ABORT_GRPC).and_then(|number| u32::try_from(number).ok());
    grpc.map(AbortStatus::Grpc)
}

/// The first value of a header, if it is a number.
fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}
