//! `analyze`: for each code rules that are bad, and the same rules mended, of which nothing is found.
#![allow(clippy::too_many_lines, reason = "a test may be a long table")]

mod common;

use std::path::{Path, PathBuf};

use common::REVIEWS;
use mesh_istio::{Analysis, Finding, Level, Options, analyze};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runner, RngAlgorithm, RngSeed};

/// Two services with their subsets: good by themselves.
const BASE: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews }
spec:
  hosts: [reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [ { number: 9080, name: http, protocol: HTTP } ]
  workloadSelector: { labels: { app: reviews } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: reviews-v1 }
spec: { address: 127.0.0.1, labels: { app: reviews, version: v1 } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews }
spec: { host: reviews, subsets: [ { name: v1, labels: { version: v1 } } ] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ratings, namespace: other }
spec:
  hosts: [ratings.other.svc.cluster.local]
  resolution: STATIC
  ports: [ { number: 80, name: http, protocol: HTTP }, { number: 81, name: grpc, protocol: GRPC } ]
  exportTo: ['*']
  endpoints: [ { address: 127.0.0.1 } ]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: gate }
spec:
  selector: { istio: ingressgateway }
  servers: [ { port: { number: 80, name: http, protocol: HTTP }, hosts: [a.example.com] } ]
";

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{ name: {name} }}\nspec: {spec}\n"
    )
}

/// A `VirtualService` of `reviews` with these HTTP routes.
fn routes(http: &str) -> String {
    object(
        "VirtualService",
        "x",
        &format!("{{ hosts: [reviews], http: [{http}] }}"),
    )
}

fn found(text: &str) -> Vec<Finding> {
    analyze([("a.yaml".into(), text.to_owned())])
}

fn beside_base(text: &str) -> Vec<Finding> {
    found(&format!("{BASE}{text}"))
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("{f}\n")).collect()
}

/// The bad rules have this finding alone (code, level, field), as often as told; the good ones have none.
#[track_caller]
fn judged(bad: &str, good: &str, code: &str, level: Level, paths: &[&str]) {
    let findings = beside_base(bad);
    let mut at: Vec<_> = findings.iter().map(|f| f.path.as_str()).collect();
    at.sort_unstable();
    assert_eq!(at, paths, "{}", list(&findings));
    for finding in &findings {
        assert_eq!((finding.code, finding.level), (code, level), "{finding}");
        let line = u64::try_from(BASE.lines().count()).unwrap_or_default();
        assert!(finding.line > line && finding.column > 0, "{finding}");
        assert!(finding.to_string().contains(&finding.path), "{finding}");
    }
    let findings = beside_base(good);
    assert!(findings.is_empty(), "{}", list(&findings));
}

/// One text in the other's place.
#[track_caller]
fn mended(bad: &str, wrong: &str, right: &str, code: &str, level: Level, paths: &[&str]) {
    assert!(bad.contains(wrong), "{wrong} is not in {bad}");
    judged(bad, &bad.replace(wrong, right), code, level, paths);
}

#[test]
fn the_base_is_good() {
    assert_eq!(list(&beside_base("")), "");
}

