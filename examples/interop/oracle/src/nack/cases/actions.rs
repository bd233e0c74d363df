//! Actions: clusters, weights, direct responses, timeouts.

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HashPolicy};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RouteAction, WeightedCluster,
};
use envoy_types::pb::google::protobuf::{Duration, UInt32Value};

use super::{host, route};
use crate::feature::Feature;
use crate::nack::Case;

const HEADER: &str = "the field is not supported: ours skips the route";

/// All of these.
pub(super) fn all() -> Vec<Case> {
    let mut all = actions();
    all.extend(weights());
    all.extend(directs());
    all.extend(policies());
    all
}

fn actions() -> Vec<Case> {
    use Feature::Core;
    let to = |name: &str, specifier: Option<ClusterSpecifier>| {
        Case::new(Core, name, move |c| {
            route(c).action = Some(Action::Route(RouteAction {
                cluster_specifier: specifier.clone(),
                ..RouteAction::default()
            }));
        })
    };
    vec![
        Case::new(Core, "no action", |c| route(c).action = None),
        to("no cluster specifier", None),
        to(
            "cluster empty",
            Some(ClusterSpecifier::Cluster(String::new())),
        ),
        to(
            "cluster_header empty",
            Some(ClusterSpecifier::ClusterHeader(String::new())),
        ),
        to(
            "cluster_header x-a",
            Some(ClusterSpecifier::ClusterHeader("x-a".to_owned())),
        )
        .unasked(HEADER),
        to(
            "cluster_header with a blank",
            Some(ClusterSpecifier::ClusterHeader("x a".to_owned())),
        )
        .unasked(HEADER),
        to(
            "cluster_specifier_plugin unknown",
            Some(ClusterSpecifier::ClusterSpecifierPlugin("none".to_owned())),
        ),
        Case::new(Core, "two routes of one name", |c| {
            let again = route(c).clone();
            host(c).routes.push(again);
        }),
    ]
}

fn weights() -> Vec<Case> {
    let with = |name: &str, weights: &[(&'static str, Option<u32>)]| {
        let entries: Vec<ClusterWeight> = weights
            .iter()
            .map(|(name, weight)| ClusterWeight {
                name: (*name).to_owned(),
                weight: weight.map(|value| UInt32Value { value }),
                ..ClusterWeight::default()
            })
            .collect();
        Case::new(Feature::Weighted, format!("weights {name}"), move |c| {
            let weighted = WeightedCluster {
                clusters: entries.clone(),
                ..WeightedCluster::default()
            };
            route(c).action = Some(Action::Route(RouteAction {
                cluster_specifier: Some(ClusterSpecifier::WeightedClusters(weighted)),
                ..RouteAction::default()
            }));
        })
    };
    vec![
        with("of nothing", &[]),
        with("of zero", &[("c0", Some(0))]),
        with("of zeros", &[("c0", Some(0)), ("c1", Some(0))]),
        with("of none", &[("c0", None)]),
        with("of none and one", &[("c0", None), ("c1", Some(1))]),
        with("of the largest", &[("c0", Some(u32::MAX))]),
        with(
            "of more than the largest",
            &[("c0", Some(u32::MAX)), ("c1", Some(1))],
        ),
        with("of the same twice", &[("c0", Some(1)), ("c0", Some(1))]),
        with("of a nameless one", &[("", Some(1))]),
        with("of a nameless zero", &[("", Some(0)), ("c1", Some(1))]),
    ]
}

fn directs() -> Vec<Case> {
    let with = |name: String, status: u32, body: Option<DataSource>| {
        Case::new(Feature::Direct, format!("direct {name}"), move |c| {
            route(c).action = Some(Action::DirectResponse(DirectResponseAction {
                status,
                body: body.clone(),
                ..DirectResponseAction::default()
            }));
        })
    };
    let body = |specifier| {
        Some(DataSource {
            specifier,
            ..DataSource::default()
        })
    };
    let mut all: Vec<Case> = [0, 99, 100, 101, 199, 200, 204, 599, 600, 999, 1000, 65_736]
        .into_iter()
        .map(|status| with(format!("status {status}"), status, None))
        .collect();
    let large = |size| body(Some(Specifier::InlineString("x".repeat(size))));
    all.extend([
        with("body without specifier".to_owned(), 200, body(None)),
        with(
            "body of a file".to_owned(),
            200,
            body(Some(Specifier::Filename("/nowhere".to_owned()))),
        ),
        with(
            "body of a nameless file".to_owned(),
            200,
            body(Some(Specifier::Filename(String::new()))),
        ),
        with("body of 4096".to_owned(), 200, large(4096)),
        with("body of 4097".to_owned(), 200, large(4097)),
    ]);
    all
}

fn policies() -> Vec<Case> {
    let with = |feature, name: &str, change: fn(&mut RouteAction)| {
        Case::new(feature, name, move |c| {
            if let Some(Action::Route(action)) = &mut route(c).action {
                change(action);
            }
        })
    };
    vec![
        with(Feature::Timeout, "timeout negative", |action| {
            action.timeout = Some(Duration {
                seconds: -1,
                nanos: 0,
            });
        }),
        with(
            Feature::Timeout,
            "timeout of too many nanoseconds",
            |action| {
                action.timeout = Some(Duration {
                    seconds: 1,
                    nanos: 1_000_000_000,
                });
            },
        ),
        with(Feature::Timeout, "timeout of the largest", |action| {
            action.timeout = Some(Duration {
                seconds: i64::MAX,
                nanos: 0,
            });
        }),
        with(Feature::Hash, "hash policy without specifier", |action| {
            action.hash_policy.push(HashPolicy::default());
        }),
    ]
}
