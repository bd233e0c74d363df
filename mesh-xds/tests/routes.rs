//! Route configurations -> rules: what each field becomes.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::config::route::v3::{
    CookieMatcher, QueryParameterMatcher, RedirectAction, Route, RouteAction, RouteConfiguration,
    RouteMatch, WeightedCluster,
    redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier},
    route,
    route_action::{
        ClusterSpecifier, HashPolicy, HostRewriteSpecifier, MaxStreamDuration,
        hash_policy::{self, PolicySpecifier},
    },
    route_match::PathSpecifier,
    weighted_cluster::{
        ClusterWeight, RandomValueSpecifier, cluster_weight::HostRewriteSpecifier as EntryHost,
    },
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::{
    BoolValue, Duration as PbDuration, Struct, Value, value::Kind,
};
use mesh_core::RequestView;
use mesh_core::route::{Action, GrpcTimeout, Limits, MaxStream, Redirect, Requested, Timeouts};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rig::Rig;
use rules::*;

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rules.rs"]
mod rules;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

/// The first route of host `a` that matches.
fn found(
    rig: &Rig,
    uri: &str,
    lines: &[(&str, &str)],
) -> Option<std::sync::Arc<mesh_core::route::Route>> {
    let parts = parts(uri, lines);
    let view = RequestView::of(&parts.method, &parts.uri, &parts.headers);
    let mut rng = StdRng::seed_from_u64(1);
    rig.target("a")
        .expect("a target")
        .host
        .find(&view, &mut rng)
        .cloned()
}

/// A match, an action, the path that is asked for, and what is sent.
fn rewrite_rows() -> Vec<(RouteMatch, RouteAction, &'static str, &'static str)> {
    let rewrite = |action: RouteAction, from, to| (prefix("/"), action, from, to);
    let regex_rewrite = RouteAction {
        regex_rewrite: Some(substitution("^/p/(.*)$", r"/\1/p")),
        ..to_one()
    };
    let path_rewrite = RouteAction {
        path_rewrite: "/%REQ(:method)%".to_owned(),
        ..to_one()
    };
    let mut rows = prefix_rows();
    rows.push(rewrite(regex_rewrite, "/p/x?q", "/x/p?q"));
    rows.push(rewrite(path_rewrite, "/p?q", "/GET?q"));
    rows
}

fn prefix_rows() -> Vec<(RouteMatch, RouteAction, &'static str, &'static str)> {
    let prefixed = |with: &str| RouteAction {
        prefix_rewrite: with.to_owned(),
        ..to_one()
    };
    let by = |specifier, case_sensitive| RouteMatch {
        path_specifier: Some(specifier),
        case_sensitive: Some(BoolValue {
            value: case_sensitive,
        }),
        ..RouteMatch::default()
    };
    let text = |text: &str| text.to_owned();
    vec![
        (
            by(PathSpecifier::Prefix(text("/p/")), true),
            prefixed("/n/"),
            "/p/x?q",
            "/n/x?q",
        ),
        (
            by(PathSpecifier::Prefix(text("/P/")), false),
            prefixed("/n/"),
            "/p/x",
            "/n/x",
        ),
        (
            by(PathSpecifier::Path(text("/p")), true),
            prefixed("/n"),
            "/p?q",
            "/n?q",
        ),
        (
            by(PathSpecifier::PathSeparatedPrefix(text("/p")), true),
            prefixed("/n"),
            "/p/x",
            "/n/x",
        ),
        (
            by(PathSpecifier::PathSeparatedPrefix(text("/P")), false),
            prefixed("/n"),
            "/p/x",
            "/n/x",
        ),
        (
            by(PathSpecifier::SafeRegex(regex("/p/.*")), true),
            prefixed("/n"),
            "/p/x",
            "/n",
        ),
    ]
}

#[test]
fn rewrites_know_what_their_route_matched() {
    for (wanted, action, from, to) in rewrite_rows() {
        let shown = format!("{wanted:?}");
        let route = Route {
            r#match: Some(wanted),
            ..forward(action)
        };
        let uri = format!("http://a{from}");
        let parts = sent(&configuration(vec![route]), &uri, &[]);
        assert_eq!(parts.uri, *format!("http://a{to}"), "{shown}");
    }
}

