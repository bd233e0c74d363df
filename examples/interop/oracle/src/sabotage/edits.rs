//! Lies about headers that are added and removed, on every level.

use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;

use super::Sabotage;
use crate::feature::Feature;

/// All of them.
pub(super) const ALL: &[Sabotage] = &[
    Sabotage {
        name: "another value added to requests",
        feature: Feature::Mutation,
        shows: "request headers",
        change: |c| edits(c, |edits| other_values(edits.request_add)),
    },
    Sabotage {
        name: "a header of requests not removed",
        feature: Feature::Mutation,
        shows: "request headers",
        change: |c| edits(c, |edits| edits.request_remove.clear()),
    },
    Sabotage {
        name: "the other level's edits win",
        feature: Feature::Mutation,
        shows: "request headers",
        change: |c| {
            c.most_specific_header_mutations_wins = !c.most_specific_header_mutations_wins;
        },
    },
    Sabotage {
        name: "another value added to responses",
        feature: Feature::Mutation,
        shows: "response header ",
        change: |c| edits(c, |edits| other_values(edits.response_add)),
    },
    Sabotage {
        name: "a header of responses not removed",
        feature: Feature::Mutation,
        shows: "response header ",
        change: |c| edits(c, |edits| edits.response_remove.clear()),
    },
];

/// The edits of one level.
struct Edits<'a> {
    request_add: &'a mut [HeaderValueOption],
    request_remove: &'a mut Vec<String>,
    response_add: &'a mut [HeaderValueOption],
    response_remove: &'a mut Vec<String>,
}

macro_rules! of {
    ($level:expr) => {
        Edits {
            request_add: &mut $level.request_headers_to_add,
            request_remove: &mut $level.request_headers_to_remove,
            response_add: &mut $level.response_headers_to_add,
            response_remove: &mut $level.response_headers_to_remove,
        }
    };
}

/// Applies a change to the edits of every level.
fn edits(configuration: &mut RouteConfiguration, change: fn(Edits<'_>)) {
    change(of!(configuration));
    for host in &mut configuration.virtual_hosts {
        change(of!(host));
        for route in &mut host.routes {
            change(of!(route));
            if let Some(Action::Route(action)) = &mut route.action
                && let Some(ClusterSpecifier::WeightedClusters(weighted)) =
                    &mut action.cluster_specifier
            {
                weighted
                    .clusters
                    .iter_mut()
                    .for_each(|entry| change(of!(entry)));
            }
        }
    }
}

fn other_values(added: &mut [HeaderValueOption]) {
    for header in added.iter_mut().filter_map(|option| option.header.as_mut()) {
        header.value.push_str("wrong");
    }
}