#[test]
fn what_is_named_must_be_there() {
    let to = "spec.http[0].route[0].destination";
    let route = |to: &str| routes(&format!("{{ route: [ {{ destination: {to} }} ] }}"));
    let error = Level::Error;
    let one = |bad: &str, right: &str, path: &str| {
        judged(&route(bad), &route(right), "IST0101", error, &[path]);
    };
    one(
        "{ host: review }",
        "{ host: reviews }",
        &format!("{to}.host"),
    );
    one(
        "{ host: reviews, subset: v2 }",
        "{ host: reviews, subset: v1 }",
        &format!("{to}.subset"),
    );
    let port = "{ host: reviews, port: { number: 9081 } }";
    one(
        port,
        &port.replace("9081", "9080"),
        &format!("{to}.port.number"),
    );
    let copies = routes(
        "{ route: [ { destination: { host: reviews } } ], mirrors: [ { destination: { host: gone } } ] }",
    );
    mended(
        &copies,
        "gone",
        "reviews",
        "IST0101",
        error,
        &["spec.http[0].mirrors[0].destination.host"],
    );
    let copy = routes("{ route: [ { destination: { host: reviews } } ], mirror: { host: gone } }");
    mended(
        &copy,
        "gone",
        "reviews",
        "IST0101",
        error,
        &["spec.http[0].mirror.host"],
    );
    let of_gateway = object(
        "VirtualService",
        "x",
        "{ hosts: [a.example.com], gateways: [gone], http: [ { route: [ { destination: { host: reviews } } ] } ] }",
    );
    mended(
        &of_gateway,
        "gone",
        "gate",
        "IST0101",
        error,
        &["spec.gateways[0]"],
    );
    let handed = routes("{ delegate: { name: gone } }")
        + &object(
            "VirtualService",
            "leaf",
            "{ http: [ { route: [ { destination: { host: reviews } } ] } ] }",
        );
    mended(
        &handed,
        "gone",
        "leaf",
        "IST0101",
        error,
        &["spec.http[0].delegate"],
    );
    // A delegate's own routes, too.
    mended(
        &handed.replace("gone", "leaf"),
        "host: reviews }",
        "host: reviews, subset: v1 }",
        "",
        error,
        &[],
    );
    let leaf = handed
        .replace("gone", "leaf")
        .replace("host: reviews }", "host: reviews, subset: v9 }");
    mended(
        &leaf,
        "v9",
        "v1",
        "IST0101",
        error,
        &[&format!("{to}.subset")],
    );
}

#[test]
fn what_is_not_exported_is_not_there() {
    let text = |to: &str| {
        object(
            "ServiceEntry",
            "hidden",
            &format!(
                "{{ hosts: [hidden.example.com], resolution: STATIC, exportTo: [{to}], \
                 ports: [ {{ number: 80, name: http, protocol: HTTP }} ], endpoints: [ {{ address: 127.0.0.1 }} ] }}"
            ),
        ) + &routes("{ route: [ { destination: { host: hidden.example.com } } ] }")
    };
    let path = "spec.http[0].route[0].destination.host";
    judged(
        &text("else"),
        &text("default"),
        "IST0101",
        Level::Error,
        &[path],
    );
}

#[test]
fn of_several_ports_one_must_be_said() {
    let bad = routes("{ route: [ { destination: { host: ratings.other.svc.cluster.local } } ] }");
    let right = "cluster.local, port: { number: 81 } }";
    let path = "spec.http[0].route[0].destination";
    mended(
        &bad,
        "cluster.local }",
        right,
        "IST0112",
        Level::Error,
        &[path],
    );
}

#[test]
fn one_host_is_one_objects() {
    let rule = "{ hosts: [reviews], http: [ { route: [ { destination: { host: reviews } } ] } ] }";
    let full = rule.replace("[reviews]", "[reviews.default.svc.cluster.local]");
    let bad = object("VirtualService", "x", rule) + &object("VirtualService", "z", &full);
    let paths = ["spec.hosts[0]", "spec.hosts[0]"];
    let elsewhere = full.replace("{ hosts", "{ exportTo: [other], hosts");
    let own = rule.replace("{ hosts", "{ exportTo: ['.'], hosts");
    let good = object("VirtualService", "x", &own) + &object("VirtualService", "z", &elsewhere);
    judged(&bad, &good, "IST0109", Level::Error, &paths);
}