#[test]
fn hosts_are_rewritten_by_route_and_by_cluster() {
    let action = |specifier| RouteAction {
        host_rewrite_specifier: Some(specifier),
        append_x_forwarded_host: true,
        ..to_one()
    };
    let text = |text: &str| text.to_owned();
    for (specifier, expected) in [
        (
            HostRewriteSpecifier::HostRewriteLiteral(text("new:81")),
            "new:81",
        ),
        (HostRewriteSpecifier::HostRewriteLiteral(text("")), "a"),
        (
            HostRewriteSpecifier::HostRewriteHeader(text("x-h")),
            "of-header",
        ),
        (HostRewriteSpecifier::HostRewriteHeader(text("x-no")), "a"),
        (
            HostRewriteSpecifier::HostRewritePathRegex(substitution("^/(.*)$", r"\1.b")),
            "p.b",
        ),
        (
            HostRewriteSpecifier::HostRewrite(text("%REQ(x-h)%.c")),
            "of-header.c",
        ),
        (
            HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: true }),
            "a",
        ),
    ] {
        let shown = format!("{specifier:?}");
        let configuration = configuration(vec![forward(action(specifier))]);
        let parts = sent(&configuration, "http://a/p", &[("x-h", "of-header")]);
        assert_eq!(parts.uri.authority().expect("a host"), expected, "{shown}");
        let forwarded = if expected == "a" { vec![] } else { vec!["a"] };
        assert_eq!(
            values(&parts.headers, "x-forwarded-host"),
            forwarded,
            "{shown}"
        );
    }

    // The route's own is written over the entry's.
    let entry = ClusterWeight {
        host_rewrite_specifier: Some(EntryHost::HostRewriteLiteral("entry".to_owned())),
        ..weight("one", 1)
    };
    for (of_route, expected) in [(None, "entry"), (Some("route"), "route")] {
        let mut route = split(vec![entry.clone()]);
        if let Some(route::Action::Route(action)) = &mut route.action {
            let literal = |text: &str| HostRewriteSpecifier::HostRewriteLiteral(text.to_owned());
            action.host_rewrite_specifier = of_route.map(literal);
        }
        let parts = sent(&configuration(vec![route]), "http://a/", &[]);
        assert_eq!(parts.uri.authority().expect("a host"), expected);
    }
}

fn redirects(action: RedirectAction) -> Box<Redirect> {
    let rig = taken(&configuration(vec![rule(route::Action::Redirect(action))]));
    match &rig.target("a").expect("a target").host.routes()[0].action {
        Action::Redirect(redirect) => redirect.clone(),
        other => panic!("{other:?}"),
    }
}

fn location(action: RedirectAction) -> (u16, String) {
    let redirect = redirects(action);
    let parts = parts("http://a:80/p/x?q", &[]);
    let view = RequestView::of(&parts.method, &parts.uri, &parts.headers);
    let location = redirect.location(&view).expect("a header value");
    let text = location.to_str().expect("text").to_owned();
    (redirect.status.as_u16(), text)
}

fn redirect_rows() -> Vec<(RedirectAction, u16, &'static str)> {
    let path = |specifier| RedirectAction {
        path_rewrite_specifier: Some(specifier),
        ..RedirectAction::default()
    };
    let scheme = |specifier| RedirectAction {
        scheme_rewrite_specifier: Some(specifier),
        ..RedirectAction::default()
    };
    let text = |text: &str| text.to_owned();
    vec![
        (RedirectAction::default(), 301, "http://a:80/p/x?q"),
        (
            path(PathRewriteSpecifier::PathRedirect(text("/n"))),
            301,
            "http://a:80/n?q",
        ),
        (
            path(PathRewriteSpecifier::PathRedirect(text("n"))),
            301,
            "http://a:80/n?q",
        ),
        (
            path(PathRewriteSpecifier::PrefixRewrite(text("/n/"))),
            301,
            "http://a:80/n/p/x?q",
        ),
        (
            path(PathRewriteSpecifier::RegexRewrite(substitution("/p", "/n"))),
            301,
            "http://a:80/n/x?q",
        ),
        (
            scheme(SchemeRewriteSpecifier::HttpsRedirect(true)),
            301,
            "https://a/p/x?q",
        ),
        (
            scheme(SchemeRewriteSpecifier::HttpsRedirect(false)),
            301,
            "http://a:80/p/x?q",
        ),
        (
            scheme(SchemeRewriteSpecifier::SchemeRedirect(text("ftp"))),
            301,
            "ftp://a/p/x?q",
        ),
        (
            RedirectAction {
                host_redirect: text("b"),
                port_redirect: 81,
                strip_query: true,
                response_code: 4,
                ..RedirectAction::default()
            },
            308,
            "http://b:81/p/x",
        ),
    ]
}

