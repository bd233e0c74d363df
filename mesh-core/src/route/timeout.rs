//! How long a request may take (`RouteAction.timeout`, `idle_timeout`, `max_stream_duration`), and what
//! the next hop is told of it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::mutate::set;
use crate::request::says_grpc;

/// The route timeout of Envoy when the route sets none.
pub const DEFAULT_ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

const GRPC: &str = "grpc-timeout";
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static(GRPC);
const UPSTREAM: &str = "x-envoy-upstream-rq-timeout-ms";
const UPSTREAM_TIMEOUT: HeaderName = HeaderName::from_static(UPSTREAM);
const TRY: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
const TRY_TIMEOUT: HeaderName = HeaderName::from_static(TRY);
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// The limits that a route sets. The default is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// `timeout`: from the end of the request to the end of the response. `None` is no limit (Envoy: 0).
    pub route: Option<Duration>,
    /// `idle_timeout`: without a byte in either direction. `None` is no limit (Envoy: 0).
    pub idle: Option<Duration>,
    /// `max_stream_duration`: from the beginning of the request to the end of the response. A route that
    /// has it takes no notice of `timeout`.
    pub max_stream: Option<MaxStream>,
    /// `max_grpc_timeout`, deprecated: a gRPC request's own timeout counts in place of `timeout`.
    pub grpc: Option<GrpcTimeout>,
}

/// `RouteAction.MaxStreamDuration`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxStream {
    /// `max_stream_duration`; `None` is no limit.
    pub max: Option<Duration>,
    /// `grpc_timeout_header_max`: the request's `grpc-timeout` counts, up to this; `Some(ZERO)` is without a cap.
    pub grpc_max: Option<Duration>,
    /// `grpc_timeout_header_offset`: taken off the header's value.
    pub grpc_offset: Duration,
}

/// `max_grpc_timeout` and `grpc_timeout_offset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GrpcTimeout {
    /// The most that a request may ask for; zero is without a cap.
    pub max: Duration,
    /// Taken off what a request asks for, unless nothing would be left.
    pub offset: Duration,
}

/// The limits of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// From the end of the request to the end of the response.
    pub route: Option<Duration>,
    /// From the beginning of the request to the end of the response; zero is at once.
    pub whole: Option<Duration>,
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
}

/// What the headers of a request ask of its time: read once, before anything is changed in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requested {
    /// `content-type: application/grpc`, or with `+` and a format.
    pub is_grpc: bool,
    /// `grpc-timeout`, where it is well-formed: at most 8 digits and a unit.
    pub grpc_timeout: Option<Duration>,
    /// `x-envoy-upstream-rq-timeout-ms`, where it is there once and a number. Zero is no limit.
    route: Option<Duration>,
    /// Whether there is a header that is for this hop only.
    of_this_hop: bool,
}

impl Requested {
    /// Looks at each header once.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut content_type = None;
        let mut grpc = None;
        let mut route = Once::Absent;
        let mut per_try = false;
        for (name, value) in headers {
            match name.as_str() {
                "content-type" if content_type.is_none() => content_type = Some(value),
                GRPC if grpc.is_none() => grpc = Some(value),
                UPSTREAM => route.add(value),
                TRY => per_try = true,
                _ => {}
            }
        }
        Self {
            is_grpc: content_type.is_some_and(says_grpc),
            grpc_timeout: grpc.and_then(grpc_timeout),
            of_this_hop: per_try || !matches!(route, Once::Absent),
            route: route.one().and_then(caller_timeout),
        }
    }

    /// The `grpc-timeout` as Envoy counts it: in milliseconds, rounded up.
    fn grpc_milliseconds(&self) -> Option<Duration> {
        let asked = self.grpc_timeout?;
        let rest = asked.subsec_nanos() % 1_000_000;
        let missing = if rest == 0 { 0 } else { 1_000_000 - rest };
        Some(asked + Duration::from_nanos(missing.into()))
    }
}

/// A header that counts only if there is one line of it.
enum Once<'a> {
    Absent,
    One(&'a HeaderValue),
    Several,
}

impl<'a> Once<'a> {
    fn add(&mut self, value: &'a HeaderValue) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    fn one(self) -> Option<&'a HeaderValue> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Several => None,
        }
    }
}

