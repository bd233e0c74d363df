use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;

use super::*;

fn leaf(rest: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: leaf, namespace: other }}\nspec:\n{rest}"
    )
}

const ROUTES: &str = "  http:
  - name: first
    match: [ { name: nn, uri: { prefix: /d/one }, headers: { x-leaf: { exact: l } } }, { uri: { exact: /e } } ]
    route: [ { destination: { host: short } } ]
  - name: outside
    match: [ { uri: { prefix: /z } } ]
    route: [ { destination: { host: lost } } ]
  - route: [ { destination: { host: short }, weight: 1 } ]
    timeout: 1s
    mirror: { host: copy }
";

const ROOT: &str = "  - name: root
    match: [ { name: m, uri: { prefix: /d }, headers: { x-root: { exact: r } }, statPrefix: s }, { uri: { prefix: /e } } ]
    timeout: 7s
    mirror: { host: ratings }
    headers: { request: { set: { a: b } } }
    delegate: { name: leaf, namespace: other }
  - route: [ { destination: { host: reviews } } ]
";

fn notes(text: &str) -> Vec<String> {
    let notes = load(text).notes;
    assert!(
        notes
            .iter()
            .all(|n| n.line > 0 && n.object == "VirtualService default/reviews")
    );
    notes.into_iter().map(|n| n.message).collect()
}

#[test]
fn matches_are_combined_and_the_rest_inherited() {
    let text = format!("{}{}", text(ROOT), leaf(ROUTES));
    let routes = compiled(&text);
    let names: Vec<_> = routes.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(
        names,
        ["root-first.m-nn", "root-first", "root.m", "root", ""]
    );
    let first = routes[0].r#match.clone().unwrap();
    assert_eq!(
        first.path_specifier,
        Some(PathSpecifier::Prefix("/d/one".to_owned()))
    );
    let headers: Vec<_> = first.headers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(headers, ["x-leaf", "x-root"]);
    assert_eq!(routes[0].stat_prefix, "s");
    let short = "outbound|9080||short.other.svc.cluster.local";
    assert_eq!(target(&routes[0]), short);
    assert_eq!(target(&routes[3]), short);
    let seconds = |route: &Route| action(route).timeout.unwrap().seconds;
    assert_eq!([seconds(&routes[0]), seconds(&routes[2])], [7, 1]);
    // Names of the root are of its namespace, those of the delegate of the delegate's.
    let copy = |route: &Route| action(route).request_mirror_policies[0].cluster.clone();
    assert_eq!(
        copy(&routes[0]),
        "outbound|9080||ratings.default.svc.cluster.local"
    );
    assert_eq!(
        copy(&routes[2]),
        "outbound|9080||copy.other.svc.cluster.local"
    );
    assert_eq!(routes[2].request_headers_to_add.len(), 1);
    // The object that a proxy is told of is the root.
    assert_eq!(
        istio(routes[0].metadata.as_ref(), "config"),
        "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"
    );
    assert_eq!(
        notes(&text),
        [
            "the route \"outside\" of the delegate VirtualService other/leaf is left out: its matches are not within those of this route"
        ]
    );
}

#[test]
fn what_is_not_there_or_not_exported_is_left_out() {
    let missing = text(ROOT);
    assert_eq!(compiled(&missing).len(), 1);
    assert_eq!(
        notes(&missing),
        [
            "there is no delegate VirtualService other/leaf (one without hosts): the route is left out"
        ]
    );
    let private = format!("{missing}{}", leaf(&format!("  exportTo: ['.']\n{ROUTES}")));
    assert_eq!(compiled(&private).len(), 1);
    assert_eq!(
        notes(&private),
        [
            "the delegate VirtualService other/leaf is not exported to default: the route is left out"
        ]
    );
    let exported = format!(
        "{missing}{}",
        leaf(&format!("  exportTo: [default]\n{ROUTES}"))
    );
    assert_eq!(compiled(&exported).len(), 5);
    // A rule with hosts is no delegate.
    let rooted = format!("{missing}{}", leaf(&format!("  hosts: [x]\n{ROUTES}")));
    assert_eq!(compiled(&rooted).len(), 1);
}

#[test]
fn a_delegating_route_may_answer_by_itself() {
    let text = format!(
        "{}{}",
        text(
            "  - directResponse: { status: 410 }\n    delegate: { name: leaf, namespace: other }\n"
        ),
        leaf("  http: [ { route: [ { destination: { host: x } } ] } ]\n")
    );
    assert_eq!(target(&compiled(&text)[0]), "status 410");
}

/// Root, delegate, whether the delegate's lies in the root's.
#[test]
fn which_matches_lie_in_which() {
    let table = [
        ("uri: { prefix: /a }", "uri: { prefix: /a/b }", true),
        ("uri: { prefix: /a }", "uri: { exact: /a/b }", true),
        ("uri: { prefix: /a/b }", "uri: { prefix: /a }", false),
        ("uri: { exact: /a }", "uri: { exact: /a }", true),
        ("uri: { exact: /a }", "uri: { exact: /b }", false),
        ("uri: { exact: /a }", "uri: { prefix: /a }", false),
        ("uri: { regex: '/a.*' }", "uri: { exact: /a }", false),
        ("uri: { prefix: /a }", "uri: { regex: '/a.*' }", false),
        ("uri: { prefix: /a }", "method: { exact: GET }", true),
        ("method: { exact: GET }", "method: { exact: PUT }", false),
        ("scheme: { exact: http }", "scheme: { exact: https }", false),
        ("authority: { prefix: a }", "authority: { exact: ab }", true),
        (
            "headers: { a: { exact: b } }",
            "headers: { a: { exact: c } }",
            false,
        ),
        (
            "headers: { a: { exact: b } }",
            "headers: { b: { exact: c } }",
            true,
        ),
        ("headers: { a: {} }", "headers: { a: {} }", false),
        (
            "withoutHeaders: { a: { exact: b } }",
            "withoutHeaders: { a: { exact: c } }",
            false,
        ),
        (
            "queryParams: { a: { exact: b } }",
            "queryParams: { a: { exact: c } }",
            false,
        ),
        ("ignoreUriCase: true", "uri: { exact: /a }", false),
        ("port: 9080", "port: 9081", false),
        ("port: 9080", "uri: { exact: /a }", true),
        ("sourceNamespace: default", "uri: { exact: /a }", false),
        ("uri: { prefix: /a }", "sourceNamespace: default", true),
        (
            "sourceLabels: { app: productpage }",
            "sourceLabels: { app: other }",
            false,
        ),
        (
            "sourceLabels: { app: productpage }",
            "sourceLabels: { version: v1 }, uri: { exact: /a }",
            true,
        ),
        (
            "gateways: [mesh, other/g]",
            "gateways: [mesh], uri: { exact: /a }",
            true,
        ),
        ("gateways: [mesh]", "gateways: [mesh, g]", false),
    ];
    for (root, own, fits) in table {
        let root = format!(
            "  - match: [ {{ {root} }} ]\n    delegate: {{ name: leaf, namespace: other }}\n  - name: last\n    route: [ {{ destination: {{ host: reviews }} }} ]\n"
        );
        let own_routes = leaf(&format!(
            "  http: [ {{ name: leaf, match: [ {{ {own} }} ], route: [ {{ destination: {{ host: x }} }} ] }} ]\n"
        ));
        let routes = compiled(&format!("{}{own_routes}", text(&root)));
        let expected: &[&str] = if fits { &["leaf", "last"] } else { &["last"] };
        let names: Vec<_> = routes.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, expected, "{root}{own}");
    }
}
