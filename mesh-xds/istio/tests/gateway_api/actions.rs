//! What rules do: backends, filters, timeouts, retries.

use super::*;
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use prost::Message;

fn backends(list: &str) -> String {
    let routes = compiled(&text(&format!("  - backendRefs: {list}\n")));
    target(&routes[0])
}

#[test]
fn weights() {
    assert_eq!(backends("[ { name: ratings, port: 7000 } ]"), RATINGS);
    let both = "[ { name: ratings, port: 7000, weight: 9 }, { name: reviews, port: 9080 } ]";
    assert_eq!(
        backends(both),
        format!("{RATINGS}=9,outbound|9080||{HOST}=1")
    );
    let zero = "[ { name: ratings, port: 7000 }, { name: reviews, port: 9080, weight: 0 } ]";
    assert_eq!(backends(zero), RATINGS);
    assert_eq!(
        backends("[ { name: ratings, port: 7000, weight: 0 } ]"),
        "status 500"
    );
    assert_eq!(backends("[]"), "status 500");
    let named = "[ { group: networking.istio.io, kind: Hostname, name: ratings.default.svc.cluster.local, port: 7000 } ]";
    assert_eq!(backends(named), RATINGS);
}

#[test]
fn backends_that_do_not_exist_are_answered_with_500() {
    let text = text(
        "  - backendRefs: [ { name: gone, port: 1 }, { kind: Lake, group: x, name: lake } ]\n",
    );
    let route = &compiled(&text)[0];
    let gone = "outbound|1||gone.default.svc.cluster.local=1,UnknownService=1";
    assert_eq!(target(route), gone);
    assert_eq!(
        action(route).cluster_not_found_response_code,
        2,
        "INTERNAL_SERVER_ERROR"
    );
    let notes: Vec<_> = load(&text).notes.into_iter().map(|n| n.message).collect();
    assert!(
        notes
            .iter()
            .any(|n| n.contains("there is no service gone.default")),
        "{notes:?}"
    );
    assert!(
        notes.iter().any(|n| n.contains("of kind Lake")),
        "{notes:?}"
    );
}

/// As with istiod, routes of workloads need no `ReferenceGrant`.
#[test]
fn backends_of_other_namespaces() {
    let to = backends("[ { name: ratings, namespace: other, port: 7000 } ]");
    assert_eq!(to, "outbound|7000||ratings.other.svc.cluster.local");
}

#[test]
fn header_modifiers() {
    let route = one(
        "filters: [ { type: RequestHeaderModifier, requestHeaderModifier: { set: [ { name: X-A, value: '1' }, { name: x-a, value: '2' } ], add: [ { name: x-b, value: b } ], remove: [ x-c ] } }, { type: ResponseHeaderModifier, responseHeaderModifier: { remove: [ x-d ] } } ]",
    );
    let added = |at: usize| {
        let option = &route.request_headers_to_add[at];
        let header = option.header.as_ref().unwrap();
        (
            header.key.as_str(),
            header.value.as_str(),
            option.append_action,
        )
    };
    assert_eq!((added(0), added(1)), (("x-a", "1", 2), ("x-b", "b", 0)));
    assert_eq!(route.request_headers_to_add.len(), 2);
    assert_eq!(route.request_headers_to_remove, ["x-c"]);
    assert_eq!(route.response_headers_to_remove, ["x-d"]);
    let own = compiled(&text(
        "  - backendRefs: [ { name: ratings, port: 7000 }, { name: reviews, port: 9080, filters: [ { type: RequestHeaderModifier, requestHeaderModifier: { remove: [ x-e ] } } ] } ]\n",
    ));
    use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
    let Some(ClusterSpecifier::WeightedClusters(all)) = action(&own[0]).cluster_specifier else {
        panic!("{own:?}")
    };
    assert_eq!(all.clusters[1].request_headers_to_remove, ["x-e"]);
    assert!(all.clusters[0].request_headers_to_remove.is_empty());
}

/// A rewrite of paths under `/p`, or under `/`.
fn rewritten(prefix: &str, to: &str) -> RouteAction {
    action(&one(&format!(
        "matches: [ {{ path: {{ value: {prefix} }} }} ]\n    filters: [ {{ type: URLRewrite, urlRewrite: {{ path: {to} }} }} ]"
    )))
}

