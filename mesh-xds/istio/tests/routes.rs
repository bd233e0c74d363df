//! VirtualService and Gateway as route configurations.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test may fail, and may be a long table"
)]

mod common;

use common::*;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, route};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_xds::Node;

fn with(rule: &str) -> String {
    format!("{REVIEWS}---\n{rule}")
}

fn virtual_service(spec: &str) -> String {
    let head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: reviews, namespace: default }\n";
    with(&format!("{head}spec:\n  hosts: [reviews]\n{spec}"))
}

fn reviews_routes(text: &str) -> Vec<Route> {
    host_routes(&routes(&compile(text), "9080"), &format!("{HOST}:9080"))
}

#[test]
fn a_service_without_rules() {
    let resources = compile(REVIEWS);
    let configuration = routes(&resources, "9080");
    assert!(configuration.ignore_port_in_host_matching);
    assert_eq!(
        configuration.validate_clusters.map(|v| v.value),
        Some(false)
    );
    let host = &configuration.virtual_hosts[0];
    assert_eq!(host.name, format!("{HOST}:9080"));
    assert!(host.include_request_attempt_count);
    assert_eq!(
        host.domains,
        [
            HOST,
            &format!("{HOST}."),
            "reviews",
            "reviews.default",
            "reviews.default.svc"
        ]
        .map(str::to_owned)
    );
    let [only] = &host.routes[..] else {
        panic!("{:?}", host.routes)
    };
    assert_eq!(only.name, "default");
    assert_eq!(target(only), format!("outbound|9080||{HOST}"));
    let Some(route::Action::Route(action)) = &only.action else {
        panic!()
    };
    assert_eq!(action.timeout.map(|d| (d.seconds, d.nanos)), Some((0, 0)));
    let retry = action.retry_policy.as_ref().expect("retries");
    assert_eq!(
        retry.retry_on,
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    );
    assert_eq!(retry.num_retries.map(|v| v.value), Some(2));
    assert_eq!(
        retry.retry_host_predicate[0].name,
        "envoy.retry_host_predicates.previous_hosts"
    );
    assert_eq!(retry.host_selection_retry_max_attempts, 5);

    let last = configuration.virtual_hosts.last().expect("a host");
    assert_eq!(
        (last.name.as_str(), last.domains.as_slice()),
        ("allow_any", ["*".to_owned()].as_slice())
    );
    assert_eq!(target(&last.routes[0]), "PassthroughCluster");

    let alone = routes(&resources, &format!("{HOST}:9080"));
    assert_eq!(alone.virtual_hosts.len(), 1);
    assert_eq!(alone.virtual_hosts[0].domains, ["*"]);
    assert_eq!(alone.virtual_hosts[0].routes, host.routes);
}

#[test]
fn names_seen_from_another_namespace() {
    let resources = load(REVIEWS).config.resources(&Node::sidecar("x", "other"));
    let domains = &routes(&resources, "9080").virtual_hosts[0].domains;
    assert_eq!(
        *domains,
        [
            HOST,
            &format!("{HOST}."),
            "reviews.default",
            "reviews.default.svc"
        ]
        .map(str::to_owned)
    );
}

