//! The headers that Bookinfo's services pass on, so that traces join up and rules by user work at any depth.
//!
//! Source: the header lists of Istio's sample. A service must copy them by hand: the mesh cannot know which outgoing
//! call belongs to which incoming one.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::demo;

/// Who the signed-in user is: set by productpage, passed on by all others, matched by VirtualServices.
pub const END_USER: HeaderName = HeaderName::from_static("end-user");

/// Zipkin's headers.
const B3: [&str; 5] = [
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// All others that are copied as they are.
const COPIED: [&str; 14] = [
    "x-request-id",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "traceparent",
    "tracestate",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
];

/// What productpage sends on: the copied headers, and the user who is signed in. An `end-user` that a browser sends
/// is dropped, or anybody could be jason.
pub fn from_browser(
    incoming: &HeaderMap,
    user: Option<&HeaderValue>,
    demo_aids: bool,
) -> HeaderMap {
    let mut out = copied(incoming, demo_aids);
    if let Some(user) = user {
        out.insert(END_USER, user.clone());
    }
    out
}

/// What a service further in sends on: the copied headers, `end-user` included.
pub fn from_service(incoming: &HeaderMap, demo_aids: bool) -> HeaderMap {
    let mut out = copied(incoming, demo_aids);
    copy(incoming, &mut out, &END_USER);
    out
}

fn copied(incoming: &HeaderMap, demo_aids: bool) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in B3.iter().chain(&COPIED) {
        copy(incoming, &mut out, &HeaderName::from_static(name));
    }
    if demo_aids {
        copy(incoming, &mut out, &demo::DELAY);
    }
    out
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, name: &HeaderName) {
    for value in from.get_all(name) {
        to.append(name.clone(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_cannot_name_its_user() {
        let mut incoming = HeaderMap::new();
        incoming.insert(END_USER, HeaderValue::from_static("jason"));
        incoming.insert("x-other", HeaderValue::from_static("1"));
        incoming.insert("x-request-id", HeaderValue::from_static("7"));
        let out = from_browser(&incoming, None, false);
        assert_eq!(out.len(), 1);
        assert_eq!(out["x-request-id"], "7");
        assert_eq!(
            from_browser(&incoming, Some(&HeaderValue::from_static("ann")), false)[END_USER],
            "ann"
        );
        assert_eq!(from_service(&incoming, false)[END_USER], "jason");
    }
}