impl Timeouts {
    /// The limits of a request that asks for this.
    ///
    /// `x-envoy-upstream-rq-timeout-ms` replaces the route's timeout (Envoy's router; 0 is none).
    pub fn of(&self, requested: &Requested) -> Limits {
        let route = match requested.route {
            Some(asked) => Some(asked),
            None if self.max_stream.is_some() => None,
            None => match self.grpc {
                Some(grpc) if requested.is_grpc => Some(grpc.of(requested)),
                _ => self.route,
            },
        };
        Limits {
            route: route.filter(|limit| !limit.is_zero()),
            whole: self.max_stream.and_then(|max| max.of(requested)),
            idle: self.idle,
        }
    }

    /// The value that tells the next hop of the route's own timeout (`x-envoy-expected-rq-timeout-ms`),
    /// to be made once.
    pub fn expected(&self) -> Option<HeaderValue> {
        let route = self.route.filter(|_| self.max_stream.is_none())?;
        Some(HeaderValue::from(milliseconds(route)))
    }

    /// Whether [`Timeouts::announce`] has nothing to do for a request that asks for this.
    pub(super) fn is_silent(&self, requested: &Requested) -> bool {
        let limits = self.of(requested);
        !requested.of_this_hop
            && limits.route.is_none()
            && self.told_by_grpc(requested, limits).is_none()
    }

    /// Takes away what the caller asked of this hop, and tells the next hop what it may expect.
    pub(super) fn announce(
        &self,
        requested: &Requested,
        headers: &mut HeaderMap,
        own: Option<&HeaderValue>,
    ) {
        let limits = self.of(requested);
        let asked = requested.of_this_hop && headers.remove(UPSTREAM_TIMEOUT).is_some();
        headers.remove(TRY_TIMEOUT);
        if let Some(limit) = limits.route {
            let expected = match own {
                Some(own) if !asked && !self.is_by_grpc(requested) => own.clone(),
                _ => HeaderValue::from(milliseconds(limit)),
            };
            set(headers, &EXPECTED_TIMEOUT, expected);
        }
        let told = self.told_by_grpc(requested, limits);
        if let Some(told) = told.and_then(grpc_timeout_value) {
            set(headers, &GRPC_TIMEOUT, told);
        }
    }

    fn is_by_grpc(&self, requested: &Requested) -> bool {
        requested.is_grpc && self.grpc.is_some() && self.max_stream.is_none()
    }

    /// What `grpc-timeout` tells the next hop.
    fn told_by_grpc(&self, requested: &Requested, limits: Limits) -> Option<Duration> {
        let told = match self.is_by_grpc(requested) {
            true => limits.route,
            false => limits.whole,
        };
        told.filter(|_| requested.is_grpc)
    }
}

impl MaxStream {
    fn of(&self, requested: &Requested) -> Option<Duration> {
        match (self.grpc_max, requested.grpc_milliseconds()) {
            (Some(cap), Some(asked)) => {
                let capped = if cap.is_zero() { asked } else { asked.min(cap) };
                Some(capped.saturating_sub(self.grpc_offset))
            }
            _ => self.max,
        }
    }
}

impl GrpcTimeout {
    /// Zero is no limit, for what is asked as for the cap.
    fn of(&self, requested: &Requested) -> Duration {
        let asked = requested.grpc_milliseconds().unwrap_or_default();
        let left = asked
            .checked_sub(self.offset)
            .filter(|left| !left.is_zero());
        let asked = left.unwrap_or(asked);
        if !self.max.is_zero() && (asked.is_zero() || asked > self.max) {
            self.max
        } else {
            asked
        }
    }
}

fn caller_timeout(value: &HeaderValue) -> Option<Duration> {
    let number = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_millis(number))
}

fn milliseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

/// At most 8 digits and one of the units `H`, `M`, `S`, `m`, `u`, `n` (gRPC over HTTP/2).
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse::<u32>().ok()?;
    let number = u64::from(number);
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The finest unit from milliseconds upwards in which 8 digits hold the value.
fn grpc_timeout_value(limit: Duration) -> Option<HeaderValue> {
    const LARGEST: u64 = 99_999_999;
    let mut number = milliseconds(limit);
    let mut unit = 'm';
    for (larger, size) in [('S', 1000), ('M', 60), ('H', 60)] {
        if number > LARGEST {
            number /= size;
            unit = larger;
        }
    }
    let text = format!("{}{unit}", number.min(LARGEST));
    HeaderValue::try_from(text).ok()
}