#[test]
fn routes_that_nothing_reaches() {
    let to = "route: [ { destination: { host: reviews } } ]";
    let two =
        |first: &str, second: &str| routes(&format!("{{ {first} {to} }}, {{ {second} {to} }}"));
    let unreachable = |first: &str, second: &str| {
        let (bad, good) = (two(first, second), two(second, first));
        judged(&bad, &good, "IST0130", Level::Warning, &["spec.http[1]"]);
    };
    unreachable("", "match: [ { uri: { prefix: /a } } ],");
    unreachable(
        "match: [ { uri: { prefix: / } } ],",
        "match: [ { uri: { exact: /a } } ],",
    );
    unreachable(
        "match: [ { headers: { a: { exact: b } } } ],",
        "match: [ { uri: { prefix: /a }, headers: { c: { exact: d }, a: { exact: b } } } ],",
    );
    let twice = two(
        "match: [ { uri: { prefix: /a } } ],",
        "match: [ { name: again, uri: { prefix: /a } } ],",
    );
    mended(
        &twice,
        "name: again, uri: { prefix: /a",
        "uri: { prefix: /b",
        "IST0130",
        Level::Warning,
        &["spec.http[1]"],
    );
    let no_match = two("", "");
    judged(
        &no_match,
        &two("match: [ { uri: { prefix: /a } } ],", ""),
        "IST0130",
        Level::Warning,
        &["spec.http[1]"],
    );
    // Neither takes all of the other's.
    for (first, second) in [
        (
            "match: [ { uri: { prefix: /a }, method: { exact: GET } } ],",
            "match: [ { uri: { prefix: /a/b } } ],",
        ),
        (
            "match: [ { uri: { prefix: /a }, ignoreUriCase: true } ],",
            "match: [ { uri: { prefix: /a/b } } ],",
        ),
        (
            "match: [ { uri: { regex: '/a.*' } } ],",
            "match: [ { uri: { exact: /ab } } ],",
        ),
        (
            "match: [ { withoutHeaders: { a: { exact: b } } } ],",
            "match: [ { headers: { a: { exact: b } } } ],",
        ),
        ("match: [ { port: 80 } ],", "match: [ { port: 81 } ],"),
    ] {
        assert_eq!(
            list(&beside_base(&two(first, second))),
            "",
            "{first} {second}"
        );
    }
}

#[test]
fn a_delegating_route_may_let_requests_pass() {
    let text = routes(
        "{ delegate: { name: leaf } }, { route: [ { destination: { host: reviews } } ] }",
    ) + &object(
        "VirtualService",
        "leaf",
        "{ http: [ { match: [ { uri: { prefix: /a } } ], route: [ { destination: { host: reviews } } ] } ] }",
    );
    assert_eq!(list(&beside_base(&text)), "");
}

#[test]
fn matches_without_effect() {
    let bad = routes(
        "{ match: [ { uri: { prefix: /a } }, { uri: { exact: /a/b } }, { uri: { prefix: /c } } ], \
         route: [ { destination: { host: reviews } } ] }",
    );
    mended(
        &bad,
        "/a/b",
        "/b",
        "IST0131",
        Level::Info,
        &["spec.http[0].match[1]"],
    );
}

#[test]
fn a_gateway_has_the_hosts() {
    let bad = object(
        "VirtualService",
        "x",
        "{ hosts: [b.example.com], gateways: [default/gate], http: [ { route: [ { destination: { host: reviews } } ] } ] }",
    );
    mended(
        &bad,
        "b.example",
        "a.example",
        "IST0132",
        Level::Warning,
        &["spec.gateways[0]"],
    );
}

