//! `HTTPFault` and `request_mirror_policies`: what becomes of them, what is refused, and what mirrors hold up.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::{
    FilterConfig, HeaderMatcher, Route, RouteAction, RouteConfiguration, VirtualHost,
    route_action::RequestMirrorPolicy, weighted_cluster::ClusterWeight,
};
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, FaultRateLimit, fault_delay::FaultDelaySecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::ExtAuthzPerRoute;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::PerRouteConfig;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::RbacPerRoute;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration};
use envoy_types::util::pack_any;
use mesh_core::route::{AbortBy, AbortStatus, Action, DelayBy, Denominator, Fraction, MirrorHost};
use rig::Rig;
use rules::*;
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rules.rs"]
mod rules;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const FILTER: &str = "envoy.filters.http.fault";

fn filters(any: Any) -> HashMap<String, Any> {
    HashMap::from([(FILTER.to_owned(), any)])
}

fn abort(error: ErrorType) -> HttpFault {
    HttpFault {
        abort: Some(FaultAbort {
            error_type: Some(error),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    }
}

fn fixed(seconds: i64, nanos: i32) -> HttpFault {
    let delay = PbDuration { seconds, nanos };
    HttpFault {
        delay: Some(FaultDelay {
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(delay)),
            ..FaultDelay::default()
        }),
        ..HttpFault::default()
    }
}

fn with(any: Any) -> RouteConfiguration {
    let route = Route {
        typed_per_filter_config: filters(any),
        ..forward(to_one())
    };
    configuration(vec![route])
}

/// The HTTP status with which the first route aborts.
fn status(configuration: &RouteConfiguration) -> Option<u16> {
    let rig = taken(configuration);
    let route = &rig.target("a").expect("a target").host.routes()[0];
    let own = forwards(&rig).split.weights().next()?.0.fault.clone();
    match own.as_ref().or(route.fault.as_ref())?.abort.as_ref()?.by {
        AbortBy::Status(AbortStatus::Http(status)) => Some(status.as_u16()),
        _ => None,
    }
}

#[test]
fn a_fault_is_taken_as_it_is_or_wrapped() {
    let wire = HttpFault {
        upstream_cluster: "one".to_owned(),
        downstream_nodes: vec!["n".to_owned()],
        abort: abort(ErrorType::GrpcStatus(8)).abort,
        ..fixed(1, 2_999_999)
    };
    let wrapped = FilterConfig {
        config: Some(pack_any(wire.clone())),
        ..FilterConfig::default()
    };
    for any in [pack_any(wire), pack_any(wrapped)] {
        let rig = taken(&with(any));
        let route = &rig.target("a").expect("a target").host.routes()[0];
        let fault = route.fault.as_ref().expect("a fault");
        let delay = fault.delay.as_ref().expect("a delay");
        // In whole milliseconds.
        assert_eq!(delay.by, DelayBy::Fixed(Duration::from_millis(1002)));
        assert_eq!(
            delay.fraction,
            Fraction::default(),
            "none unless it is said"
        );
        let abort = fault.abort.as_ref().expect("an abort");
        assert_eq!(abort.by, AbortBy::Status(AbortStatus::Grpc(8)));
        assert_eq!(abort.body, "fault filter abort");
        assert_eq!(fault.upstream_cluster.as_deref(), Some("one"));
        assert_eq!(fault.downstream_nodes.len(), 1);
        assert_eq!(rig.machine.status().ignored.join("\n"), "");
    }
}

#[test]
fn the_most_specific_level_counts_and_may_switch_it_off() {
    let level = |number| filters(pack_any(abort(ErrorType::HttpStatus(number))));
    let entry = ClusterWeight {
        typed_per_filter_config: level(504),
        ..weight("one", 1)
    };
    let route = Route {
        typed_per_filter_config: level(503),
        ..split(vec![entry])
    };
    let host = VirtualHost {
        typed_per_filter_config: level(502),
        ..host(vec![route])
    };
    let mut all = RouteConfiguration {
        virtual_hosts: vec![host],
        typed_per_filter_config: level(501),
        ..configuration(Vec::new())
    };
    fn entry_of(all: &mut RouteConfiguration) -> &mut HashMap<String, Any> {
        use envoy_types::pb::envoy::config::route::v3::{route, route_action::ClusterSpecifier};
        match &mut all.virtual_hosts[0].routes[0].action {
            Some(route::Action::Route(action)) => match &mut action.cluster_specifier {
                Some(ClusterSpecifier::WeightedClusters(split)) => {
                    &mut split.clusters[0].typed_per_filter_config
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(status(&all), Some(504));
    let off = FilterConfig {
        disabled: true,
        ..FilterConfig::default()
    };
    *entry_of(&mut all) = filters(pack_any(off));
    assert_eq!(status(&all), None);
    // Enabled here, with what the level above says.
    let as_above = FilterConfig {
        config: Some(Any::default()),
        ..FilterConfig::default()
    };
    *entry_of(&mut all) = filters(pack_any(as_above));
    assert_eq!(status(&all), Some(503));
    entry_of(&mut all).clear();
    assert_eq!(status(&all), Some(503));
    all.virtual_hosts[0].routes[0]
        .typed_per_filter_config
        .clear();
    assert_eq!(status(&all), Some(502));
    all.virtual_hosts[0].typed_per_filter_config.clear();
    assert_eq!(status(&all), Some(501));
}

#[test]
fn faults_that_make_no_sense_are_refused_with_their_place() {
    let unknown = Some(FractionalPercent {
        numerator: 1,
        denominator: 7,
    });
    let odd = HttpFault {
        delay: Some(FaultDelay {
            percentage: unknown,
            fault_delay_secifier: None,
        }),
        abort: Some(FaultAbort {
            percentage: unknown,
            ..FaultAbort::default()
        }),
        headers: vec![HeaderMatcher::default()],
        ..HttpFault::default()
    };
    let place = format!("virtual_hosts[0].routes[0].typed_per_filter_config[{FILTER:?}]");
    let text = refused(&with(pack_any(odd)));
    for expected in [
        "delay: has neither fixed_delay nor header_delay",
        "delay.percentage.denominator: is unknown",
        "abort: has neither http_status, grpc_status nor header_abort",
        "abort.percentage.denominator: is unknown",
        "headers[0].name: \"\" is no header name",
    ] {
        let expected = format!("{place}.{expected}");
        assert!(text.contains(&expected), "{expected:?} is not in\n{text}");
    }
    for delay in [fixed(0, 0), fixed(-1, 0), fixed(1, -1)] {
        let text = refused(&with(pack_any(delay)));
        let expected = format!("{place}.delay.fixed_delay: is not above zero");
        assert!(text.starts_with(&expected), "{text}");
    }
    for number in [0, 199, 600, 70_000] {
        let text = refused(&with(pack_any(abort(ErrorType::HttpStatus(number)))));
        let expected = format!("{place}.abort.http_status: {number} is not in 200..600");
        assert_eq!(text, expected);
    }
    for number in [200, 599] {
        taken(&with(pack_any(abort(ErrorType::HttpStatus(number)))));
    }
    let text = refused(&with(pack_any(FilterConfig::default())));
    assert_eq!(text, format!("{place}.config: is missing"));
    let broken = Any {
        value: vec![0xff],
        ..pack_any(HttpFault::default())
    };
    let text = refused(&with(broken));
    assert!(text.starts_with(&format!("{place}: not valid")), "{text}");
}

#[test]
fn what_has_no_effect_is_told() {
    let limited = HttpFault {
        response_rate_limit: Some(FaultRateLimit::default()),
        ..HttpFault::default()
    };
    let mut configuration = with(pack_any(limited));
    let route = &mut configuration.virtual_hosts[0];
    let other = HashMap::from([("cors".to_owned(), Any::default())]);
    route.typed_per_filter_config = other;
    route
        .typed_per_filter_config
        .insert(FILTER.to_owned(), pack_any(PbDuration::default()));
    let told = taken(&configuration).machine.status().ignored.join("\n");
    for expected in [
        "the fault's response_rate_limit has no effect yet: route \"r\"",
        "typed_per_filter_config[\"cors\"] has no effect yet: virtual host \"a\"",
        "is a \"type.googleapis.com/google.protobuf.Duration\" and no HTTPFault",
    ] {
        assert!(told.contains(expected), "{expected:?} is not in\n{told}");
    }
}

/// A route with rules of its own is for those whom these let through, and nobody asks them here.
#[test]
fn a_route_with_rules_of_its_own_leads_nowhere() {
    let name = || "some filter".to_owned();
    let wrapped = FilterConfig {
        config: Some(pack_any(RbacPerRoute::default())),
        ..FilterConfig::default()
    };
    let broken = Any {
        value: vec![0xff],
        ..pack_any(FilterConfig::default())
    };
    let off = FilterConfig {
        disabled: true,
        ..FilterConfig::default()
    };
    for (any, is_served) in [
        (pack_any(RbacPerRoute::default()), false),
        (pack_any(ExtAuthzPerRoute::default()), false),
        (pack_any(PerRouteConfig::default()), false),
        (pack_any(wrapped), false),
        (broken, false),
        // The control: with this one those of the listener hold.
        (pack_any(off), true),
        (pack_any(PbDuration::default()), true),
    ] {
        for level in 0..4 {
            let mut all = configuration(vec![forward(to_one())]);
            let host = &mut all.virtual_hosts[0];
            let configs = match level {
                0 => &mut all.typed_per_filter_config,
                1 => &mut host.typed_per_filter_config,
                2 => &mut host.routes[0].typed_per_filter_config,
                _ => {
                    let entry = ClusterWeight {
                        typed_per_filter_config: [(name(), any.clone())].into(),
                        ..weight("one", 1)
                    };
                    host.routes[0] = split(vec![entry]);
                    &mut host.routes[0].typed_per_filter_config
                }
            };
            if level < 3 {
                configs.insert(name(), any.clone());
            }
            let rig = taken(&all);
            let action = &rig.target("a").expect("a target").host.routes()[0].action;
            let is_forward = matches!(action, Action::Forward(_));
            assert_eq!(is_forward, is_served, "{level} {} {action:?}", any.type_url);
        }
    }
}

fn policy(cluster: &str) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: cluster.to_owned(),
        ..RequestMirrorPolicy::default()
    }
}

fn percent(numerator: u32) -> Option<RuntimeFractionalPercent> {
    Some(RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator,
            ..FractionalPercent::default()
        }),
        ..RuntimeFractionalPercent::default()
    })
}

