//! `Route.action`: where to, or what to answer.

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RouteAction, WeightedCluster,
};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::Context;
use super::{mirror, policy, redirect, rewrite};
use crate::dice::Dice;
use crate::feature::Feature;
use crate::world::{CLUSTERS, EMPTY, UNKNOWN};

/// Any action. `nth` is the route's number: neighbours lead to different clusters.
pub(super) fn action(d: &mut Dice, context: &Context<'_>, nth: usize) -> Action {
    let on = |feature| context.features.has(feature);
    if on(Feature::Direct) && d.once_in(6) {
        return Action::DirectResponse(direct(d, on(Feature::DirectHeaders)));
    }
    if on(Feature::Redirect) && d.once_in(3) {
        return Action::Redirect(redirect::redirect(d, context.features));
    }
    let mut action = RouteAction {
        cluster_specifier: Some(specifier(d, context, nth)),
        ..RouteAction::default()
    };
    if on(Feature::PathRewrite) {
        rewrite::path(d, &mut action);
    }
    if on(Feature::HostRewrite) {
        rewrite::host(d, &mut action);
    }
    if on(Feature::Timeout) {
        policy::timeouts(d, &mut action);
    }
    if on(Feature::Hash) {
        policy::hash(d, &mut action);
    }
    if on(Feature::Mirror) {
        action.request_mirror_policies = mirror::policies(d, 5);
    }
    Action::Route(action)
}

fn specifier(d: &mut Dice, context: &Context<'_>, nth: usize) -> ClusterSpecifier {
    let cluster = CLUSTERS[nth % CLUSTERS.len()].0.to_owned();
    let on = |feature| context.features.has(feature);
    if on(Feature::Absent) && d.once_in(12) {
        // A cluster that does not exist holds a host back for two seconds, so not in every round.
        let unknown = context.unknown_clusters && d.once_in(2);
        return ClusterSpecifier::Cluster(if unknown { UNKNOWN } else { EMPTY }.to_owned());
    }
    if on(Feature::Weighted) && d.once_in(4) {
        return ClusterSpecifier::WeightedClusters(weighted(d, context, &cluster));
    }
    ClusterSpecifier::Cluster(cluster)
}

/// Mostly one positive weight among zeros, so that the outcome is certain.
fn weighted(d: &mut Dice, context: &Context<'_>, cluster: &str) -> WeightedCluster {
    let entry = |name: &str, value: u32| ClusterWeight {
        name: name.to_owned(),
        weight: Some(UInt32Value { value }),
        ..ClusterWeight::default()
    };
    let mut clusters = vec![entry(cluster, *d.of(&[1, 100, 7, u32::MAX / 2]))];
    for _ in 0..d.below(3) {
        let other = d.of(CLUSTERS).0;
        let at = d.below(clusters.len() + 1);
        // Where nothing may be drawn, the others get nothing.
        let weight = match context.features.has(Feature::Normalized) {
            true => 0,
            false => *d.of(&[0, 0, 0, 3]),
        };
        clusters.insert(at, entry(other, weight));
    }
    if context.features.has(Feature::Mutation) {
        for cluster in &mut clusters {
            super::mutation::of_cluster(d, cluster);
        }
    }
    if context.features.has(Feature::Fault) {
        for cluster in &mut clusters {
            super::fault::of_cluster(d, context, cluster);
        }
    }
    WeightedCluster {
        clusters,
        runtime_key_prefix: d.text(&["", "oracle.weights"]),
        ..WeightedCluster::default()
    }
}

/// `located`: also with the statuses to which Envoy adds a `location`.
fn direct(d: &mut Dice, located: bool) -> DirectResponseAction {
    let text = d.text(&["hello", "", "é", "{\"a\": 1}", "two\nlines"]);
    let body = match d.below(3) {
        0 => None,
        1 => Some(Specifier::InlineString(text)),
        _ => Some(Specifier::InlineBytes(text.into_bytes())),
    };
    let mut statuses = vec![200, 200, 299, 400, 403, 404, 418, 503, 599];
    if located {
        statuses.extend([201, 300, 301, 302, 303, 307, 308]);
    }
    DirectResponseAction {
        status: *d.of(&statuses),
        body: body.map(|specifier| DataSource {
            specifier: Some(specifier),
            ..DataSource::default()
        }),
        ..DirectResponseAction::default()
    }
}