#[test]
fn servers_of_gateways_that_do_not_go_together() {
    let https = |name: &str, hosts: &str| {
        format!(
            "{{ port: {{ number: 443, name: {name}, protocol: HTTPS }}, hosts: [{hosts}], \
             tls: {{ mode: SIMPLE, serverCertificate: /a, privateKey: /b }} }}"
        )
    };
    let plain = "{ port: { number: 443, name: plain, protocol: HTTP }, hosts: [e.org] }";
    let of = |servers: &[&str]| {
        let servers = servers.join(", ");
        object(
            "Gateway",
            "g",
            &format!("{{ selector: {{ istio: x }}, servers: [{servers}] }}"),
        )
    };
    let (first, other) = (https("a", "a.org, default/b.org"), https("b", "c.org"));
    let again = https("c", "'*/b.org'");
    let good = of(&[&first, &other]);
    let level = Level::Error;
    judged(
        &of(&[&first, &other, &again]),
        &good,
        "IST0145",
        level,
        &["spec.servers[2]"],
    );
    judged(
        &of(&[&first, plain]),
        &good,
        "IST0145",
        level,
        &["spec.servers[1]"],
    );
    judged(
        &of(&[plain, &first]),
        &good,
        "IST0145",
        level,
        &["spec.servers[1]"],
    );
    // Elsewhere they are no neighbours.
    let apart = plain.replace("protocol: HTTP }", "protocol: HTTP }, bind: 127.0.0.1");
    judged(
        &of(&[plain, &first]),
        &of(&[&apart, &first]),
        "IST0145",
        level,
        &["spec.servers[1]"],
    );
}

#[test]
fn gateways_that_want_the_same() {
    let bad = object(
        "Gateway",
        "second",
        "{ selector: { istio: ingressgateway }, \
         servers: [ { port: { number: 80, name: http, protocol: HTTP }, hosts: ['*/a.example.com'] } ] }",
    );
    let findings = beside_base(&bad);
    let all: Vec<_> = findings
        .iter()
        .map(|f| (f.code, f.level, f.object.as_str()))
        .collect();
    let conflict = |object| ("IST0145", Level::Error, object);
    assert_eq!(
        all,
        [
            conflict("Gateway default/gate"),
            conflict("Gateway default/second")
        ]
    );
    for (wrong, right) in [
        ("number: 80", "number: 81"),
        ("*/a.", "*/b."),
        ("istio: ", "other: "),
    ] {
        assert_eq!(
            list(&beside_base(&bad.replace(wrong, right))),
            "",
            "{right}"
        );
    }
}

#[test]
fn destination_rules() {
    let unknown = object(
        "DestinationRule",
        "x",
        "{ host: gone, trafficPolicy: { loadBalancer: { simple: RANDOM } } }",
    );
    mended(
        &unknown,
        "gone",
        "ratings.other.svc.cluster.local",
        "IST0174",
        Level::Warning,
        &["spec.host"],
    );
    let wide = object(
        "DestinationRule",
        "x",
        "{ host: '*.gone.svc.cluster.local' }",
    );
    mended(
        &wide,
        "gone",
        "other",
        "IST0174",
        Level::Warning,
        &["spec.host"],
    );
    let empty = object(
        "DestinationRule",
        "x",
        "{ host: reviews, subsets: [ { name: v2, labels: { version: v2 } } ] }",
    );
    mended(
        &empty,
        "version: v2",
        "version: v1",
        "IST0173",
        Level::Error,
        &["spec.subsets[0]"],
    );
    let twin = object(
        "DestinationRule",
        "x",
        "{ host: reviews, subsets: [ { name: v1, labels: { version: v1 } } ] }",
    );
    mended(
        &twin,
        "name: v1",
        "name: v2",
        "MESH0002",
        Level::Warning,
        &["spec.host"],
    );
    let policy = "{ host: ratings.other.svc.cluster.local, trafficPolicy: { loadBalancer: { simple: RANDOM } } }";
    let two = object("DestinationRule", "x", policy) + &object("DestinationRule", "z", policy);
    let apart = object("DestinationRule", "x", policy)
        + &object(
            "DestinationRule",
            "z",
            &policy.replace(
                "{ host",
                "{ workloadSelector: { matchLabels: { a: b } }, host",
            ),
        );
    judged(&two, &apart, "MESH0002", Level::Warning, &["spec.host"]);
}

