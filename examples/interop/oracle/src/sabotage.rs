//! The negative control: ours is told something else than Envoy, and that must show.

use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteConfiguration};
use envoy_types::pb::google::protobuf::BoolValue;

use crate::world::CLUSTERS;

/// A way of telling ours something wrong.
pub(crate) type Sabotage = (&'static str, fn(&mut Route));

/// All of them.
pub(crate) const ALL: &[Sabotage] = &[
    ("case sensitivity flipped", flip_case),
    ("a header matcher inverted", invert),
    ("a missing header counted otherwise", flip_missing),
    ("the next cluster", next_cluster),
    ("a header matcher dropped", drop_header),
    ("a fraction of none made all", flip_fraction),
    ("segment prefix made plain", plain_prefix),
    ("a direct response of another status", other_status),
];

/// Applies one to every route.
pub(crate) fn all_routes(configuration: &mut RouteConfiguration, sabotage: fn(&mut Route)) {
    for host in &mut configuration.virtual_hosts {
        // The first route tells the round.
        host.routes.iter_mut().skip(1).for_each(sabotage);
    }
}

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

fn other_status(route: &mut Route) {
    if let Some(Action::DirectResponse(direct)) = &mut route.action {
        direct.status = if direct.status == 200 { 201 } else { 200 };
    }
}
