//! Fields of an action that change nothing about a quick answer: they must do no harm.

use envoy_types::pb::envoy::config::route::v3::RouteAction;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{HashPolicy, MaxStreamDuration};
use envoy_types::pb::google::protobuf::Duration;

use crate::dice::Dice;

/// Timeouts far beyond what a request takes, or 0: none.
pub(super) fn timeouts(d: &mut Dice, action: &mut RouteAction) {
    let any = |d: &mut Dice| {
        let seconds = *d.of(&[None, None, Some(0), Some(60)]);
        seconds.map(|seconds| Duration { seconds, nanos: 0 })
    };
    action.timeout = any(d);
    action.idle_timeout = any(d);
    action.max_stream_duration = d.once_in(3).then(|| MaxStreamDuration {
        max_stream_duration: any(d),
        grpc_timeout_header_max: any(d),
        grpc_timeout_header_offset: any(d),
    });
}

/// Any hash policies: every cluster has one endpoint.
pub(super) fn hash(d: &mut Dice, action: &mut RouteAction) {
    for _ in 0..d.below(3) {
        let specifier = match d.below(4) {
            0 => PolicySpecifier::Header(Header {
                header_name: d.text(&["x-a", ":path"]),
                regex_rewrite: d.once_in(2).then(|| super::rewrite::substitution(d)),
            }),
            // Without a time to live a cookie is only looked at, never made.
            1 => PolicySpecifier::Cookie(Cookie {
                name: "session".to_owned(),
                path: d.text(&["", "/"]),
                ..Cookie::default()
            }),
            2 => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
            _ => PolicySpecifier::QueryParameter(QueryParameter {
                name: "q".to_owned(),
            }),
        };
        action.hash_policy.push(HashPolicy {
            terminal: d.once_in(2),
            policy_specifier: Some(specifier),
        });
    }
}