fn mirrored(policies: Vec<RequestMirrorPolicy>) -> RouteConfiguration {
    configuration(vec![forward(RouteAction {
        request_mirror_policies: policies,
        ..to_one()
    })])
}

#[test]
fn mirrors_are_taken() {
    let rig = taken(&mirrored(vec![
        policy("two"),
        RequestMirrorPolicy {
            runtime_fraction: percent(5),
            disable_shadow_host_suffix_append: true,
            ..policy("one")
        },
        RequestMirrorPolicy {
            host_rewrite_literal: "other".to_owned(),
            ..policy("two")
        },
        // Nothing goes there, so nobody asks for it.
        RequestMirrorPolicy {
            runtime_fraction: percent(0),
            ..policy("three")
        },
    ]));
    let host = &rig.target("a").expect("a target").host;
    let mirrors = forwards(&rig).mirrors;
    let seen: Vec<_> = mirrors
        .iter()
        .map(|mirror| {
            let name = host.cluster(mirror.cluster).expect("a name");
            (&**name, mirror.fraction, mirror.host.clone())
        })
        .collect();
    let five = Fraction::new(5, Denominator::Hundred);
    let other = MirrorHost::Literal("other".parse().expect("a host"));
    assert_eq!(
        seen,
        [
            ("two", Fraction::ALL, MirrorHost::Marked),
            ("one", five, MirrorHost::Same),
            ("two", Fraction::ALL, other),
        ]
    );
    let needed: Vec<_> = host.needed_clusters().map(|name| &**name).collect();
    assert_eq!((host.clusters().len(), needed), (2, vec!["one"]));
}

