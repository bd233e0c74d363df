//! `request_mirror_policies`: copies of none or of all requests, so that their number is certain.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::route_action::RequestMirrorPolicy;

use super::fraction;
use crate::dice::Dice;
use crate::world::{CLUSTERS, EMPTY};

/// The policies of one level: once in `n` there are some.
pub(super) fn policies(d: &mut Dice, n: usize) -> Vec<RequestMirrorPolicy> {
    if !d.once_in(n) {
        return Vec::new();
    }
    (0..=d.below(2)).map(|_| policy(d)).collect()
}

fn policy(d: &mut Dice) -> RequestMirrorPolicy {
    let fraction = |d: &mut Dice| RuntimeFractionalPercent {
        default_value: {
            let all = !d.once_in(4);
            Some(fraction::certain(d, all))
        },
        runtime_key: d.text(&["", "oracle.mirror"]),
    };
    RequestMirrorPolicy {
        cluster: match d.below(12) {
            0 => EMPTY.to_owned(),
            _ => d.of(CLUSTERS).0.to_owned(),
        },
        runtime_fraction: d.once_in(2).then(|| fraction(d)),
        disable_shadow_host_suffix_append: d.once_in(2),
        host_rewrite_literal: d.text(&["", "", "", "copies.test", "copies.test:8080"]),
        ..RequestMirrorPolicy::default()
    }
}
