//! The headers by which calls that belong together are found again.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{Entry, HeaderName, HeaderValue};
use rand::Rng;

use crate::random::Randomness;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
pub(super) const B3: HeaderName = HeaderName::from_static("b3");
pub(super) const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
pub(super) const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
pub(super) const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
pub(super) const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// All headers of both forms.
pub(super) static TRACE: [HeaderName; 8] = [
    TRACE_PARENT,
    TRACE_STATE,
    B3,
    B3_TRACE_ID,
    B3_SPAN_ID,
    B3_PARENT_SPAN_ID,
    B3_SAMPLED,
    B3_FLAGS,
];

tokio::task_local! {
    /// What the request that a task serves carried: for the calls that it makes.
    static CARRIED: Arc<HeaderMap>;
}

/// In which headers traces travel between services. Beside them goes `x-request-id`: it is kept, and made (a UUID of
/// version 4) where a request begins here.
///
/// `W3C` is `traceparent` and `tracestate` (W3C Trace Context), as with Istio's OpenTelemetry provider; `B3` is
/// Zipkin's, Istio's default. Where a request carries both, `traceparent` wins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Propagation {
    /// Reads W3C and both forms of B3; writes W3C and the `x-b3-` headers, so that every service along the way finds
    /// its own. The default.
    #[default]
    All,
    /// `traceparent` and `tracestate` alone.
    W3c,
    /// B3: reads both of its forms, writes `x-b3-traceid`, `x-b3-spanid` and `x-b3-sampled`.
    B3,
    /// B3: reads both of its forms, writes the single header `b3`.
    B3Single,
}

impl Propagation {
    fn names(self) -> &'static [HeaderName] {
        let (w3c, b3) = TRACE.split_at(2);
        match self {
            Self::All => &TRACE,
            Self::W3c => w3c,
            Self::B3 | Self::B3Single => b3,
        }
    }

    /// What the calls that a request causes are to carry. A request without an id gets one, which the application
    /// sees too.
    pub(super) fn carried(self, headers: &mut HeaderMap, random: &Randomness) -> Arc<HeaderMap> {
        identify(headers, None, random);
        let mut carried = HeaderMap::with_capacity(self.names().len() + 1);
        for name in self.names().iter().chain([&REQUEST_ID]) {
            for value in headers.get_all(name) {
                carried.append(name, value.clone());
            }
        }
        Arc::new(carried)
    }

    /// Completes the headers of a call by those of the request that the task serves. Those of a trace that the
    /// application has set itself stay as they are.
    pub(super) fn complete(self, headers: &mut HeaderMap, random: &Randomness) {
        let carried = CARRIED.try_with(Arc::clone).ok();
        identify(headers, carried.as_deref(), random);
        let traced = TRACE.iter().any(|name| headers.contains_key(name));
        let Some(carried) = carried.filter(|_| !traced) else {
            return;
        };
        for name in self.names() {
            for value in carried.get_all(name) {
                headers.append(name, value.clone());
            }
        }
    }
}

/// Runs a step of a task that serves a request with these headers.
pub(super) fn within<T>(carried: &Arc<HeaderMap>, step: impl FnOnce() -> T) -> T {
    CARRIED.sync_scope(Arc::clone(carried), step)
}

fn identify(headers: &mut HeaderMap, carried: Option<&HeaderMap>, random: &Randomness) {
    if let Entry::Vacant(vacant) = headers.entry(REQUEST_ID) {
        let known = carried.and_then(|carried| carried.get(REQUEST_ID));
        let id = known.cloned().or_else(|| uuid(random));
        if let Some(id) = id {
            vacant.insert(id);
        }
    }
}

/// A UUID of version 4 (RFC 9562, 5.4).
fn uuid(random: &Randomness) -> Option<HeaderValue> {
    let mut random = random.next();
    let (high, low) = (random.next_u64(), random.next_u64());
    let (high, low) = (high & !0xf000 | 0x4000, low & !(3 << 62) | 2 << 62);
    let text = format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff,
    );
    HeaderValue::try_from(text).ok()
}