#[test]
fn rewrites() {
    let prefix = |to: &str| format!("{{ type: ReplacePrefixMatch, replacePrefixMatch: '{to}' }}");
    assert_eq!(rewritten("/p", &prefix("/x/")).prefix_rewrite, "/x");
    assert_eq!(rewritten("/", &prefix("/x")).prefix_rewrite, "/x/");
    let nothing = rewritten("/", &prefix("/"));
    assert!(nothing.prefix_rewrite.is_empty() && nothing.regex_rewrite.is_none());
    let regex = |action: RouteAction| {
        let rewrite = action.regex_rewrite.unwrap();
        (rewrite.pattern.unwrap().regex, rewrite.substitution)
    };
    let gone = regex(rewritten("/p.q", &prefix("/")));
    assert_eq!(gone, (r"^/p\.q(/?)(.*)".to_owned(), r"/\2".to_owned()));
    let full = regex(rewritten(
        "/p",
        r"{ type: ReplaceFullPath, replaceFullPath: '/a\1' }",
    ));
    assert_eq!(full, ("/.*".to_owned(), r"/a\\1".to_owned()));
    let host = action(&one(
        "filters: [ { type: URLRewrite, urlRewrite: { hostname: x.example } } ]",
    ));
    let expected = HostRewriteSpecifier::HostRewriteLiteral("x.example".to_owned());
    assert_eq!(host.host_rewrite_specifier, Some(expected));
}

#[test]
fn redirects() {
    let redirect = |what: &str| {
        let rule = format!(
            "  - matches: [ {{ path: {{ value: /p }} }} ]\n    filters: [ {{ type: RequestRedirect, requestRedirect: {what} }} ]\n"
        );
        match compiled(&text(&rule))[0].action.clone() {
            Some(route::Action::Redirect(redirect)) => redirect,
            other => panic!("{other:?}"),
        }
    };
    let all = redirect("{ scheme: https, hostname: x.example, port: 8443, statusCode: 301 }");
    assert_eq!(
        (
            all.host_redirect.as_str(),
            all.port_redirect,
            all.response_code
        ),
        ("x.example", 8443, 0)
    );
    let https = SchemeRewriteSpecifier::SchemeRedirect("https".to_owned());
    assert_eq!(all.scheme_rewrite_specifier, Some(https));
    // Of the default status, and to the port of the request.
    let plain = redirect("{ hostname: x.example }");
    assert_eq!((plain.port_redirect, plain.response_code), (9080, 1));
    assert!(plain.scheme_rewrite_specifier.is_none());
    assert_eq!(redirect("{ scheme: https }").port_redirect, 0);
    let path = |what: &str| {
        redirect(&format!("{{ path: {what} }}"))
            .path_rewrite_specifier
            .unwrap()
    };
    let full = path("{ type: ReplaceFullPath, replaceFullPath: /f }");
    assert_eq!(full, PathRewriteSpecifier::PathRedirect("/f".to_owned()));
    let prefix = path("{ type: ReplacePrefixMatch, replacePrefixMatch: /x }");
    assert_eq!(prefix, PathRewriteSpecifier::PrefixRewrite("/x".to_owned()));
    let PathRewriteSpecifier::RegexRewrite(gone) =
        path("{ type: ReplacePrefixMatch, replacePrefixMatch: / }")
    else {
        panic!("a prefix that is removed")
    };
    assert_eq!(gone.substitution, r"/\2");
}

#[test]
fn mirrors() {
    let to = "backendRef: { name: ratings, port: 7000 }";
    let copies = one(&format!(
        "filters: [ {{ type: RequestMirror, requestMirror: {{ {to} }} }}, {{ type: RequestMirror, requestMirror: {{ {to}, percent: 42 }} }}, {{ type: RequestMirror, requestMirror: {{ {to}, fraction: {{ numerator: 1, denominator: 8 }} }} }}, {{ type: RequestMirror, requestMirror: {{ {to}, percent: 0 }} }} ]"
    ));
    let copies = action(&copies).request_mirror_policies;
    let share = |at: usize| {
        let share = copies[at]
            .runtime_fraction
            .as_ref()
            .unwrap()
            .default_value
            .as_ref();
        let share = share.unwrap();
        (share.numerator, share.denominator)
    };
    assert_eq!(
        [share(0), share(1), share(2)],
        [(100, 0), (420_000, 2), (125_000, 2)]
    );
    assert_eq!(copies.len(), 3, "none of 0 percent");
    assert_eq!(copies[0].cluster, RATINGS);
}