#[test]
fn redirects_are_decoded_whole() {
    for (action, status, expected) in redirect_rows() {
        let shown = format!("{action:?}");
        assert_eq!(location(action), (status, expected.to_owned()), "{shown}");
    }
    let statuses: Vec<u16> = (0..5)
        .map(|response_code| {
            let action = RedirectAction {
                response_code,
                ..RedirectAction::default()
            };
            redirects(action).status.as_u16()
        })
        .collect();
    assert_eq!(statuses, [301, 302, 303, 307, 308]);
}

#[test]
#[allow(deprecated, reason = "Istio still emits them")]
fn timeouts_are_decoded_with_their_defaults() {
    let s = Duration::from_secs;
    let micros = |nanos| Some(PbDuration { seconds: 0, nanos });
    let decoded = |action| {
        let forward = forwards(&taken(&configuration(vec![forward(action)])));
        assert_eq!(forward.expected, forward.timeouts.expected(), "made once");
        forward.timeouts
    };
    let route = |route| Timeouts {
        route,
        ..Timeouts::default()
    };
    assert_eq!(decoded(to_one()), route(Some(s(15))), "Envoy's default");
    for (timeout, expected) in [
        (seconds(0), None),
        (seconds(3), Some(s(3))),
        (micros(500_000), None),
        (micros(1_500_000), Some(Duration::from_millis(1))),
    ] {
        let action = RouteAction {
            timeout,
            ..to_one()
        };
        assert_eq!(decoded(action), route(expected), "{timeout:?}");
    }
    let all = RouteAction {
        idle_timeout: seconds(4),
        max_grpc_timeout: seconds(0),
        grpc_timeout_offset: seconds(1),
        max_stream_duration: Some(MaxStreamDuration {
            max_stream_duration: seconds(0),
            grpc_timeout_header_max: seconds(0),
            grpc_timeout_header_offset: seconds(2),
        }),
        ..to_one()
    };
    let expected = Timeouts {
        route: Some(s(15)),
        idle: Some(s(4)),
        max_stream: Some(MaxStream {
            max: None,
            grpc_max: Some(s(0)),
            grpc_offset: s(2),
        }),
        grpc: Some(GrpcTimeout {
            max: s(0),
            offset: s(1),
        }),
    };
    assert_eq!(decoded(all), expected);
    assert_eq!(
        expected.of(&Requested::of(&http::HeaderMap::new())),
        Limits {
            idle: Some(s(4)),
            ..Limits::default()
        }
    );
}

/// The cluster that all draws of a request lead to; `None` when they differ.
fn decided(
    specifier: RandomValueSpecifier,
    policies: Vec<PolicySpecifier>,
    uri: &str,
    lines: &[(&str, &str)],
) -> Option<u32> {
    let policy = |policy| HashPolicy {
        policy_specifier: Some(policy),
        ..HashPolicy::default()
    };
    let weighted = WeightedCluster {
        clusters: vec![weight("one", 1), weight("two", 1)],
        random_value_specifier: Some(specifier),
        ..WeightedCluster::default()
    };
    let route = forward(RouteAction {
        hash_policy: policies.into_iter().map(policy).collect(),
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(weighted)),
        ..RouteAction::default()
    });
    let forward = forwards(&taken(&configuration(vec![route])));
    let parts = parts(uri, lines);
    let view = RequestView::of(&parts.method, &parts.uri, &parts.headers);
    let mut rng = StdRng::seed_from_u64(3);
    let mut chosen = (0..32).map(|_| forward.choose(&view, &mut rng).cluster.0);
    let first = chosen.next()?;
    chosen.all(|other| other == first).then_some(first)
}

