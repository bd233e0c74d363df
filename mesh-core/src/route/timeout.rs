//! How long a request may take (`RouteAction.timeout`, `idle_timeout`, `max_stream_duration`), and what
//! the next hop is told of it.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::mutate::set;

/// The route timeout of Envoy when the route sets none.
pub const DEFAULT_ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const UPSTREAM_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
const TRY_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");
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

impl Timeouts {
    /// The limits of a request with these headers, before anything is changed in them.
    ///
    /// `x-envoy-upstream-rq-timeout-ms` replaces the route's timeout (Envoy's router; 0 is none).
    pub fn of(&self, headers: &HeaderMap) -> Limits {
        let route = match caller_timeout(headers) {
            Some(asked) => Some(asked),
            None if self.max_stream.is_some() => None,
            None => match self.grpc {
                Some(grpc) if is_grpc(headers) => Some(grpc.of(headers)),
                _ => self.route,
            },
        };
        Limits {
            route: route.filter(|limit| !limit.is_zero()),
            whole: self.max_stream.and_then(|max| max.of(headers)),
            idle: self.idle,
        }
    }

    /// The value that tells the next hop of the route's own timeout (`x-envoy-expected-rq-timeout-ms`),
    /// to be made once.
    pub fn expected(&self) -> Option<HeaderValue> {
        let route = self.route.filter(|_| self.max_stream.is_none())?;
        Some(HeaderValue::from(milliseconds(route)))
    }

    /// Whether [`Timeouts::announce`] has nothing to do for these headers.
    pub(super) fn is_silent(&self, headers: &HeaderMap) -> bool {
        let says_nothing = self.route.is_none() || self.max_stream.is_some();
        let tells_grpc = self.grpc.is_some() || self.max_stream.is_some();
        let asks = headers.contains_key(UPSTREAM_TIMEOUT) || headers.contains_key(TRY_TIMEOUT);
        says_nothing && !asks && !(tells_grpc && is_grpc(headers))
    }

    /// Takes away what the caller asked of this hop, and tells the next hop what it may expect.
    pub(super) fn announce(&self, headers: &mut HeaderMap, own: Option<&HeaderValue>) {
        let limits = self.of(headers);
        let asked = headers.remove(UPSTREAM_TIMEOUT).is_some();
        headers.remove(TRY_TIMEOUT);
        let is_grpc = is_grpc(headers);
        let by_grpc = is_grpc && self.grpc.is_some() && self.max_stream.is_none();
        if let Some(limit) = limits.route {
            let expected = match own {
                Some(own) if !asked && !by_grpc => own.clone(),
                _ => HeaderValue::from(milliseconds(limit)),
            };
            set(headers, &EXPECTED_TIMEOUT, expected);
        }
        let told = if by_grpc { limits.route } else { limits.whole };
        if let Some(told) = told.filter(|_| is_grpc).and_then(grpc_timeout_value) {
            set(headers, &GRPC_TIMEOUT, told);
        }
    }
}

impl MaxStream {
    fn of(&self, headers: &HeaderMap) -> Option<Duration> {
        match (self.grpc_max, grpc_milliseconds(headers)) {
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
    fn of(&self, headers: &HeaderMap) -> Duration {
        let asked = grpc_milliseconds(headers).unwrap_or_default();
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

/// What the caller asks for, if it asks once and for a number.
fn caller_timeout(headers: &HeaderMap) -> Option<Duration> {
    let mut lines = headers.get_all(UPSTREAM_TIMEOUT).iter();
    let text = lines.next()?.to_str().ok()?;
    let once = lines.next().is_none();
    let number = text.trim().parse().ok().filter(|_| once)?;
    Some(Duration::from_millis(number))
}

/// The `grpc-timeout` as Envoy counts it: in milliseconds, rounded up.
fn grpc_milliseconds(headers: &HeaderMap) -> Option<Duration> {
    let asked = grpc_timeout(headers)?;
    let rest = asked.subsec_nanos() % 1_000_000;
    let missing = if rest == 0 { 0 } else { 1_000_000 - rest };
    Some(asked + Duration::from_nanos(missing.into()))
}

fn milliseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a request is gRPC: `content-type: application/grpc`, or with `+` and a format.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

/// The `grpc-timeout` of a request: at most 8 digits and one of the units `H`, `M`, `S`, `m`, `u`, `n`
/// (gRPC over HTTP/2). `None` when there is none, or one that is malformed.
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(GRPC_TIMEOUT)?.as_bytes();
    let (unit, digits) = value.split_last()?;
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