/// TLS is refused by this version, so that good rules of it have other findings.
#[test]
fn certificates_that_nobody_checks() {
    let codes = |text: &str| -> Vec<&str> {
        let text = object("DestinationRule", "x", text);
        let codes = beside_base(&text)
            .iter()
            .map(|f| f.code)
            .collect::<Vec<_>>();
        codes
            .into_iter()
            .filter(|code| code.starts_with("IST012"))
            .collect()
    };
    let host = "host: ratings.other.svc.cluster.local";
    let whole = format!("{{ {host}, trafficPolicy: {{ tls: {{ mode: SIMPLE }} }} }}");
    assert_eq!(codes(&whole), ["IST0128"]);
    assert!(codes(&whole.replace("SIMPLE", "SIMPLE, caCertificates: /ca.pem")).is_empty());
    assert!(codes(&whole.replace("SIMPLE", "DISABLE")).is_empty());
    let port = format!(
        "{{ {host}, trafficPolicy: {{ portLevelSettings: [ {{ port: {{ number: 80 }}, tls: {{ mode: MUTUAL }} }} ] }} }}"
    );
    assert_eq!(codes(&port), ["IST0129"]);
}

#[test]
fn ports_say_what_is_spoken() {
    let service = |spec: &str| {
        format!("---\napiVersion: v1\nkind: Service\nmetadata: {{ name: s }}\nspec: {spec}\n")
    };
    let bad = service("{ selector: { app: s }, ports: [ { port: 80, name: web } ] }");
    // The note of the reader stands at the same place, and says less.
    mended(
        &bad,
        "web",
        "http-web",
        "IST0118",
        Level::Info,
        &["spec.ports[0].name"],
    );
    let external = service(
        "{ type: ExternalName, externalName: a.example.com, ports: [ { port: 80, name: tcp } ] }",
    );
    mended(
        &external,
        "tcp",
        "http",
        "IST0150",
        Level::Warning,
        &["spec.ports[0].name"],
    );
}

#[test]
fn tcp_needs_addresses() {
    let entry = object(
        "ServiceEntry",
        "x",
        "{ hosts: [tcp.example.com], resolution: STATIC, ports: [ { number: 80, name: tcp, protocol: TCP } ], \
         endpoints: [ { address: 127.0.0.1 } ] }",
    );
    let codes = |text: &str| {
        beside_base(text)
            .iter()
            .filter(|f| f.code == "IST0134")
            .count()
    };
    assert_eq!(codes(&entry), 1);
    assert_eq!(
        codes(&entry.replace("{ hosts", "{ addresses: [10.0.0.1], hosts")),
        0
    );
    assert_eq!(codes(&entry.replace("protocol: TCP", "protocol: HTTP")), 0);
}

fn in_other(kind: &str, name: &str, spec: &str) -> String {
    object(kind, name, spec).replacen("name: ", "namespace: other, name: ", 1)
}

#[test]
fn selectors_of_another_namespace_s_workloads() {
    let entry = |labels: &str| {
        let spec = format!(
            "{{ hosts: [shop.example.com], resolution: STATIC, ports: [ {{ number: 80, name: http, protocol: HTTP }} ], \
             workloadSelector: {{ labels: {{ {labels} }} }} }}"
        );
        in_other("ServiceEntry", "shop", &spec)
    };
    let bad = entry("app: reviews");
    let workload = in_other(
        "WorkloadEntry",
        "w",
        "{ address: 127.0.0.1, labels: { app: reviews } }",
    );
    let at = ["spec.workloadSelector"];
    judged(
        &bad,
        &(bad.clone() + &workload),
        "IST0127",
        Level::Warning,
        &at,
    );
    // Whose workloads the files do not tell of may have them elsewhere.
    mended(
        &bad,
        "app: reviews",
        "app: gone",
        "IST0127",
        Level::Warning,
        &at,
    );
    let message = &beside_base(&bad)[0].message;
    for part in ["of the namespace other has", "in default there are some"] {
        assert!(message.contains(part), "{message}");
    }
    // Labels of the object count, too.
    let labelled = in_other("WorkloadEntry", "w", "{ address: 127.0.0.1 }").replacen(
        "name: w",
        "name: w, labels: { app: reviews }",
        1,
    );
    assert_eq!(list(&beside_base(&(bad + &labelled))), "");
}

