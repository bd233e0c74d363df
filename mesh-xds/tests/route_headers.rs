//! The header changes of a route configuration: all levels become one list, in Envoy's order.

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, Route, RouteConfiguration, VirtualHost, route,
    weighted_cluster::ClusterWeight,
};
use envoy_types::pb::google::protobuf::BoolValue;
use mesh_core::route::{Action, Values};
use rig::Rig;
use rules::*;
use wire::RDS;

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rules.rs"]
mod rules;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

/// What every level of the test does, with its name as value.
fn level(name: &str) -> Vec<HeaderValueOption> {
    vec![
        append("x-l", name),
        option("x-s", name, HeaderAppendAction::OverwriteIfExistsOrAdd),
        option("x-i", name, HeaderAppendAction::AddIfAbsent),
    ]
}

/// Four levels that do the same things to requests and responses.
fn levelled(most_specific_wins: bool) -> RouteConfiguration {
    let entry = ClusterWeight {
        request_headers_to_add: level("wc"),
        response_headers_to_add: level("wc"),
        ..weight("one", 1)
    };
    let route = Route {
        request_headers_to_add: level("route"),
        response_headers_to_add: level("route"),
        ..split(vec![entry])
    };
    let host = VirtualHost {
        request_headers_to_add: level("vh"),
        response_headers_to_add: level("vh"),
        ..host(vec![route])
    };
    RouteConfiguration {
        virtual_hosts: vec![host],
        request_headers_to_add: level("rc"),
        response_headers_to_add: level("rc"),
        most_specific_header_mutations_wins: most_specific_wins,
        ..configuration(Vec::new())
    }
}

/// The order is Envoy's, and so are the outcomes.
#[test]
fn all_levels_of_header_changes_are_one_list() {
    for (most_specific_wins, order, last) in [
        (false, ["wc", "route", "vh", "rc"], "rc"),
        (true, ["wc", "rc", "vh", "route"], "route"),
    ] {
        let configuration = levelled(most_specific_wins);
        let request = sent(&configuration, "http://a/", &[]).headers;
        let forward = forwards(&taken(&configuration));
        let (choice, _) = forward.split.weights().next().expect("a choice");
        let mut response = http::HeaderMap::new();
        choice
            .response_headers
            .apply(&mut response, &Values::default());
        for headers in [request, response] {
            assert_eq!(values(&headers, "x-l"), order);
            assert_eq!(values(&headers, "x-s"), [last]);
            assert_eq!(values(&headers, "x-i"), ["wc"]);
        }
    }
}

/// A host is the same only when what stands around it is the same.
#[test]
fn changes_of_the_configuration_reach_hosts_that_stay() {
    let mut rig = taken(&levelled(false));
    let seen = |rig: &Rig| {
        let forward = forwards(rig);
        let (choice, _) = forward.split.weights().next().expect("a choice");
        let mut parts = parts("http://a/", &[]);
        forward
            .rewrite(choice, &mut parts, "r", "one")
            .expect("a rewrite");
        values(&parts.headers, "x-s")
    };
    assert_eq!(seen(&rig), ["rc"]);
    rig.deliver(RDS, "2", resources(&levelled(true)));
    assert_eq!(seen(&rig), ["route"]);
    let other = RouteConfiguration {
        request_headers_to_add: level("other"),
        ..levelled(false)
    };
    rig.deliver(RDS, "3", resources(&other));
    assert_eq!(seen(&rig), ["other"]);
}

#[test]
fn redirects_and_direct_responses_have_the_levels_of_their_route() {
    let redirect = RedirectAction {
        host_redirect: "new".to_owned(),
        ..RedirectAction::default()
    };
    let direct = DirectResponseAction {
        status: 200,
        ..DirectResponseAction::default()
    };
    for action in [
        route::Action::Redirect(redirect),
        route::Action::DirectResponse(direct),
    ] {
        let mut configuration = levelled(false);
        configuration.virtual_hosts[0].routes[0].action = Some(action);
        let rig = taken(&configuration);
        let headers = match &rig.target("a").expect("a target").host.routes()[0].action {
            Action::Redirect(redirect) => redirect.headers.clone(),
            Action::DirectResponse(direct) => direct.headers.clone(),
            other => panic!("{other:?}"),
        };
        let mut response = http::HeaderMap::new();
        headers.apply(&mut response, &Values::default());
        assert_eq!(values(&response, "x-l"), ["route", "vh", "rc"]);
    }
}

#[test]
#[allow(deprecated, reason = "Envoy still serves it")]
fn each_kind_of_header_change() {
    let old = |value| HeaderValueOption {
        append: Some(BoolValue { value }),
        ..append("x-old", "new")
    };
    let raw = HeaderValueOption {
        header: Some(HeaderValue {
            key: "x-raw".to_owned(),
            raw_value: b"ab".to_vec(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    };
    let kept = HeaderValueOption {
        keep_empty_value: true,
        ..append("x-kept", "")
    };
    for (appends, expected) in [(true, &["was", "new"][..]), (false, &["new"])] {
        let route = Route {
            request_headers_to_add: vec![
                old(appends),
                raw.clone(),
                kept.clone(),
                append("x-empty", ""),
                option("x-absent", "1", HeaderAppendAction::OverwriteIfExists),
            ],
            request_headers_to_remove: vec!["x-gone".to_owned()],
            ..forward(to_one())
        };
        let lines = [("x-old", "was"), ("x-gone", "1")];
        let headers = sent(&configuration(vec![route]), "http://a/", &lines).headers;
        assert_eq!(values(&headers, "x-old"), expected);
        assert_eq!(values(&headers, "x-raw"), ["ab"]);
        assert_eq!(values(&headers, "x-kept"), [""]);
        for absent in ["x-empty", "x-absent", "x-gone"] {
            assert_eq!(values(&headers, absent), [""; 0], "{absent}");
        }
    }
}
