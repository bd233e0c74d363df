//! Lies about copies of requests, on every level.

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::RequestMirrorPolicy;

use super::Sabotage;
use crate::feature::Feature;
use crate::world::CLUSTERS;

/// All of them. A copy less is not among them: the harness would wait for each.
pub(super) const ALL: &[Sabotage] = &[
    Sabotage {
        name: "a copy to the next cluster",
        feature: Feature::Mirror,
        shows: "copy cluster",
        change: |c| policies(c, next_cluster),
    },
    Sabotage {
        name: "a copy with a suffix at its host where it should have none, and without where it should",
        feature: Feature::Mirror,
        shows: "copy host",
        change: |c| policies(c, flip_suffix),
    },
    Sabotage {
        name: "a copy for another host",
        feature: Feature::Mirror,
        shows: "copy host",
        change: |c| policies(c, other_host),
    },
    Sabotage {
        name: "copies of none made all",
        feature: Feature::Mirror,
        shows: "number of copies",
        change: |c| policies(c, of_all),
    },
];

fn policies(configuration: &mut RouteConfiguration, change: fn(&mut RequestMirrorPolicy)) {
    let table = &mut configuration.request_mirror_policies;
    table.iter_mut().for_each(change);
    for host in &mut configuration.virtual_hosts {
        host.request_mirror_policies.iter_mut().for_each(change);
        for route in &mut host.routes {
            if let Some(Action::Route(action)) = &mut route.action {
                action.request_mirror_policies.iter_mut().for_each(change);
            }
        }
    }
}

fn next_cluster(policy: &mut RequestMirrorPolicy) {
    let at = CLUSTERS
        .iter()
        .position(|(name, _)| *name == policy.cluster);
    if let Some(at) = at {
        policy.cluster = CLUSTERS[(at + 1) % CLUSTERS.len()].0.to_owned();
    }
}

fn flip_suffix(policy: &mut RequestMirrorPolicy) {
    policy.disable_shadow_host_suffix_append = !policy.disable_shadow_host_suffix_append;
}

fn other_host(policy: &mut RequestMirrorPolicy) {
    if !policy.host_rewrite_literal.is_empty() {
        policy.host_rewrite_literal.insert_str(0, "wrong.");
    }
}

fn of_all(policy: &mut RequestMirrorPolicy) {
    let fraction = policy.runtime_fraction.as_mut();
    if let Some(percent) = fraction.and_then(|fraction| fraction.default_value.as_mut()) {
        percent.numerator = u32::MAX;
    }
}