#[test]
fn labels_of_the_object_are_a_workload_s() {
    let text = BASE.replace(
        "{ name: reviews-v1 }",
        "{ name: reviews-v1, labels: { version: v2 } }",
    );
    let v2 = text.replace(
        "labels: { version: v1 } } ] }",
        "labels: { version: v2 } } ] }",
    );
    assert_eq!(list(&found(&v2)), "");
    let codes: Vec<_> = found(&text).iter().map(|f| f.code).collect();
    assert_eq!(codes, ["IST0173"], "the spec's v1 is overridden");
}

#[test]
fn ports_of_workloads_that_nobody_reads() {
    let bad = object(
        "WorkloadEntry",
        "w",
        "{ address: 127.0.0.1, labels: { app: reviews, version: v1 }, ports: { http-web: 8080 } }",
    );
    let at = ["spec.ports.http-web"];
    mended(&bad, "http-web", "http", "MESH0007", Level::Warning, &at);
    // Selected by nobody: it may be in use elsewhere.
    mended(
        &bad,
        "app: reviews",
        "app: x",
        "MESH0007",
        Level::Warning,
        &at,
    );
    let message = &beside_base(&bad)[0].message;
    for part in ["ServiceEntry reviews", "\"http-web\"", "it has http"] {
        assert!(message.contains(part), "{message}");
    }
    // What one of several reads is read.
    let other = object(
        "ServiceEntry",
        "other",
        "{ hosts: [other.example.com], resolution: STATIC, ports: [ { number: 80, name: http-web, protocol: HTTP } ], \
         workloadSelector: { labels: { app: reviews } } }",
    );
    assert_eq!(list(&beside_base(&(bad + &other))), "");
}

#[test]
fn short_hosts_are_of_their_namespace() {
    let rule = |more: &str| {
        let spec =
            format!("{{ hosts: [ratings], {more} http: [ {{ redirect: {{ uri: /a }} }} ] }}");
        object("VirtualService", "x", &spec)
    };
    let (bad, at) = (rule(""), ["spec.hosts[0]"]);
    let code = "MESH0006";
    for good in [
        "reviews",
        "ratings.other.svc.cluster.local",
        "outside.example.com",
        "'*.example.com'",
    ] {
        let good = format!("hosts: [{good}]");
        mended(&bad, "hosts: [ratings]", &good, code, Level::Warning, &at);
    }
    // A gateway's hosts are what its callers ask for.
    let of_gateway =
        rule("gateways: [gate, mesh],").replace("[ratings]", "[a.example.com, ratings]");
    judged(&bad, &of_gateway, code, Level::Warning, &at);
    judged(&rule("gateways: [mesh],"), "", code, Level::Warning, &at);
    let message = &beside_base(&bad)[0].message;
    for part in [
        "there is no host ratings.default.svc.cluster.local",
        "write in full which is meant: ratings.other.svc.cluster.local",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // One that it sends to, too, is told of once.
    let both =
        routes("{ route: [ { destination: { host: gone } } ] }").replace("[reviews]", "[gone]");
    let found = beside_base(&both);
    let all: Vec<_> = found.iter().map(|f| (f.code, f.path.as_str())).collect();
    assert_eq!(all, [("IST0101", "spec.http[0].route[0].destination.host")]);
    let gone = &beside_base(&bad.replace("[ratings]", "[gone]"))[0].message;
    assert!(
        gone.contains("add a ServiceEntry or a Service for it"),
        "{gone}"
    );
}

#[test]
fn principals_have_no_scheme() {
    let policy = |rule: &str| {
        let text = format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: p }}\nspec: {{ rules: [ {rule} ] }}\n"
        );
        let mut analysis = Analysis::of(Options::default().certificates(true));
        analysis.text("a.yaml", format!("{BASE}{text}"));
        let found = analysis.findings().into_iter();
        found
            .map(|f| (f.code, f.level, f.path, f.message))
            .collect::<Vec<_>>()
    };
    for (rule, path) in [
        (
            "{ from: [ { source: { principals: ['spiffe://td/ns/a/sa/b'] } } ] }",
            "spec.rules[0].from[0].source.principals[0]",
        ),
        (
            "{ from: [ { source: { notPrincipals: [x, 'spiffe://td/ns/a/sa/b'] } } ] }",
            "spec.rules[0].from[0].source.notPrincipals[1]",
        ),
        (
            "{ when: [ { key: source.principal, values: ['spiffe://td/ns/a/sa/b'] } ] }",
            "spec.rules[0].when[0].values[0]",
        ),
    ] {
        let message = "principals are written without spiffe://, so this one matches nobody; write \"td/ns/a/sa/b\"";
        let expected = (
            "MESH0005",
            Level::Warning,
            path.to_owned(),
            message.to_owned(),
        );
        assert_eq!(policy(rule), [expected]);
        assert_eq!(policy(&rule.replace("spiffe://", "")), []);
    }
    // Of another attribute it may be the text.
    let header = "{ when: [ { key: 'request.headers[x]', values: ['spiffe://td'] } ] }";
    assert_eq!(policy(header), []);
}

