//! Route configurations that are refused, with every fault and its place; and what is ignored, and told.

use envoy_types::pb::envoy::config::core::v3::{
    DataSource, HeaderValueOption, RuntimeFractionalPercent, data_source::Specifier,
};
use envoy_types::pb::envoy::config::route::v3::{
    CookieMatcher, HeaderMatcher, QueryParameterMatcher, RedirectAction, Route, RouteAction,
    RouteConfiguration, RouteMatch, VirtualHost,
    header_matcher::HeaderMatchSpecifier,
    route,
    route_action::{
        ClusterSpecifier, HashPolicy, HostRewriteSpecifier, MaxStreamDuration,
        hash_policy::{self, PolicySpecifier},
    },
    route_match::PathSpecifier,
    weighted_cluster::{ClusterWeight, cluster_weight::HostRewriteSpecifier as EntryHost},
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};
use mesh_core::route::Action;
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

#[test]
fn what_a_missing_cluster_is_answered_with() {
    let with = |code| {
        configuration(vec![forward(RouteAction {
            cluster_not_found_response_code: code,
            ..to_one()
        })])
    };
    for (code, status) in [(0, 503), (1, 404), (2, 500)] {
        let forward = forwards(&taken(&with(code)));
        assert_eq!(forward.cluster_not_found, status);
    }
    // Envoy's `defined_only`.
    let text = refused(&with(3));
    assert!(
        text.contains("routes[0].route.cluster_not_found_response_code: is 3"),
        "{text}"
    );
}

#[test]
fn direct_responses_have_a_largest_body() {
    let with = |length, largest: Option<u32>| RouteConfiguration {
        max_direct_response_body_size_bytes: largest.map(|value| UInt32Value { value }),
        ..configuration(vec![direct(200, inline(length))])
    };
    for (length, largest) in [(0, None), (4096, None), (4097, Some(4097)), (0, Some(0))] {
        let rig = taken(&with(length, largest));
        match &rig.target("a").expect("a target").host.routes()[0].action {
            Action::DirectResponse(direct) => assert_eq!(direct.body.len(), length),
            other => panic!("{other:?}"),
        }
    }
    for (length, largest, most) in [(4097, None, 4096), (11, Some(10), 10)] {
        let text = refused(&with(length, largest));
        assert!(
            text.contains("routes[0].direct_response.body: has"),
            "{text}"
        );
        assert!(text.contains(&format!("the most is {most}")), "{text}");
    }
    // No file and no variable is read; the rule fails its own calls.
    let file = DataSource {
        specifier: Some(Specifier::Filename("/etc/passwd".to_owned())),
        ..DataSource::default()
    };
    let rig = taken(&configuration(vec![direct(200, Some(file))]));
    let action = &rig.target("a").expect("a target").host.routes()[0].action;
    assert!(matches!(action, Action::Unsupported(_)), "{action:?}");
}

