//! Route configurations in short, and what becomes of them.

use crate::rig::{Rig, error};
use crate::wire::{self, CDS, EDS, RDS};
use envoy_types::pb::envoy::config::core::v3::{
    DataSource, HeaderValue, HeaderValueOption, data_source::Specifier,
    header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
    WeightedCluster, route, route_action::ClusterSpecifier, route_match::PathSpecifier,
    weighted_cluster::ClusterWeight,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration, UInt32Value};
use http::Request;
use http::request::Parts;
use mesh_core::route::{Action, Forward};

pub(crate) fn prefix(text: &str) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(text.to_owned())),
        ..RouteMatch::default()
    }
}

/// To cluster `one`.
pub(crate) fn to_one() -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster("one".to_owned())),
        ..RouteAction::default()
    }
}

pub(crate) fn rule(action: route::Action) -> Route {
    Route {
        name: "r".to_owned(),
        r#match: Some(prefix("/")),
        action: Some(action),
        ..Route::default()
    }
}

pub(crate) fn forward(action: RouteAction) -> Route {
    rule(route::Action::Route(action))
}

pub(crate) fn split(clusters: Vec<ClusterWeight>) -> Route {
    let weighted = WeightedCluster {
        clusters,
        ..WeightedCluster::default()
    };
    forward(RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(weighted)),
        ..RouteAction::default()
    })
}

pub(crate) fn weight(name: &str, value: u32) -> ClusterWeight {
    ClusterWeight {
        name: name.to_owned(),
        weight: Some(UInt32Value { value }),
        ..ClusterWeight::default()
    }
}

pub(crate) fn matching(wanted: RouteMatch) -> Route {
    Route {
        r#match: Some(wanted),
        ..forward(to_one())
    }
}

pub(crate) fn host(routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: "a".to_owned(),
        domains: vec!["a".to_owned()],
        routes,
        ..VirtualHost::default()
    }
}

pub(crate) fn configuration(routes: Vec<Route>) -> RouteConfiguration {
    RouteConfiguration {
        name: "9080".to_owned(),
        virtual_hosts: vec![host(routes)],
        ..RouteConfiguration::default()
    }
}

pub(crate) fn resources(configuration: &RouteConfiguration) -> Vec<Any> {
    vec![wire::any(RDS, configuration)]
}

/// A rig that has taken a configuration, with clusters `one` and `two`.
pub(crate) fn taken(configuration: &RouteConfiguration) -> Rig {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", wire::clusters(&["one", "two"]));
    let answer = rig.answer(RDS, "1", resources(configuration));
    assert_eq!(answer.error_detail, None);
    let endpoints = vec![wire::endpoints("one", 1), wire::endpoints("two", 2)];
    rig.deliver(EDS, "1", endpoints);
    rig
}

/// The error text for a configuration that is refused, without what all begin with.
pub(crate) fn refused(configuration: &RouteConfiguration) -> String {
    let mut rig = Rig::introduced();
    let answer = rig.answer(RDS, "1", resources(configuration));
    let text = error(&answer).to_owned();
    let start = "route configuration \"9080\" of version \"1\" rejected: ";
    text.strip_prefix(start)
        .unwrap_or_else(|| panic!("{text}"))
        .to_owned()
}

pub(crate) fn parts(uri: &str, lines: &[(&str, &str)]) -> Parts {
    let mut request = Request::get(uri);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

pub(crate) fn forwards(rig: &Rig) -> Forward {
    match &rig.target("a").expect("a target").host.routes()[0].action {
        Action::Forward(forward) => (**forward).clone(),
        other => panic!("{other:?}"),
    }
}

/// What is sent by the first route of a configuration.
pub(crate) fn sent(configuration: &RouteConfiguration, uri: &str, lines: &[(&str, &str)]) -> Parts {
    let forward = forwards(&taken(configuration));
    let (choice, _) = forward.split.weights().next().expect("a choice");
    let mut parts = parts(uri, lines);
    forward
        .rewrite(choice, &mut parts, "r", "one")
        .expect("a rewrite");
    parts
}

pub(crate) fn values(headers: &http::HeaderMap, name: &str) -> Vec<String> {
    let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
    headers.get_all(name).iter().map(text).collect()
}

pub(crate) fn option(key: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    }
}

pub(crate) fn append(key: &str, value: &str) -> HeaderValueOption {
    option(key, value, HeaderAppendAction::AppendIfExistsOrAdd)
}

pub(crate) fn regex(text: &str) -> RegexMatcher {
    RegexMatcher {
        regex: text.to_owned(),
        ..RegexMatcher::default()
    }
}

pub(crate) fn substitution(pattern: &str, with: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(regex(pattern)),
        substitution: with.to_owned(),
    }
}

pub(crate) const fn seconds(seconds: i64) -> Option<PbDuration> {
    Some(PbDuration { seconds, nanos: 0 })
}

pub(crate) fn direct(status: u32, body: Option<DataSource>) -> Route {
    rule(route::Action::DirectResponse(DirectResponseAction {
        status,
        body,
        ..DirectResponseAction::default()
    }))
}

pub(crate) fn inline(length: usize) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(Specifier::InlineString("x".repeat(length))),
        ..DataSource::default()
    })
}
