//! Whose callers a route is for.

use super::*;
use mesh_xds::Node;

const RULES: &str = "  - name: ours\n    backendRefs: [ { name: ratings, port: 7000 } ]\n";

fn route_of(parent: &str) -> (String, Vec<String>) {
    let parents = format!("parentRefs: [ {{ {parent} }} ]");
    let text = text(RULES).replace(
        "parentRefs: [ { group: '', kind: Service, name: reviews } ]",
        &parents,
    );
    let notes = load(&text).notes.into_iter().map(|n| n.message).collect();
    (compiled(&text)[0].name.clone(), notes)
}

#[test]
fn parents() {
    let service = "group: '', kind: Service, name: reviews";
    for parent in [
        service.to_owned(),
        format!("{service}, namespace: default"),
        format!("{service}, port: 9080"),
        format!("{service}, sectionName: http"),
        "group: networking.istio.io, kind: ServiceEntry, name: reviews".to_owned(),
    ] {
        assert_eq!(
            route_of(&parent),
            ("ours".to_owned(), Vec::new()),
            "{parent}"
        );
    }
    for (parent, expected) in [
        (format!("{service}, port: 1"), "the service has no port 1: "),
        (
            format!("{service}, sectionName: tcp"),
            "the service has no such port \"tcp\": ",
        ),
        (
            "group: '', kind: Service, name: gone".to_owned(),
            "there is no service gone.",
        ),
        (
            "name: gateway".to_owned(),
            "spec.parentRefs[0]: a parent of kind Gateway has no effect",
        ),
    ] {
        let (name, notes) = route_of(&parent);
        assert_eq!(name, "default", "{parent}");
        assert!(notes.iter().any(|n| n.starts_with(expected)), "{notes:?}");
    }
}

#[test]
fn a_route_for_another_namespace_is_for_its_own_callers_first() {
    let consumer = object("HTTPRoute", "c", "  - name: theirs\n    backendRefs: [ { name: ratings, namespace: default, port: 7000 } ]\n")
        .replace("namespace: default }\nspec", "namespace: other }\nspec")
        .replace("name: reviews }", "name: reviews, namespace: default }");
    let loaded = load(&(text(RULES) + &consumer));
    for (namespace, expected) in [("default", "ours"), ("other", "theirs"), ("third", "ours")] {
        let found = routes(
            &loaded.config.resources(&Node::sidecar("x", namespace)),
            "9080",
        );
        assert_eq!(
            host_routes(&found, &format!("{HOST}:9080"))[0].name,
            expected,
            "{namespace}"
        );
    }
}

#[test]
fn it_comes_before_a_virtual_service_and_says_what_has_no_effect() {
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: a, namespace: default }\nspec: { hosts: [reviews], http: [ { name: old, route: [ { destination: { host: reviews } } ] } ] }\n";
    assert_eq!(compiled(&(text(RULES) + rule))[0].name, "ours");
    let named = text(RULES).replace("  rules:", "  hostnames: [ a.example ]\n  rules:");
    assert!(
        load(&named).notes[0]
            .message
            .starts_with("spec.hostnames has no effect")
    );
    assert_eq!(compiled(&named)[0].name, "ours");
    assert_eq!(
        compiled(&text(
            "  - backendRefs: [ { name: ratings, port: 7000 } ]\n"
        ))[0]
            .name,
        "default.r.0"
    );
}