/// What is wrong with a route, and where the text says it is.
#[allow(deprecated, reason = "Istio still emits the older forms")]
#[allow(clippy::too_many_lines, reason = "a table")]
fn broken_routes() -> Vec<(Route, &'static str)> {
    let text = |text: &str| text.to_owned();
    let header = |matcher: Option<HeaderMatchSpecifier>| {
        matching(RouteMatch {
            headers: vec![HeaderMatcher {
                name: text("x"),
                header_match_specifier: matcher,
                ..HeaderMatcher::default()
            }],
            ..prefix("/")
        })
    };
    let string = |pattern, ignore_case| {
        header(Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: pattern,
            ignore_case,
        })))
    };
    let specified = |specifier| {
        matching(RouteMatch {
            path_specifier: Some(specifier),
            ..RouteMatch::default()
        })
    };
    let adds = |option: HeaderValueOption| Route {
        request_headers_to_add: vec![option],
        ..forward(to_one())
    };
    let hashes = |policy| {
        forward(RouteAction {
            hash_policy: vec![HashPolicy {
                policy_specifier: policy,
                ..HashPolicy::default()
            }],
            ..to_one()
        })
    };
    vec![
        (
            Route {
                r#match: None,
                ..forward(to_one())
            },
            "match: is missing",
        ),
        (
            Route {
                action: None,
                ..forward(to_one())
            },
            "action: is missing",
        ),
        (
            matching(RouteMatch::default()),
            "match.path_specifier: is missing",
        ),
        (
            specified(PathSpecifier::SafeRegex(regex(""))),
            "match.safe_regex: is empty",
        ),
        (
            specified(PathSpecifier::SafeRegex(regex("("))),
            "match.safe_regex: regex \"(\"",
        ),
        (
            specified(PathSpecifier::PathSeparatedPrefix(text("/a/"))),
            "match.path_separated_prefix",
        ),
        (
            matching(RouteMatch {
                runtime_fraction: Some(RuntimeFractionalPercent::default()),
                ..prefix("/")
            }),
            "match.runtime_fraction.default_value: is missing",
        ),
        (
            header(Some(HeaderMatchSpecifier::PrefixMatch(String::new()))),
            "match.headers[0].prefix_match: is empty",
        ),
        (
            string(Some(MatchPattern::Contains(String::new())), false),
            "string_match.contains: is empty",
        ),
        (
            string(None, false),
            "string_match.match_pattern: is missing",
        ),
        (
            string(Some(MatchPattern::SafeRegex(regex("a"))), true),
            "string_match.ignore_case",
        ),
        (
            matching(RouteMatch {
                query_parameters: vec![QueryParameterMatcher::default()],
                ..prefix("/")
            }),
            "match.query_parameters[0].name: is empty",
        ),
        (
            matching(RouteMatch {
                cookies: vec![CookieMatcher {
                    name: text("s"),
                    ..CookieMatcher::default()
                }],
                ..prefix("/")
            }),
            "match.cookies[0].string_match: is missing",
        ),
        (
            adds(append("host", "x")),
            "request_headers_to_add[0].header.key: \"host\"",
        ),
        (
            adds(append(":path", "x")),
            "request_headers_to_add[0].header.key: \":path\"",
        ),
        (
            adds(append("", "x")),
            "request_headers_to_add[0].header.key: is empty",
        ),
        (
            adds(append("x", "%BAD%")),
            "request_headers_to_add[0].header.value: \"%BAD%\"",
        ),
        (
            adds(append("x", &"v".repeat(16_385))),
            "longer than 16384 bytes",
        ),
        (
            adds(HeaderValueOption::default()),
            "request_headers_to_add[0].header: is missing",
        ),
        (
            adds(HeaderValueOption {
                append_action: 9,
                ..append("x", "v")
            }),
            "request_headers_to_add[0].append_action: is unknown",
        ),
        (
            Route {
                response_headers_to_remove: vec![text("Host")],
                ..forward(to_one())
            },
            "response_headers_to_remove[0]: \"Host\"",
        ),
        (
            Route {
                request_headers_to_add: vec![append("x", "v"); 1001],
                ..forward(to_one())
            },
            "request_headers_to_add: has more than 1000 entries",
        ),
        (
            forward(RouteAction {
                prefix_rewrite: text("/a"),
                regex_rewrite: Some(substitution("a", "b")),
                ..to_one()
            }),
            "route.prefix_rewrite: only one of",
        ),
        (
            forward(RouteAction {
                regex_rewrite: Some(substitution("(", "")),
                ..to_one()
            }),
            "route.regex_rewrite.pattern: regex",
        ),
        (
            forward(RouteAction {
                prefix_rewrite: text("a\nb"),
                ..to_one()
            }),
            "route.prefix_rewrite: \"a\\nb\" holds a line break",
        ),
        (
            forward(RouteAction {
                timeout: seconds(-1),
                ..to_one()
            }),
            "route.timeout: is negative",
        ),
        (
            forward(RouteAction {
                timeout: seconds(315_576_000_001),
                ..to_one()
            }),
            "route.timeout: is negative, malformed or over 315576000000 s",
        ),
        (
            forward(RouteAction {
                max_stream_duration: Some(MaxStreamDuration {
                    max_stream_duration: seconds(-1),
                    ..MaxStreamDuration::default()
                }),
                ..to_one()
            }),
            "route.max_stream_duration.max_stream_duration: is negative",
        ),
        (
            forward(RouteAction::default()),
            "route.cluster_specifier: is missing",
        ),
        (
            forward(RouteAction {
                cluster_specifier: Some(ClusterSpecifier::Cluster(String::new())),
                ..RouteAction::default()
            }),
            "route.cluster: is empty",
        ),
        (split(vec![]), "route.weighted_clusters: the weights"),
        (
            split(vec![weight("one", 0)]),
            "route.weighted_clusters: the weights",
        ),
        (
            split(vec![ClusterWeight {
                weight: None,
                ..weight("one", 1)
            }]),
            "route.weighted_clusters.clusters[0].weight: is missing",
        ),
        (
            split(vec![ClusterWeight {
                cluster_header: text("x"),
                ..weight("one", 1)
            }]),
            "route.weighted_clusters.clusters[0].cluster_header",
        ),
        (
            hashes(None),
            "route.hash_policy[0].policy_specifier: is missing",
        ),
        (
            hashes(Some(
                PolicySpecifier::Header(hash_policy::Header::default()),
            )),
            "route.hash_policy[0].header.header_name: is empty",
        ),
        (direct(199, None), "direct_response.status: 199"),
        (direct(600, None), "direct_response.status: 600"),
        (
            direct(200, Some(DataSource::default())),
            "direct_response.body: is empty",
        ),
        (
            rule(route::Action::Redirect(RedirectAction {
                response_code: 9,
                ..RedirectAction::default()
            })),
            "redirect.response_code: 9 is unknown",
        ),
        (
            rule(route::Action::Redirect(RedirectAction {
                host_redirect: text("a\nb"),
                ..RedirectAction::default()
            })),
            "redirect.host_redirect: \"a\\nb\"",
        ),
    ]
}