#[test]
fn matches_in_order_each_its_own_route() {
    let text = virtual_service(
        "  http:
  - name: users
    match:
    - name: jason
      headers: { end-user: { exact: jason } }
    - headers: { x-b: { prefix: t }, x-a: { regex: 'a|b' }, x-c: {} }
      withoutHeaders: { cookie: { exact: nope }, x-d: {} }
      method: { exact: GET }
    - uri: { exact: /health }
      ignoreUriCase: true
    route: [ { destination: { host: reviews, subset: v2 } } ]
  - match: [ { uri: { prefix: /api } }, { uri: { regex: '/v[0-9]+/.*' } } ]
    route: [ { destination: { host: reviews.default.svc.cluster.local, subset: v1, port: { number: 9080 } } } ]
  - route:
    - { destination: { host: reviews, subset: v1 }, weight: 3 }
    - { destination: { host: reviews, subset: v2 }, weight: 0 }
    - { destination: { host: reviews, subset: v3 }, weight: 4 }
  - route: [ { destination: { host: never } } ]
",
    );
    let routes = reviews_routes(&text);
    let v2 = format!("outbound|9080|v2|{HOST}");
    let v1 = format!("outbound|9080|v1|{HOST}");
    let targets: Vec<String> = routes.iter().map(target).collect();
    let split = format!("outbound|9080|v1|{HOST}=3,outbound|9080|v3|{HOST}=4");
    assert_eq!(
        targets,
        [&v2, &v2, &v2, &v1, &v1, &split].map(String::clone)
    );
    let names: Vec<&str> = routes.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["users.jason", "users", "users", "", "", ""]);
    assert_eq!(
        istio(routes[0].metadata.as_ref(), "config"),
        "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"
    );

    let matched: Vec<_> = routes
        .iter()
        .map(|r| r.r#match.clone().expect("a match"))
        .collect();
    let headers: Vec<(String, bool, bool, String)> = matched[1]
        .headers
        .iter()
        .map(|h| {
            let what = match h.header_match_specifier.as_ref() {
                Some(HeaderMatchSpecifier::PresentMatch(true)) => "present".to_owned(),
                Some(HeaderMatchSpecifier::StringMatch(m)) => match m.match_pattern.as_ref() {
                    Some(MatchPattern::Exact(s)) => format!("exact {s}"),
                    Some(MatchPattern::Prefix(s)) => format!("prefix {s}"),
                    Some(MatchPattern::SafeRegex(r)) => format!("regex {}", r.regex),
                    other => format!("{other:?}"),
                },
                other => format!("{other:?}"),
            };
            (
                h.name.clone(),
                h.invert_match,
                h.treat_missing_header_as_empty,
                what,
            )
        })
        .collect();
    let expected = [
        ("cookie", true, true, "exact nope"),
        ("x-a", false, false, "regex a|b"),
        ("x-b", false, false, "prefix t"),
        ("x-c", false, false, "present"),
        ("x-d", true, false, "present"),
        (":method", false, false, "exact GET"),
    ];
    assert_eq!(
        headers,
        expected.map(|(n, i, t, w)| (n.to_owned(), i, t, w.to_owned()))
    );
    assert_eq!(matched[0].case_sensitive.map(|v| v.value), Some(true));
    assert_eq!(matched[2].case_sensitive.map(|v| v.value), Some(false));
    assert_eq!(
        matched[2].path_specifier,
        Some(PathSpecifier::Path("/health".to_owned()))
    );
    assert_eq!(
        matched[3].path_specifier,
        Some(PathSpecifier::Prefix("/api".to_owned()))
    );
    assert!(
        matches!(&matched[4].path_specifier, Some(PathSpecifier::SafeRegex(r)) if r.regex == "/v[0-9]+/.*")
    );
    assert_eq!(
        matched[5].path_specifier,
        Some(PathSpecifier::Prefix("/".to_owned()))
    );
}

#[test]
fn what_istiod_decides_for_a_node() {
    let text = virtual_service(
        "  http:
  - match: [ { sourceLabels: { app: other } }, { sourceNamespace: other }, { port: 80 }, { gateways: [ingress] } ]
    route: [ { destination: { host: reviews, subset: v3 } } ]
  - match: [ { sourceLabels: { app: productpage }, port: 9080, sourceNamespace: default } ]
    route: [ { destination: { host: reviews, subset: v1 } } ]
",
    );
    let targets: Vec<String> = reviews_routes(&text).iter().map(target).collect();
    assert_eq!(targets, [format!("outbound|9080|v1|{HOST}")]);
    // Where gateways are named, they alone are looked at.
    let named = text.replace("app: productpage }", "app: else }, gateways: [mesh]");
    let targets: Vec<String> = reviews_routes(&named).iter().map(target).collect();
    assert_eq!(targets, [format!("outbound|9080|v1|{HOST}")]);
    // A service whose rule has nothing for this node has the default route.
    let text = text.replace("app: productpage", "app: else");
    let targets: Vec<String> = reviews_routes(&text).iter().map(target).collect();
    assert_eq!(targets, [format!("outbound|9080||{HOST}")]);
}

