//! `GRPCRoute`, and both kinds in the dialect of gRPC's clients.

use super::*;
use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;

fn routes_of(matches: &str) -> Vec<Route> {
    let rules =
        format!("  - matches: {matches}\n    backendRefs: [ {{ name: ratings, port: 7000 }} ]\n");
    compiled(&(services() + &object("GRPCRoute", "g", &rules)))
}

#[test]
fn methods() {
    for (given, expected) in [
        ("{ service: a.B, method: C }", "path /a.B/C"),
        ("{ service: a.B }", "segments /a.B"),
        ("{ method: C }", "regex /[^/]+/C"),
        (
            "{ type: RegularExpression, service: 'a|b', method: 'C.*' }",
            "regex /(?:a|b)/C.*",
        ),
        ("{ type: RegularExpression, service: a.* }", "regex /a.*/.+"),
        ("{ type: RegularExpression, method: C }", "regex /[^/]+/C"),
    ] {
        let routes = routes_of(&format!(
            "[ {{ method: {given}, headers: [ {{ name: X-A, value: a }} ] }} ]"
        ));
        assert_eq!(path(&routes[0]), expected, "{given}");
        assert_eq!(routes[0].r#match.as_ref().unwrap().headers[0].name, "x-a");
        assert_eq!(target(&routes[0]), RATINGS);
    }
    assert_eq!(path(&routes_of("[]")[0]), "prefix /");
}

#[test]
fn longer_services_and_methods_come_first_and_before_http() {
    let matches = "[ {}, { method: { service: a.B } }, { method: { method: Long } }, { method: { service: a.B, method: C } }, { method: { service: a.B }, headers: [ { name: x, value: v } ] } ]";
    let rules = format!("  - matches: {matches}\n");
    let http = object(
        "HTTPRoute",
        "a",
        "  - matches: [ { path: { type: Exact, value: /h } } ]\n",
    );
    let text = services() + &http + &object("GRPCRoute", "g", &rules);
    let found: Vec<_> = compiled(&text).iter().map(path).collect();
    // The last takes everything: what would come after it is left out.
    assert_eq!(
        found,
        [
            "path /a.B/C",
            "segments /a.B",
            "segments /a.B",
            "regex /[^/]+/Long",
            "prefix /"
        ]
    );
}

#[test]
fn names_of_rules() {
    let rules = "  - matches: [ { method: { service: a } } ]\n  - name: ours\n";
    let routes = compiled(&(services() + &object("GRPCRoute", "g", rules)));
    let names: Vec<&str> = routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["default.g.0", "ours"]);
}

#[test]
fn filters_of_either_way_and_mirrors() {
    let filtered = |filters: &str| {
        let rules = format!(
            "  - filters: {filters}\n    backendRefs: [ {{ name: ratings, port: 7000 }} ]\n"
        );
        compiled(&(services() + &object("GRPCRoute", "g", &rules)))[0].clone()
    };
    // Names of what is added and removed, to a request and to an answer, and who gets copies.
    let changes = |route: &Route| {
        let names = |added: &[HeaderValueOption], removed: &[String]| {
            let added = added.iter().filter_map(|add| add.header.as_ref());
            let added = added.map(|header| format!("{}={}", header.key, header.value));
            let removed = removed.iter().map(|name| format!("-{name}"));
            added.chain(removed).collect::<Vec<_>>().join(" ")
        };
        let mirrors = action(route).request_mirror_policies.into_iter();
        [
            names(
                &route.request_headers_to_add,
                &route.request_headers_to_remove,
            ),
            names(
                &route.response_headers_to_add,
                &route.response_headers_to_remove,
            ),
            mirrors.map(|to| to.cluster).collect(),
        ]
    };
    assert_eq!(changes(&filtered("[]")), ["", "", ""]);
    let all = filtered(
        "[ { type: RequestHeaderModifier, requestHeaderModifier: { set: [ { name: x-a, value: a } ], remove: [ x-b ] } }, \
         { type: ResponseHeaderModifier, responseHeaderModifier: { add: [ { name: x-c, value: c } ], remove: [ x-d ] } }, \
         { type: RequestMirror, requestMirror: { backendRef: { name: reviews, port: 9080 } } } ]",
    );
    let mirror = format!("outbound|9080||{HOST}");
    assert_eq!(changes(&all), ["x-a=a -x-b", "x-c=c -x-d", &mirror]);
}

#[test]
fn grpc_clients_are_sent_no_segments() {
    let rules = "  - matches: [ { path: { value: /a.b } } ]\n";
    let node = client().with_dialect(mesh_istio::Dialect::Grpc);
    let resources = load(&text(rules)).config.resources(&node);
    let found = routes(&resources, &format!("outbound|9080||{HOST}"));
    assert_eq!(
        path(&found.virtual_hosts[0].routes[0]),
        r"regex /a\.b(?:/.*)?"
    );
}