#[test]
fn splits_by_header_and_by_hash() {
    let by_header = || RandomValueSpecifier::HeaderName("x".to_owned());
    assert_eq!(
        decided(by_header(), vec![], "http://a/", &[("x", "4")]),
        Some(0)
    );
    assert_eq!(
        decided(by_header(), vec![], "http://a/", &[("x", "7")]),
        Some(1)
    );
    assert_eq!(decided(by_header(), vec![], "http://a/", &[]), None);
    let by_hash = |value| RandomValueSpecifier::UseHashPolicy(BoolValue { value });
    let header = || {
        PolicySpecifier::Header(hash_policy::Header {
            header_name: "x".to_owned(),
            regex_rewrite: Some(substitution("b", "a")),
        })
    };
    let cookie = || {
        PolicySpecifier::Cookie(hash_policy::Cookie {
            name: "s".to_owned(),
            ..hash_policy::Cookie::default()
        })
    };
    let query = || {
        PolicySpecifier::QueryParameter(hash_policy::QueryParameter {
            name: "q".to_owned(),
        })
    };
    let state = || {
        PolicySpecifier::FilterState(hash_policy::FilterState {
            key: "k".to_owned(),
        })
    };
    // XXH64 of `a` is odd.
    for policy in [header(), cookie(), query()] {
        let lines = [("x", "b"), ("cookie", "s=a")];
        let policies = vec![state(), policy];
        assert_eq!(
            decided(by_hash(true), policies.clone(), "http://a/?q=a", &lines),
            Some(1)
        );
        assert_eq!(
            decided(by_hash(false), policies.clone(), "http://a/?q=a", &lines),
            None
        );
        assert_eq!(decided(by_hash(true), policies, "http://a/", &[]), None);
    }
}

#[test]
fn queries_and_cookies_are_matched() {
    let exact = |text: &str| StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.to_owned())),
        ..StringMatcher::default()
    };
    let wanted = RouteMatch {
        query_parameters: vec![QueryParameterMatcher {
            name: "q".to_owned(),
            ..QueryParameterMatcher::default()
        }],
        cookies: vec![CookieMatcher {
            name: "s".to_owned(),
            string_match: Some(exact("1")),
            invert_match: true,
        }],
        ..prefix("/")
    };
    let rig = taken(&configuration(vec![matching(wanted)]));
    assert!(found(&rig, "http://a/?q", &[]).is_some());
    assert!(found(&rig, "http://a/", &[]).is_none());
    assert!(found(&rig, "http://a/?q", &[("cookie", "s=1")]).is_none());
}

#[test]
fn routes_know_where_they_come_from() {
    let config = "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews";
    let value = Value {
        kind: Some(Kind::StringValue(config.to_owned())),
    };
    let istio = Struct {
        fields: [("config".to_owned(), value)].into(),
    };
    let named = Route {
        metadata: Some(Metadata {
            filter_metadata: [("istio".to_owned(), istio)].into(),
            ..Metadata::default()
        }),
        ..forward(to_one())
    };
    let unnamed = Route {
        name: String::new(),
        ..forward(to_one())
    };
    let rig = taken(&configuration(vec![named, unnamed]));
    let routes = rig.target("a").expect("a target").host.routes();
    assert_eq!(routes[0].source.as_deref(), Some(config));
    assert_eq!((&*routes[1].name, routes[1].source.as_deref()), ("-", None));
}

#[test]
fn two_hosts_may_have_one_name() {
    let named =
        |domain: &str, cluster: &str| wire::host_message("same", &[domain], &[(cluster, 1)]);
    let both = RouteConfiguration {
        virtual_hosts: vec![named("a", "one"), named("b", "two")],
        ..configuration(Vec::new())
    };
    let rig = taken(&both);
    assert_eq!(
        (rig.ports("a"), rig.ports("b")),
        (vec![Some(1)], vec![Some(2)])
    );
    assert_eq!(
        &**rig.target("b").expect("a target").host.name(),
        "same (2)"
    );
}