/// Each of these is refused by Envoy 1.40 too.
#[test]
fn what_envoy_refuses_is_refused_with_its_place() {
    for (route, expected) in broken_routes() {
        let text = refused(&configuration(vec![forward(to_one()), route]));
        let at = format!("virtual_hosts[0].routes[1].{expected}");
        let found = text.starts_with("virtual_hosts[0].routes[1].") && text.contains(expected);
        assert!(found, "{at:?} is not in {text:?}");
        assert!(!text.contains("; virtual_hosts"), "one fault: {text}");
    }
}

#[test]
fn all_faults_of_a_configuration_are_told_at_once() {
    let broken = broken_routes();
    let (routes, expected): (Vec<_>, Vec<_>) = broken.into_iter().take(12).unzip();
    let twice = VirtualHost {
        name: String::new(),
        ..host(vec![])
    };
    let mut all = configuration(routes);
    all.virtual_hosts.push(twice);
    let text = refused(&all);
    for (at, expected) in expected.iter().enumerate() {
        let place = format!("virtual_hosts[0].routes[{at}].");
        assert!(
            text.contains(&place) && text.contains(expected),
            "{expected:?} in {text}"
        );
    }
    for expected in [
        "virtual_hosts[1].name: is empty",
        "virtual_hosts[1].domains[0]: \"a\"",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    // A long list is cut.
    let many = vec![direct(0, None); 1000];
    let text = refused(&configuration(many));
    assert!(text.ends_with("; and 984 more"), "{text}");
    assert_eq!(text.matches("is not in 200..600").count(), 16, "{text}");
}

#[test]
fn what_is_not_served_is_told_and_refuses_nothing() {
    let text = |text: &str| text.to_owned();
    let by_header = forward(RouteAction {
        cluster_specifier: Some(ClusterSpecifier::ClusterHeader(text("x"))),
        ..RouteAction::default()
    });
    let of_grpc = matching(RouteMatch {
        grpc: Some(Default::default()),
        ..prefix("/")
    });
    let odd = Route {
        request_headers_to_add: vec![
            append("x-host", "%HOSTNAME%"),
            append("content-length", "1"),
            append("x-good", "1"),
        ],
        ..forward(RouteAction {
            upgrade_configs: vec![Default::default()],
            host_rewrite_specifier: Some(HostRewriteSpecifier::HostRewriteLiteral(text("a b"))),
            ..to_one()
        })
    };
    let mut rig = taken(&configuration(vec![by_header, of_grpc, odd.clone(), odd]));
    let host = &rig.target("a").expect("a target").host;
    assert_eq!(
        host.routes().len(),
        2,
        "two are skipped, none matches too much"
    );
    let ignored = |rig: &Rig| rig.machine.status().ignored.join("\n");
    let told = ignored(&rig);
    for expected in [
        "route configuration \"9080\": ",
        "skipped, for its cluster_header: route \"r\"",
        "skipped, for its grpc: route \"r\"",
        "%HOSTNAME% is not served",
        "the change of header \"content-length\" is left out: 2 times, first at route \"r\"",
        "upgrade_configs has no effect yet: 2 times",
        "\"a b\" is no host",
    ] {
        assert!(told.contains(expected), "{expected:?} is not in\n{told}");
    }
    rig.deliver(RDS, "2", resources(&configuration(vec![forward(to_one())])));
    assert_eq!(ignored(&rig), "", "it is mended");
}

#[test]
fn host_rewrites_without_effect_are_told() {
    let rewritten = |specifier| {
        forward(RouteAction {
            host_rewrite_specifier: Some(specifier),
            ..to_one()
        })
    };
    let entry = ClusterWeight {
        host_rewrite_specifier: Some(EntryHost::HostRewriteLiteral("entry@h".to_owned())),
        ..weight("one", 1)
    };
    let routes = vec![
        rewritten(HostRewriteSpecifier::HostRewriteLiteral(
            "route@h".to_owned(),
        )),
        rewritten(HostRewriteSpecifier::AutoHostRewrite(BoolValue {
            value: true,
        })),
        rewritten(HostRewriteSpecifier::AutoHostRewrite(BoolValue {
            value: false,
        })),
        split(vec![entry]),
    ];
    let rig = taken(&configuration(routes));
    let told = rig.machine.status().ignored.join("\n");
    for expected in [
        "\"route@h\" is no host",
        "\"entry@h\" is no host",
        "auto_host_rewrite has no effect yet: route \"r\"",
    ] {
        assert!(told.contains(expected), "{expected:?} is not in\n{told}");
    }
}
