//! Configurations that one of both may refuse: they must agree.

mod cases;
pub(crate) mod known;

use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
    route_action::ClusterSpecifier,
};

use crate::ads::TABLE;
use crate::feature::{Feature, Features};
use crate::generate::{own_domain, probe};
use crate::world::CLUSTERS;

/// One thing that is doubtful about an otherwise plain configuration.
pub(crate) struct Case {
    /// What.
    pub(crate) name: String,
    /// The subject that must be on.
    feature: Feature,
    /// Why no requests are compared where both sides take it.
    pub(crate) unasked: Option<&'static str>,
    change: Box<dyn Fn(&mut RouteConfiguration) + Send + Sync>,
}

impl Case {
    fn new(
        feature: Feature,
        name: impl Into<String>,
        change: impl Fn(&mut RouteConfiguration) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            feature,
            unasked: None,
            change: Box::new(change),
        }
    }

    /// The same, of which only the verdicts are compared.
    fn unasked(self, reason: &'static str) -> Self {
        Self {
            unasked: Some(reason),
            ..self
        }
    }

    /// The configuration, good but for this.
    pub(crate) fn configuration(&self, round: u64) -> RouteConfiguration {
        let mut configuration = plain(round);
        (self.change)(&mut configuration);
        configuration
    }
}

/// The cases of these subjects.
pub(crate) fn cases(features: &Features) -> Vec<Case> {
    let mut all = cases::all();
    all.retain(|case| features.has(case.feature));
    all
}

/// Two hosts that both sides take: the first tells the round, the second is the doubtful one.
fn plain(round: u64) -> RouteConfiguration {
    let host = |at: usize, routes| VirtualHost {
        name: format!("n{round}v{at}"),
        domains: vec![own_domain(at), format!("{}:9080", own_domain(at))],
        routes,
        ..VirtualHost::default()
    };
    let forward = Route {
        name: "doubtful".to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/a".to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(CLUSTERS[0].0.to_owned())),
            ..RouteAction::default()
        })),
        ..Route::default()
    };
    RouteConfiguration {
        name: TABLE.to_owned(),
        virtual_hosts: vec![
            host(0, vec![probe(round)]),
            host(1, vec![probe(round), forward]),
        ],
        ..RouteConfiguration::default()
    }
}