#[test]
fn missing_destinations_keep_their_route() {
    let text = virtual_service(
        "  http: [ { route: [ { destination: { host: nowhere, subset: v9 } } ] } ]\n",
    );
    let targets: Vec<String> = reviews_routes(&text).iter().map(target).collect();
    assert_eq!(
        targets,
        ["outbound|9080|v9|nowhere.default.svc.cluster.local"]
    );
}

/// As istiod sees it: between workloads the port that was called, at a gateway the service's own if it has one.
#[test]
fn the_port_of_a_destination_without_one() {
    let ratings = REVIEWS
        .replace("reviews", "ratings")
        .replace("number: 9080", "number: 7000");
    let cluster = |port: u32| format!("outbound|{port}||ratings.default.svc.cluster.local");
    let text = virtual_service("  http: [ { route: [ { destination: { host: ratings } } ] } ]\n");
    let routes_of = reviews_routes(&format!("{text}---\n{ratings}"));
    assert_eq!(target(&routes_of[0]), cluster(9080));
    let door = GATEWAY.replace("host: reviews, port: { number: 9080 }", "host: ratings");
    let config = load(&format!("{door}---\n{ratings}")).config;
    let door = routes(&config.resources(&router()), "http.8080");
    assert_eq!(target(&host_routes(&door, "*:8080")[0]), cluster(7000));
}

#[test]
fn other_gateways_and_other_namespaces_do_not_count() {
    let bound = virtual_service(
        "  gateways: [ingress]\n  http: [ { route: [ { destination: { host: x } } ] } ]\n",
    );
    assert_eq!(
        target(&reviews_routes(&bound)[0]),
        format!("outbound|9080||{HOST}")
    );
    let private = virtual_service(
        "  exportTo: ['.']\n  http: [ { route: [ { destination: { host: x } } ] } ]\n",
    );
    let resources = load(&private)
        .config
        .resources(&Node::sidecar("x", "other"));
    assert_eq!(
        target(&host_routes(&routes(&resources, "9080"), &format!("{HOST}:9080"))[0]),
        format!("outbound|9080||{HOST}")
    );
    assert_eq!(
        target(&reviews_routes(&private)[0]),
        "outbound|9080||x.default.svc.cluster.local"
    );
}

#[test]
fn hosts_without_a_service_are_on_port_80() {
    let text = with(
        "apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: { name: virtual }
spec:
  hosts: [books.example.com, '*.books.example.com']
  http: [ { route: [ { destination: { host: reviews, port: { number: 9080 } } } ] } ]
",
    );
    let resources = compile(&text);
    let configuration = routes(&resources, "80");
    let names: Vec<&str> = configuration
        .virtual_hosts
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "*.books.example.com:80",
            "books.example.com:80",
            "allow_any"
        ]
    );
    let route = &host_routes(&configuration, "books.example.com:80")[0];
    assert_eq!(target(route), format!("outbound|9080||{HOST}"));
    assert!(!resources.routes.contains_key("books.example.com:80"));
}

#[test]
fn a_domain_stands_once() {
    let twin = REVIEWS
        .replace(
            "hosts: [reviews.default.svc.cluster.local]",
            "hosts: [reviews.default]",
        )
        .replace("name: reviews", "name: twin");
    let configuration = routes(&compile(&format!("{REVIEWS}---\n{twin}")), "9080");
    let mut all: Vec<&String> = configuration
        .virtual_hosts
        .iter()
        .flat_map(|h| &h.domains)
        .collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn ports_of_other_protocols_have_no_routes() {
    let tcp = REVIEWS.replace("protocol: HTTP", "protocol: TCP");
    let hosts = |resources: &mesh_xds::Resources| -> Vec<String> {
        let hosts = routes(resources, "80").virtual_hosts;
        hosts.into_iter().map(|host| host.name).collect()
    };
    let tcp = compile(&tcp);
    assert_eq!(
        (tcp.routes.len(), hosts(&tcp)),
        (1, vec!["allow_any".to_owned()])
    );
    // One that is not said is detected by each proxy, which asks for either table.
    let unset = REVIEWS.replace(", protocol: HTTP", "");
    let resources = compile(&unset);
    let names: Vec<&String> = resources.routes.keys().collect();
    assert_eq!(names, ["80", "9080", &format!("{HOST}:9080")]);
}

#[test]
fn timeouts_and_retries_are_written() {
    let text = virtual_service(
        "  http:
  - timeout: 1m1.5s
    retries: { attempts: 4, perTryTimeout: 20ms, retryOn: '503,reset' }
    route: [ { destination: { host: reviews } } ]
",
    );
    let routes = reviews_routes(&text);
    let Some(route::Action::Route(action)) = &routes[0].action else {
        panic!()
    };
    assert_eq!(
        action.timeout.map(|d| (d.seconds, d.nanos)),
        Some((61, 500_000_000))
    );
    let retry = action.retry_policy.as_ref().expect("retries");
    assert_eq!(
        (
            retry.retry_on.as_str(),
            retry.retriable_status_codes.as_slice()
        ),
        ("reset,retriable-status-codes", [503].as_slice())
    );
    assert!(load(&text).notes.is_empty());
}

const GATEWAY: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: bookinfo, namespace: default }
spec:
  selector: { istio: ingressgateway }
  servers:
  - { port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: bookinfo, namespace: default }
