//! Lies about which route is taken, and to which cluster it leads.

use envoy_types::pb::envoy::config::route::v3::Route;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::google::protobuf::BoolValue;

use super::{Sabotage, routes};
use crate::feature::Feature;
use crate::world::{CLUSTERS, EMPTY};

/// All of them.
pub(super) const ALL: &[Sabotage] = &[
    Sabotage {
        name: "case sensitivity flipped",
        feature: Feature::Core,
        shows: "route",
        change: |c| routes(c, flip_case),
    },
    Sabotage {
        name: "segment prefix made plain",
        feature: Feature::Core,
        shows: "route",
        change: |c| routes(c, plain_prefix),
    },
    Sabotage {
        name: "a header matcher inverted",
        feature: Feature::Header,
        shows: "route",
        change: |c| routes(c, invert),
    },
    Sabotage {
        name: "a missing header counted otherwise",
        feature: Feature::Header,
        shows: "route",
        change: |c| routes(c, flip_missing),
    },
    Sabotage {
        name: "a header matcher dropped",
        feature: Feature::Header,
        shows: "route",
        change: |c| routes(c, drop_header),
    },
    Sabotage {
        name: "a fraction of none made all",
        feature: Feature::Fraction,
        shows: "route",
        change: |c| routes(c, flip_fraction),
    },
    Sabotage {
        name: "the next cluster",
        feature: Feature::Core,
        shows: "cluster",
        change: |c| routes(c, next_cluster),
    },
    Sabotage {
        name: "a cluster without endpoints made one with",
        feature: Feature::Absent,
        shows: "flags",
        change: |c| routes(c, with_endpoints),
    },
];

fn flip_case(route: &mut Route) {
    if let Some(matches) = &mut route.r#match {
        let sensitive = matches.case_sensitive.is_none_or(|value| value.value);
        matches.case_sensitive = Some(BoolValue { value: !sensitive });
    }
}

fn invert(route: &mut Route) {
    if let Some(matcher) = route.r#match.iter_mut().flat_map(|m| &mut m.headers).next() {
        matcher.invert_match = !matcher.invert_match;
    }
}

fn flip_missing(route: &mut Route) {
    for matcher in route.r#match.iter_mut().flat_map(|m| &mut m.headers) {
        matcher.treat_missing_header_as_empty = !matcher.treat_missing_header_as_empty;
    }
}

fn drop_header(route: &mut Route) {
    if let Some(matches) = &mut route.r#match {
        matches.headers.pop();
    }
}

fn flip_fraction(route: &mut Route) {
    let fraction = route
        .r#match
        .as_mut()
        .and_then(|m| m.runtime_fraction.as_mut());
    if let Some(percent) = fraction.and_then(|f| f.default_value.as_mut()) {
        percent.numerator = if percent.numerator == 0 { u32::MAX } else { 0 };
    }
}

fn plain_prefix(route: &mut Route) {
    if let Some(specifier) = route
        .r#match
        .as_mut()
        .and_then(|m| m.path_specifier.as_mut())
        && let PathSpecifier::PathSeparatedPrefix(text) = specifier
    {
        *specifier = PathSpecifier::Prefix(std::mem::take(text));
    }
}

fn next_cluster(route: &mut Route) {
    let Some(Action::Route(action)) = &mut route.action else {
        return;
    };
    let next = |name: &mut String| {
        let at = CLUSTERS.iter().position(|(cluster, _)| cluster == name);
        if let Some(at) = at {
            *name = CLUSTERS[(at + 1) % CLUSTERS.len()].0.to_owned();
        }
    };
    match &mut action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => next(name),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted
                .clusters
                .iter_mut()
                .for_each(|entry| next(&mut entry.name));
        }
        _ => {}
    }
}

fn with_endpoints(route: &mut Route) {
    if let Some(Action::Route(action)) = &mut route.action
        && let Some(ClusterSpecifier::Cluster(name)) = &mut action.cluster_specifier
        && name == EMPTY
    {
        CLUSTERS[0].0.clone_into(name);
    }
}