#[test]
fn sidecars_of_one_workload() {
    let sidecar = |name: &str, selector: &str| {
        object(
            "Sidecar",
            name,
            &format!("{{ {selector} egress: [ {{ hosts: ['*/*'] }} ] }}"),
        )
    };
    let of = |labels: &str| format!("workloadSelector: {{ labels: {{ {labels} }} }},");
    let both = ["metadata.name", "metadata.name"];
    let good = sidecar("x", "") + &sidecar("z", &of("app: reviews"));
    judged(
        &(sidecar("x", "") + &sidecar("z", "")),
        &good,
        "IST0111",
        Level::Error,
        &both,
    );
    let bad = sidecar("x", &of("version: v1")) + &sidecar("z", &of("app: reviews"));
    let good = sidecar("x", &of("version: v2")) + &sidecar("z", &of("app: reviews"));
    judged(&bad, &good, "IST0110", Level::Error, &both);
}

#[test]
fn every_fault_at_once_with_its_field() {
    let text = routes(
        "{ route: [ { destination: { host: reviews }, weight: 0 }, { destination: { host: reviews }, weight: 0 } ] }, \
         { retries: { attempts: -1 }, route: [ { destination: { host: gone } } ] }, { redirect: { uri: /a }, rout: [] }",
    ) + "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: g\nspec:\n  servers:\n  - hosts: ['*']\n";
    let findings = beside_base(&text);
    let all: Vec<_> = findings.iter().map(|f| (f.code, f.path.as_str())).collect();
    for wanted in [
        ("IST0106", "spec.http[0].route"),
        ("IST0106", "spec.http[1].retries.attempts"),
        ("IST0101", "spec.http[1].route[0].destination.host"),
        ("IST0106", "spec.http[2].rout"),
        ("IST0106", "spec.servers[0]"),
    ] {
        assert!(
            all.contains(&wanted),
            "{wanted:?} is not in {}",
            list(&findings)
        );
    }
    assert!(
        findings.iter().all(|f| f.line > 0 && !f.object.is_empty()),
        "{}",
        list(&findings)
    );
    assert!(
        findings.iter().all(|f| !f.path.is_empty()),
        "{}",
        list(&findings)
    );
}

#[test]
fn what_is_not_served_is_told() {
    let text = "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: { name: t }\nspec: {}\n";
    let findings = beside_base(text);
    let all: Vec<_> = findings.iter().map(|f| (f.code, f.level)).collect();
    assert_eq!(all, [("MESH0001", Level::Info)]);
}