#[test]
fn mirrors_that_make_no_sense_are_refused_with_their_place() {
    let text = refused(&mirrored(vec![
        policy("two"),
        policy(""),
        RequestMirrorPolicy {
            cluster_header: "x".to_owned(),
            runtime_fraction: Some(RuntimeFractionalPercent::default()),
            ..policy("two")
        },
    ]));
    let place = "virtual_hosts[0].routes[0].route.request_mirror_policies";
    for expected in [
        "[1].cluster: is empty",
        "[2].cluster_header: is set together with cluster",
        "[2].runtime_fraction.default_value: is missing",
    ] {
        let expected = format!("{place}{expected}");
        assert!(text.contains(&expected), "{expected:?} is not in\n{text}");
    }
    let mut of_all = mirrored(Vec::new());
    of_all.request_mirror_policies = vec![policy("")];
    let text = refused(&of_all);
    assert_eq!(text, "request_mirror_policies[0].cluster: is empty");
}

/// What holds up a call must not be somebody who only listens.
#[test]
fn a_cluster_of_mirrors_is_asked_for_and_holds_nothing_up() {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", wire::clusters(&["one"]));
    rig.deliver(RDS, "1", resources(&mirrored(vec![policy("two")])));
    rig.deliver(EDS, "1", vec![wire::endpoints("one", 1)]);
    assert_eq!(rig.ports("a"), [Some(1), None], "it is not listed");

    let sent = rig.deliver(CDS, "2", wire::clusters(&["one", "two"]));
    let names = sent.iter().filter(|r| r.type_url == EDS.type_url());
    let names: BTreeSet<_> = names.flat_map(|r| r.resource_names.clone()).collect();
    assert!(names.contains("two"), "{names:?}");
    assert_eq!(rig.ports("a"), [Some(1), None], "it has no endpoints yet");

    let endpoints = vec![wire::endpoints("one", 1), wire::endpoints("two", 2)];
    rig.deliver(EDS, "2", endpoints);
    assert_eq!(rig.ports("a"), [Some(1), Some(2)]);

    // The control: a cluster that requests go to is waited for.
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", wire::clusters(&["one"]));
    let both = split(vec![weight("one", 1), weight("two", 1)]);
    rig.deliver(RDS, "1", resources(&configuration(vec![both])));
    rig.deliver(EDS, "1", vec![wire::endpoints("one", 1)]);
    assert!(rig.target("a").expect("a target").waiting_for.is_some());
}
