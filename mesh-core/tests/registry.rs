//! What the mesh knows by the names of its clusters.

use mesh_core::Registry;

fn registry() -> Registry {
    let names = [
        "outbound|9080||reviews.default.svc.cluster.local",
        "outbound|9080|v1|reviews.default.svc.cluster.local",
        "outbound|9090||ratings.other.svc.cluster.local",
        "outbound|443||api.example.com",
        "outbound|8443||api.example.com",
        "outbound|443||*.wild.example.com",
        "outbound|443|only|subset.example.com",
        "outbound|x||port.example.com",
        "inbound|80||",
        "PassthroughCluster",
    ];
    Registry::of_clusters(names, "default")
}

#[test]
fn hosts_are_known_by_name_and_port() {
    let registry = registry();
    for (host, port) in [
        ("api.example.com", 443),
        ("API.Example.com", 443),
        ("api.example.com.", 8443),
        ("a.wild.example.com", 443),
        ("a.b.wild.example.com", 443),
        ("reviews.default.svc.cluster.local", 9080),
        ("reviews", 9080),
        ("reviews.default", 9080),
        ("reviews.default.svc", 9080),
        ("ratings.other", 9090),
        ("ratings.other.svc", 9090),
    ] {
        assert!(registry.has(host, port), "{host}:{port}");
    }
    for (host, port) in [
        ("api.example.com", 80),
        ("example.com", 443),
        ("x.api.example.com", 443),
        ("wild.example.com", 443),
        (".wild.example.com", 443),
        ("awild.example.com", 443),
        ("a.wild.example.com", 80),
        ("subset.example.com", 443),
        ("port.example.com", 0),
        // Of another namespace, so not by its first name alone.
        ("ratings", 9090),
        ("reviews.default.svc.cluster", 9080),
        ("", 443),
        (".", 443),
        ("PassthroughCluster", 80),
    ] {
        assert!(!registry.has(host, port), "{host}:{port}");
    }
}

#[test]
fn a_wildcard_for_all_is_for_all_of_its_port() {
    let registry = Registry::of_clusters(["outbound|443||*"], "default");
    assert!(registry.has("anything.example.com", 443));
    assert!(!registry.has("anything.example.com", 80));
    assert!(!registry.has("", 443));
    assert!(!Registry::default().has("anything.example.com", 443));
}