#[test]
fn bookinfo_is_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bookinfo-rs");
    let mut tasks: Vec<Option<PathBuf>> = vec![None];
    let files = std::fs::read_dir(root.join("tasks")).expect("the tasks");
    tasks.extend(files.map(|file| Some(file.expect("a task").path())));
    assert!(tasks.len() > 5, "{tasks:?}");
    for task in tasks {
        let mut analysis = Analysis::of(Options::default().certificates(true));
        analysis.path(&root.join("config"));
        if let Some(task) = &task {
            analysis.path(task);
        }
        let findings = analysis.findings();
        let bad: Vec<_> = findings
            .into_iter()
            .filter(|f| f.level >= Level::Warning)
            // ratings has a port for each protocol, and its rules hold for both: a destination without a port is the
            // port that was called. istioctl tells that, too.
            .filter(|f| !(f.code == "IST0112" && f.object == "VirtualService default/ratings"))
            // The launcher writes the workloads.
            .filter(|f| f.code != "IST0127")
            .collect();
        assert_eq!(list(&bad), "", "{task:?}");
    }
    // A task alone names hosts that are not there: the folder above was read.
    let mut alone = Analysis::default();
    alone.path(&root.join("tasks/virtual-service-reviews-v3.yaml"));
    assert!(!alone.findings().is_empty());
}

#[test]
fn what_cannot_be_read_is_a_finding() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a.yaml"), b"a: \xff").expect("a file");
    for path in [
        dir.path().to_owned(),
        dir.path().join("a.yaml"),
        dir.path().join("none"),
    ] {
        let mut analysis = Analysis::default();
        analysis.path(&path);
        let codes: Vec<_> = analysis.findings().iter().map(|f| f.code).collect();
        assert_eq!(codes, ["IST0106"], "{path:?}");
    }
}

fn corpus() -> String {
    let rest = routes(
        "{ match: [ { uri: { prefix: /a }, headers: { a: { exact: b } } }, { uri: { regex: '.*' } } ], \
         mirror: { host: gone }, route: [ { destination: { host: ratings, subset: v7, port: { number: 1 } }, weight: 1 } ] }, \
         { delegate: { name: leaf, namespace: else } }",
    ) + &object(
        "Sidecar",
        "s",
        "{ workloadSelector: { labels: { app: reviews } }, egress: [ { hosts: ['*/*'] } ] }",
    );
    format!("{BASE}{rest}---\n{REVIEWS}")
}

fn runner() -> Runner {
    Runner {
        cases: 400,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..Runner::default()
    }
}

#[test]
fn every_truncation_is_judged() {
    let text = corpus();
    for (at, _) in text.char_indices() {
        found(&text[..at]);
    }
    assert!(found(&text).len() > 3, "{}", list(&found(&text)));
}

proptest! {
    #![proptest_config(runner())]

    #[test]
    fn yaml_like_text_is_judged(text in "([-:{}\\[\\],&*!|>'\"%@`#? \\t\\n]|[a-z0-9]{1,4}|---\\n|\\.\\.\\.\\n|<<: ){0,60}") {
        found(&text);
    }

    #[test]
    fn a_text_with_bytes_changed_is_judged(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut bytes = corpus().into_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        found(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_text_with_values_changed_is_judged(
        line in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("-1".to_owned()), Just("null".to_owned()), Just("[]".to_owned()), Just("{}".to_owned()),
            Just("'*'".to_owned()), Just("[[[1]]]".to_owned()), Just("''".to_owned()), "\\PC{0,20}",
        ],
    ) {
        let text = corpus();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = line.index(lines.len());
        if let Some((key, _)) = lines[at].clone().split_once(": ") {
            lines[at] = format!("{key}: {value}");
        }
        found(&lines.join("\n"));
    }
}