/// A mirror is named as a backend is; but what is no service gets no copies.
#[test]
fn mirrors_by_other_names() {
    let copies = |to: &str| {
        let text = text(&format!(
            "  - filters: [ {{ type: RequestMirror, requestMirror: {{ backendRef: {{ {to} }} }} }} ]\n    backendRefs: [ {{ name: ratings, port: 7000 }} ]\n"
        ));
        let policies = action(&compiled(&text)[0]).request_mirror_policies;
        let clusters: Vec<_> = policies.into_iter().map(|to| to.cluster).collect();
        let mut notes = load(&text).notes.into_iter();
        (
            clusters,
            notes.any(|note| note.message.contains("is not served")),
        )
    };
    let other = "outbound|7000||ratings.other.svc.cluster.local";
    for (to, expected) in [
        ("name: ratings, port: 7000", RATINGS),
        (
            "group: '', kind: Service, name: ratings, port: 7000",
            RATINGS,
        ),
        ("name: ratings, namespace: other, port: 7000", other),
        (
            "group: multicluster.x-k8s.io, kind: ServiceImport, name: ratings, namespace: other, port: 7000",
            other,
        ),
        (
            "group: networking.istio.io, kind: Hostname, name: ratings.other.svc.cluster.local, port: 7000",
            other,
        ),
    ] {
        assert_eq!(copies(to), (vec![expected.to_owned()], false), "{to}");
    }
    for to in [
        "group: x, kind: Service, name: ratings, port: 7000",
        "kind: Lake, name: ratings, port: 7000",
    ] {
        assert_eq!(copies(to), (Vec::new(), true), "{to}");
    }
}

#[test]
fn cors() {
    let route = one(
        "filters: [ { type: CORS, cors: { allowOrigins: [ 'https://a.example', 'https://*', 'https://*.b.example' ], allowMethods: [ GET, PUT ], allowHeaders: [ x-a ], exposeHeaders: [ x-b ], allowCredentials: true, maxAge: 60 } } ]",
    );
    let any = &route.typed_per_filter_config["envoy.filters.http.cors"];
    let cors = CorsPolicy::decode(any.value.as_slice()).unwrap();
    let (methods, age) = (cors.allow_methods.as_str(), cors.max_age.as_str());
    assert_eq!(
        (
            methods,
            age,
            cors.allow_headers.as_str(),
            cors.expose_headers.as_str()
        ),
        ("GET,PUT", "60", "x-a", "x-b")
    );
    assert!(cors.allow_credentials.unwrap().value);
    assert!(!cors.forward_not_matching_preflights.unwrap().value);
    use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
    let patterns: Vec<_> = cors
        .allow_origin_string_match
        .into_iter()
        .map(|m| m.match_pattern.unwrap())
        .collect();
    assert_eq!(
        patterns[0],
        MatchPattern::Exact("https://a.example".to_owned())
    );
    assert_eq!(patterns[1], MatchPattern::Prefix("https://".to_owned()));
    let MatchPattern::SafeRegex(regex) = &patterns[2] else {
        panic!("{patterns:?}")
    };
    assert_eq!(regex.regex, r"https://.*\.b\.example");
}

#[test]
fn timeouts_and_retries() {
    let millis = |d: Option<envoy_types::pb::google::protobuf::Duration>| {
        d.map(|d| d.seconds * 1000 + i64::from(d.nanos) / 1_000_000)
    };
    let of = |what: &str| {
        let action = action(&one(what));
        let retry = action.retry_policy.unwrap_or_default();
        (
            millis(action.timeout),
            millis(retry.per_try_timeout),
            retry.num_retries.map(|n| n.value),
        )
    };
    assert_eq!(
        of("timeouts: { request: 1m30s }"),
        (Some(90_000), None, Some(2))
    );
    assert_eq!(of("timeouts: { request: 0s }"), (Some(0), None, Some(2)));
    assert_eq!(
        of("timeouts: { request: 2s, backendRequest: 500ms }"),
        (Some(500), None, Some(2))
    );
    let both = "timeouts: { request: 2s, backendRequest: 500ms }\n    retry: { attempts: 4 }";
    assert_eq!(of(both), (Some(2000), Some(500), Some(4)));
    assert_eq!(of("retry: { attempts: 0 }"), (Some(0), None, None));
    let retry = action(&one("retry: { codes: [ 503, 500 ], backoff: 100ms }"))
        .retry_policy
        .unwrap();
    assert_eq!(retry.retriable_status_codes, [503, 500]);
    assert_eq!(
        retry.retry_on,
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    );
    assert_eq!(retry.num_retries.unwrap().value, 2);
    assert_eq!(
        millis(retry.retry_back_off.unwrap().base_interval),
        Some(100)
    );
}
