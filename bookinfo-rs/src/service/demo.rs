//! Demo aids: two headers and a count that make the mesh's work visible. Off unless `BOOKINFO_DEMO_AIDS=true`.
//!
//! Istio's sample has none of them. The launcher switches them on so that the tour can hold a request in flight while a
//! rule changes, can see in an answer which rule routed the call behind it, and can count copies that nobody waits for.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Asks reviews to answer that many milliseconds later.
pub const DELAY: HeaderName = HeaderName::from_static("x-bookinfo-delay-ms");

/// Names the route of the call that was made for this answer.
pub const ROUTE: HeaderName = HeaderName::from_static("x-bookinfo-route");

/// Where reviews says how many requests for reviews it had.
pub const ASKED: &str = "/asked";

/// The variable that switches the aids on.
pub const VARIABLE: &str = "BOOKINFO_DEMO_AIDS";

/// No delay is longer: below productpage's timeout of 3 s.
const LONGEST: Duration = Duration::from_millis(2_500);

/// The delay that a request asks for.
pub fn delay(headers: &HeaderMap) -> Option<Duration> {
    let millis: u64 = headers.get(DELAY)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(millis).min(LONGEST))
}

/// Writes the route's name into an answer.
pub fn mark(response: &mut Response, route: Option<&str>) {
    if let Some(value) = route.and_then(|route| HeaderValue::from_str(route).ok()) {
        response.headers_mut().insert(ROUTE, value);
    }
}
