//! What is drawn: shares of weighted clusters and fractions, each side at five standard deviations.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::google::protobuf::UInt32Value;

use crate::ads::TABLE;
use crate::failure::{Doing, Failure, Result};
use crate::generate::{own_domain, probe};
use crate::request::Ask;
use crate::round::{Taken, compare_all, in_force, publish};
use crate::world::World;

/// Requests per question.
const N: u32 = 2000;
/// The round of these questions.
const ROUND: u64 = 1 << 41;

/// Whether both sides draw as they are told: two clusters 90 to 10, and a route for 30.5 %.
pub(crate) async fn hold(world: &Arc<World>, out: &mut impl Write) -> Result<bool> {
    let configuration = configuration();
    if !matches!(
        publish(world, &configuration, &configuration).await?,
        Taken::Both
    ) {
        return Err(Failure::new("the routes of the statistics are refused"));
    }
    in_force(world, &configuration, ROUND).await?;
    let configuration = Arc::new(configuration);
    let mut all_hold = true;
    for (path, shares) in [
        ("/weights", [("c0", 0.9), ("c1", 0.1)]),
        ("/fraction", [("c2", 0.305), ("c3", 0.695)]),
    ] {
        let ask = Ask::get(format!("{}:9080", own_domain(0)), path);
        let asks = vec![ask; N as usize];
        let compared = compare_all(world, &configuration, asks).await?;
        let mut seen: BTreeMap<(&str, String), u32> = BTreeMap::new();
        for one in &compared {
            for (side, outcome) in [("Envoy", &one.envoy), ("ours", &one.ours)] {
                let cluster = outcome.seen.as_ref().map_or("none", |seen| &seen.cluster);
                *seen.entry((side, cluster.to_owned())).or_default() += 1;
            }
        }
        for side in ["Envoy", "ours"] {
            for (cluster, share) in shares {
                let count = seen.get(&(side, cluster.to_owned())).copied();
                let count = f64::from(count.unwrap_or_default());
                let (mean, n) = (f64::from(N) * share, f64::from(N));
                let holds = (count - mean).abs() <= 5.0 * (n * share * (1.0 - share)).sqrt();
                all_hold &= holds;
                let verdict = if holds { "" } else { ": BEYOND FIVE SIGMA" };
                writeln!(
                    out,
                    "drawn: {side} {path} {cluster}: {count} of {N} at {share}{verdict}"
                )
                .doing("standard output")?;
            }
        }
    }
    Ok(all_hold)
}

fn configuration() -> RouteConfiguration {
    let weight = |name: &str, value| ClusterWeight {
        name: name.to_owned(),
        weight: Some(UInt32Value { value }),
        ..ClusterWeight::default()
    };
    let weighted = ClusterSpecifier::WeightedClusters(WeightedCluster {
        clusters: vec![weight("c0", 9), weight("c1", 1)],
        ..WeightedCluster::default()
    });
    let fraction = RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator: 3050,
            denominator: DenominatorType::TenThousand.into(),
        }),
        runtime_key: String::new(),
    };
    let to = |name: &str| ClusterSpecifier::Cluster(name.to_owned());
    let host = VirtualHost {
        name: "statistics".to_owned(),
        domains: vec![own_domain(0), format!("{}:9080", own_domain(0))],
        routes: vec![
            probe(ROUND),
            route("/weights", None, weighted),
            route("/fraction", Some(fraction), to("c2")),
            route("/fraction", None, to("c3")),
        ],
        ..VirtualHost::default()
    };
    RouteConfiguration {
        name: TABLE.to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    }
}

fn route(path: &str, fraction: Option<RuntimeFractionalPercent>, to: ClusterSpecifier) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Path(path.to_owned())),
            runtime_fraction: fraction,
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(to),
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}