spec:
  hosts: ['*']
  gateways: [bookinfo]
  http:
  - match: [ { uri: { exact: /productpage } }, { uri: { prefix: /static } } ]
    route: [ { destination: { host: reviews, port: { number: 9080 } } } ]
";

fn router() -> Node {
    Node::router(
        "ingress",
        "default",
        [("istio", "ingressgateway"), ("app", "ingress")],
    )
}

#[test]
fn a_gateway_and_its_routes() {
    let config = load(&with(GATEWAY)).config;
    let resources = config.resources(&router());
    assert_eq!(resources.routes.keys().collect::<Vec<_>>(), ["http.8080"]);
    let configuration = routes(&resources, "http.8080");
    assert_eq!(configuration.virtual_hosts[0].domains, ["*"]);
    let routes = host_routes(&configuration, "*:8080");
    assert_eq!(
        routes.iter().map(target).collect::<Vec<_>>(),
        vec![format!("outbound|9080||{HOST}"); 2]
    );
    assert!(
        resources
            .clusters
            .contains_key(&format!("outbound|9080||{HOST}"))
    );
    // Another router has nothing, and no sidecar sees these routes.
    assert!(
        config
            .resources(&Node::router("x", "default", [("istio", "egress")]))
            .routes
            .is_empty()
    );
    assert!(!config.resources(&client()).routes.contains_key("http.8080"));
}

/// Not as in a workload's table.
#[test]
fn a_gateway_finds_the_only_port_of_a_service() {
    let portless = GATEWAY.replace(", port: { number: 9080 }", "");
    let resources = load(&with(&portless)).config.resources(&router());
    let found = routes(&resources, "http.8080");
    assert_eq!(
        target(&host_routes(&found, "*:8080")[0]),
        format!("outbound|9080||{HOST}")
    );
}

#[test]
fn a_gateway_without_routes_answers_404() {
    let (gateway, _) = GATEWAY.split_once("---\n").expect("two documents");
    let resources = load(gateway).config.resources(&router());
    let [host] = &routes(&resources, "http.8080").virtual_hosts[..] else {
        panic!("one virtual host")
    };
    // Envoy's own answer where no route matches.
    assert_eq!(
        (host.name.as_str(), host.routes.len()),
        ("blackhole:8080", 0)
    );
    assert_eq!(host.domains, ["*"]);
}

#[test]
fn gateways_limit_hosts_and_namespaces() {
    let rule = |name: &str, namespace: &str, hosts: &str| {
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  hosts: {hosts}
  gateways: [default/bookinfo]
  http: [ {{ route: [ {{ destination: {{ host: {name} }} }} ] }} ]
"
        )
    };
    let (gateway, _) = GATEWAY.split_once("---\n").expect("two documents");
    let gateway = gateway.replace("['*']", "['default/*.example.com', './one.org']");
    let text = format!(
        "{gateway}{}{}{}",
        rule("a", "default", "['*.example.com', one.org]"),
        rule("b", "other", "[b.example.com]"),
        rule("c", "default", "[c.example.com, c.org]")
    );
    let configuration = routes(&load(&text).config.resources(&router()), "http.8080");
    let hosts = configuration.virtual_hosts.iter();
    let hosts: Vec<_> = hosts.map(|h| (&*h.name, h.domains.join(" "))).collect();
    assert_eq!(
        hosts,
        [
            ("c.example.com:8080", "c.example.com".to_owned()),
            ("one.org:8080", "one.org *.example.com".to_owned()),
        ]
    );
    assert_eq!(
        host_routes(&configuration, "c.example.com:8080")
            .iter()
            .map(target)
            .collect::<Vec<_>>(),
        ["outbound|8080||c.default.svc.cluster.local"]
    );
}

