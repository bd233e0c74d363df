use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::value_matcher;
use mesh_xds::Node;

use super::*;

fn pattern(of: &HeaderMatchSpecifier) -> String {
    match of {
        HeaderMatchSpecifier::PresentMatch(true) => "present".to_owned(),
        HeaderMatchSpecifier::StringMatch(m) => format!("{:?}", m.match_pattern.as_ref().unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_request_line_is_headers_after_the_others() {
    let route = one(
        "match: [ { scheme: { exact: http }, authority: { prefix: rev }, method: { exact: GET }, headers: { zz: {} }, withoutHeaders: { aa: { regex: '*' }, bb: { exact: x } } } ]",
    );
    let headers: Vec<_> = route
        .r#match
        .unwrap()
        .headers
        .iter()
        .map(|h| {
            let flags = (h.invert_match, h.treat_missing_header_as_empty);
            let specifier = h.header_match_specifier.as_ref().unwrap();
            (h.name.clone(), flags, pattern(specifier))
        })
        .collect();
    let expected = [
        ("aa", (true, false), "present"),
        ("bb", (true, true), "Exact(\"x\")"),
        ("zz", (false, false), "present"),
        (":method", (false, false), "Exact(\"GET\")"),
        (":authority", (false, false), "Prefix(\"rev\")"),
        (":scheme", (false, false), "Exact(\"http\")"),
    ];
    assert_eq!(
        headers,
        expected.map(|(name, flags, what)| (name.to_owned(), flags, what.to_owned()))
    );
}

#[test]
fn query_parameters() {
    let route = one(
        "match: [ { queryParams: { b: { exact: '1' }, a: {}, c: { prefix: p }, d: { regex: 'x+' } } } ]",
    );
    let query: Vec<_> = route
        .r#match
        .unwrap()
        .query_parameters
        .into_iter()
        .map(|q| (q.name, q.query_parameter_match_specifier.unwrap()))
        .collect();
    let names: Vec<_> = query.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(query[0].1, QueryParameterMatchSpecifier::PresentMatch(true));
    let patterns: Vec<_> = query[1..]
        .iter()
        .map(|(_, specifier)| match specifier {
            QueryParameterMatchSpecifier::StringMatch(m) => m.match_pattern.clone().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(patterns[0], MatchPattern::Exact("1".to_owned()));
    assert_eq!(patterns[1], MatchPattern::Prefix("p".to_owned()));
    assert!(matches!(&patterns[2], MatchPattern::SafeRegex(r) if r.regex == "x+"));
}

#[test]
fn names_and_stat_prefix() {
    let route = one("name: r\n    match: [ { name: m, statPrefix: s } ]");
    assert_eq!(
        (route.name.as_str(), route.stat_prefix.as_str()),
        ("r.m", "s")
    );
}

#[test]
fn a_path_may_start_with_nothing() {
    let route = one("match: [ { uri: { prefix: '' } } ]");
    let path = route.r#match.unwrap().path_specifier.unwrap();
    assert_eq!(path, PathSpecifier::Prefix(String::new()));
}

#[test]
fn what_takes_everything_ends_the_list() {
    let to = "route: [ { destination: { host: reviews } } ]";
    for (first, count) in [
        (
            "match: [ { uri: { prefix: / } }, { uri: { exact: /a } } ]",
            1,
        ),
        ("match: [ { uri: { regex: '.*' } } ]", 1),
        (
            "match: [ { uri: { prefix: / }, queryParams: { a: {} } } ]",
            2,
        ),
        ("match: [ { uri: { prefix: / }, headers: { a: {} } } ]", 2),
    ] {
        let routes = all(&format!("  - {first}\n    {to}\n  - {to}\n"));
        assert_eq!(routes.len(), count, "{first}");
    }
}

#[test]
fn spans_are_named_after_the_one_host_else_the_rule() {
    let named = |rest: &str| one(rest).decorator.unwrap().operation;
    assert_eq!(named("name: r"), format!("{HOST}:9080/*"));
    for (uri, path) in [
        ("prefix: /a", "/a*"),
        ("exact: /a", "/a"),
        ("regex: '/a+'", "/a+"),
    ] {
        let rest = format!("match: [ {{ uri: {{ {uri} }} }} ]");
        assert_eq!(named(&rest), format!("{HOST}:9080{path}"));
    }
    let others = all(
        "  - match: [ { uri: { exact: /a } } ]\n    redirect: { uri: /b }\n  - directResponse: { status: 404 }\n",
    );
    let names: Vec<_> = others
        .into_iter()
        .map(|route| route.decorator.unwrap().operation)
        .collect();
    assert_eq!(names, ["reviews:9080/a", "reviews:9080/*"]);
}

const GATEWAY: &str = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: ingress, namespace: default }
spec:
  selector: { istio: ingressgateway }
  servers: [ { port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] } ]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: at-the-door, namespace: default }
spec:
  hosts: ['*']
  gateways: [ingress]
  http:
  - match:
    - headers: { '@request.auth.claims.group.id': { exact: x } }
      gateways: [ingress.default.svc.cluster.local]
    - withoutHeaders: { '@request.auth.claims[a.b]': { prefix: yy } }
      gateways: [default/ingress]
    - gateways: [other]
    route: [ { destination: { host: reviews, port: { number: 9080 } } } ]
";

#[test]
fn claims_of_tokens_at_gateways() {
    let node = Node::router("x", "default", [("istio", "ingressgateway")]);
    let resources = load(&format!("{REVIEWS}{GATEWAY}")).config.resources(&node);
    let routes = host_routes(&routes(&resources, "http.8080"), "*:8080");
    let found: Vec<_> = routes
        .into_iter()
        .map(|route| {
            let matched = route.r#match.unwrap();
            assert!(matched.headers.is_empty());
            let [claim] = &matched.dynamic_metadata[..] else {
                panic!("{matched:?}")
            };
            assert_eq!(claim.filter, "envoy.filters.http.jwt_authn");
            let value = claim.value.clone().unwrap().match_pattern.unwrap();
            assert!(matches!(value, value_matcher::MatchPattern::OrMatch(all) if all.value_matchers.len() == 2));
            (format!("{:?}", claim.path), claim.invert)
        })
        .collect();
    assert_eq!(found.len(), 2);
    assert!(
        found[0].0.contains("payload")
            && found[0].0.contains("group")
            && found[0].0.contains("\"id\"")
    );
    assert!(found[1].0.contains("a.b"));
    assert_eq!([found[0].1, found[1].1], [false, true]);
}