#[test]
fn rules_for_one_gateway_host_are_merged_with_the_open_one_last() {
    let second = GATEWAY
        .split_once("---\n")
        .expect("two")
        .1
        .replace("name: bookinfo,", "name: a-first,")
        .replace(
            "match: [ { uri: { exact: /productpage } }, { uri: { prefix: /static } } ]",
            "name: open",
        );
    let text = with(&format!("{GATEWAY}---\n{second}"));
    let configuration = routes(&load(&text).config.resources(&router()), "http.8080");
    let names: Vec<String> = host_routes(&configuration, "*:8080")
        .iter()
        .map(|r| r.name.clone())
        .collect();
    assert_eq!(names, ["", "", "open"]);
}

/// Names before wildcards, the longest first: istiod calls the virtual host after the first. One with a route more stays
/// alone.
#[test]
fn gateway_hosts_with_the_same_routes_are_one() {
    let rule = |name: &str, hosts: &str, path: &str| {
        let rule = GATEWAY.split_once("---\n").expect("two documents").1;
        rule.replace("name: bookinfo,", &format!("name: {name},"))
            .replace("['*']", hosts)
            .replace("/productpage", path)
    };
    let (gateway, _) = GATEWAY.split_once("---\n").expect("two documents");
    let text = format!(
        "{gateway}---\n{}---\n{}",
        rule("many", "['*.c.org', a.org, bb.org, d.org]", "/one"),
        rule("more", "[d.org, e.org]", "/two")
    );
    let configuration = routes(&load(&text).config.resources(&router()), "http.8080");
    let hosts = configuration.virtual_hosts.iter();
    let hosts: Vec<_> = hosts
        .map(|h| (&*h.name, h.domains.join(" "), h.routes.len()))
        .collect();
    assert_eq!(
        hosts,
        [
            ("bb.org:8080", "bb.org a.org *.c.org".to_owned(), 2),
            ("d.org:8080", "d.org".to_owned(), 4),
            ("e.org:8080", "e.org".to_owned(), 2),
        ]
    );
}

/// As istiod does: the second copy of a route is never reached.
#[test]
fn a_rule_that_is_bound_twice_gives_its_routes_twice() {
    let second = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: second, namespace: default }
spec: { selector: { istio: ingressgateway }, servers: [ { port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] } ] }
";
    let twice = GATEWAY.replace("[bookinfo]", "[second, bookinfo]");
    for (text, count) in [(GATEWAY, 2), (&twice, 4)] {
        let resources = load(&format!("{text}{second}")).config.resources(&router());
        let routes = host_routes(&routes(&resources, "http.8080"), "*:8080");
        assert_eq!(routes.len(), count);
        assert_eq!(routes[..2], routes[count - 2..]);
    }
}

/// istiod names the table of a server that listens on one address after it.
#[test]
fn a_server_with_an_address_has_a_table_of_its_own() {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: g }\nspec: { selector: { istio: gw }, servers: [ \
                   { port: { number: 80, name: a, protocol: HTTP }, hosts: ['*'] }, { port: { number: 80, name: b, protocol: HTTP }, bind: 10.0.0.1, hosts: ['*'] } ] }\n";
    let node = mesh_xds::Node::router("gw", "default", [("istio", "gw")]);
    let resources = load(gateway).config.resources(&node);
    let tables: Vec<&str> = resources.routes.keys().map(String::as_str).collect();
    assert_eq!(tables, ["http.80", "http.80.10.0.0.1"]);
}
