//! Roots that are bound to trust domains (SPIFFE bundles; gRPC A87), and the aliases of our own.

use std::sync::Arc;

use mesh_core::cluster::Protocol::Http1;
use mesh_core::identity::{PeerRule, TrustDomain};

use super::pki::{Authority, Leaf, REVIEWS, changed, dns};
use super::scene::{
    BOTH, calls, client, empty_store, exactly, is_called, server, store_with, their_client,
    their_server,
};
use crate::tls::roots::Roots;
use crate::tls::store::Store;
use crate::tls::{Material, Settings};

const OURS: &str = "cluster.local";
const PARTNER: &str = "partner.example";
const THEIRS: &str = "spiffe://partner.example/ns/default/sa/reviews";

fn domain(name: &str) -> TrustDomain {
    name.parse().unwrap()
}

fn bound(sets: &[(&str, &[&Authority])]) -> Roots {
    let pem = |roots: &[&Authority]| roots.iter().map(|it| it.pem()).collect::<String>();
    let sets: Vec<_> = sets
        .iter()
        .map(|(name, roots)| (domain(name), pem(roots)))
        .collect();
    let sets = sets
        .iter()
        .map(|(name, pem)| (name.clone(), pem.as_bytes()));
    Roots::by_trust_domain(sets).unwrap()
}

fn believing(own: &Leaf, roots: Roots) -> Arc<Store> {
    let store = empty_store();
    offer(&store, own, roots).unwrap();
    store
}

fn offer(store: &Store, own: &Leaf, roots: Roots) -> Result<u64, String> {
    let Material { identity, .. } = own.material(&[&Authority::new("any")]);
    let material = Material::new(identity, roots, "the test's bundles");
    store.offer(&material).map_err(|error| error.to_string())
}

/// What both directions say of a peer that shows this.
pub(super) async fn meets(
    store: &Arc<Store>,
    rule: &PeerRule,
    leaf: &Leaf,
    root: &Authority,
) -> [Option<String>; 2] {
    let client = client(store, rule.clone());
    let server = server(store, rule.clone());
    let theirs = Arc::new(their_server(leaf, root, BOTH[0]));
    let called = calls(&client, &theirs, Http1).await;
    let theirs = Arc::new(their_client(Some(leaf), BOTH[0]));
    let came = is_called(&server, &theirs).await;
    [
        called.err().map(|error| error.to_string()),
        came.err().map(|(error, _)| error.to_string()),
    ]
}

#[tokio::test]
async fn a_root_of_one_domain_cannot_vouch_for_another() {
    let [a, b] = ["a", "b"].map(Authority::new);
    let ours = a.workload(REVIEWS);
    let by_domain = believing(&ours, bound(&[(OURS, &[&a]), (PARTNER, &[&b])]));
    let both = format!("{}{}", a.pem(), b.pem());
    let unbound = believing(&ours, Roots::from_pem(both.as_bytes()).unwrap());
    let rules = |id: &str| {
        let domains = [domain(OURS), domain(PARTNER), domain("third.example")];
        [exactly(id), PeerRule::Domains(domains.into())]
    };
    let third = "spiffe://third.example/ns/default/sa/reviews";
    let rows = [
        (a.workload(REVIEWS), REVIEWS, None),
        (b.workload(THEIRS), THEIRS, None),
        // Each with the right name, by the root of another domain.
        (b.workload(REVIEWS), REVIEWS, Some("leads to none of them")),
        (a.workload(THEIRS), THEIRS, Some("leads to none of them")),
        (
            a.workload(third),
            third,
            Some("there is none for third.example, only for cluster.local, partner.example"),
        ),
    ];
    for (at, (leaf, id, says)) in rows.iter().enumerate() {
        for rule in rules(id) {
            for told in meets(&by_domain, &rule, leaf, &a).await {
                match (says, told) {
                    (None, None) => {}
                    (Some(says), Some(told)) => assert!(told.contains(says), "{at}: {told}"),
                    (says, told) => panic!("{at}: {told:?} in the place of {says:?}"),
                }
            }
            // The control: roots that are bound to nothing let each through.
            assert_eq!(meets(&unbound, &rule, leaf, &a).await, [None, None], "{at}");
        }
    }
}

/// A control plane is known by its host's name.
#[tokio::test]
async fn who_is_no_workload_is_of_our_own_domain() {
    let [a, b] = ["a", "b"].map(Authority::new);
    let by_domain = believing(
        &a.workload(REVIEWS),
        bound(&[(OURS, &[&a]), (PARTNER, &[&b])]),
    );
    let host = PeerRule::Host("istiod.istio-system.svc".into());
    let named = |root: &Authority| {
        root.issue(&changed(|params| {
            params.subject_alt_names = vec![dns("istiod.istio-system.svc")];
        }))
    };
    assert_eq!(meets(&by_domain, &host, &named(&a), &a).await, [None, None]);
    for told in meets(&by_domain, &host, &named(&b), &a).await {
        assert!(told.unwrap().contains("leads to none"));
    }
    let two = a.issue(&super::pki::named(&[REVIEWS, THEIRS]));
    for told in meets(&by_domain, &host, &two, &a).await {
        let told = told.unwrap();
        assert!(
            told.contains("of it no domain can be told") && told.contains("2 URI names"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_domain_that_is_not_federated_with_any_more_is_judged_again() {
    let [a, b] = ["a", "b"].map(Authority::new);
    let ours = a.workload(REVIEWS);
    let store = believing(&ours, bound(&[(OURS, &[&a]), (PARTNER, &[&b])]));
    let server = server(&store, exactly(THEIRS));
    let theirs = Arc::new(their_client(Some(&b.workload(THEIRS)), BOTH[0]));
    let met = is_called(&server, &theirs).await.unwrap();
    offer(&store, &ours, bound(&[(OURS, &[&a]), (PARTNER, &[&b])])).unwrap();
    assert_eq!(store.believed(), 1, "the same bundles are no news");
    server.still_takes(&met.proof).unwrap();
    // The root stays, and is another's.
    offer(&store, &ours, bound(&[(OURS, &[&a, &b])])).unwrap();
    assert_eq!(store.believed(), 2);
    server.still_takes(&met.proof).unwrap_err();
}

#[test]
fn our_own_domain_must_have_roots() {
    let [a, b] = ["a", "b"].map(Authority::new);
    let store = empty_store();
    let told = offer(&store, &a.workload(REVIEWS), bound(&[(PARTNER, &[&a])])).unwrap_err();
    assert!(told.contains("there is none for cluster.local"), "{told}");
    let told = offer(&store, &a.workload(REVIEWS), bound(&[(OURS, &[&b])])).unwrap_err();
    assert!(told.contains("leads to none"), "{told}");
    offer(&store, &a.workload(REVIEWS), bound(&[(OURS, &[&b, &a])])).unwrap();
}

fn bundle_map(bundles: &[(&str, &[&Authority])]) -> String {
    let domains = bundles.iter().map(|(name, roots)| {
        let keys = roots.iter().map(|root| {
            let pem = root.pem();
            let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            format!(r#"{{"kty":"EC","use":"x509-svid","x5c":["{base64}"]}}"#)
        });
        let keys: Vec<_> = keys
            .chain([r#"{"kty":"EC","use":"jwt-svid","kid":"k"}"#.to_owned()])
            .collect();
        format!(
            r#""{name}":{{"spiffe_sequence":1,"keys":[{}]}}"#,
            keys.join(",")
        )
    });
    format!(
        r#"{{"trust_domains":{{{}}}}}"#,
        domains.collect::<Vec<_>>().join(",")
    )
}

#[test]
fn a_bundle_map_is_read_as_it_is_written() {
    let [a, b] = ["a", "b"].map(Authority::new);
    let good = bundle_map(&[(OURS, &[&a, &b]), (PARTNER, &[&b])]);
    let read = Roots::from_trust_bundle_map(good.as_bytes()).unwrap();
    assert_eq!(read, bound(&[(OURS, &[&a, &b]), (PARTNER, &[&b])]));
    let rows = [
        ("{", "not valid JSON"),
        ("{}", "no object \"trust_domains\""),
        (r#"{"trust_domains":{}}"#, "there is no trust domain"),
        (
            r#"{"trust_domains":{"Cluster.Local":{"keys":[]}}}"#,
            "it is no trust domain",
        ),
        (r#"{"trust_domains":{"a":{}}}"#, "no list \"keys\""),
        (r#"{"trust_domains":{"a":{"keys":[]}}}"#, "no key of use"),
        (
            r#"{"trust_domains":{"a":{"keys":[{"use":"x509-svid"}]}}}"#,
            "keys[0]: \"x5c\" is no list",
        ),
        (
            r#"{"trust_domains":{"a":{"keys":[{"use":"x509-svid","x5c":["a","b"]}]}}}"#,
            "keys[0]: \"x5c\" is no list",
        ),
        (
            r#"{"trust_domains":{"a":{"keys":[{"use":"x509-svid","x5c":["a\n-----"]}]}}}"#,
            "no base64",
        ),
    ];
    for (json, says) in rows {
        let told = Roots::from_trust_bundle_map(json.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(told.contains(says), "{told}");
    }
    let store = empty_store();
    let garbage =
        r#"{"trust_domains":{"cluster.local":{"keys":[{"use":"x509-svid","x5c":["AAAA"]}]}}}"#;
    let roots = Roots::from_trust_bundle_map(garbage.as_bytes()).unwrap();
    let told = offer(&store, &a.workload(REVIEWS), roots).unwrap_err();
    assert!(
        told.contains("of cluster.local: root certificate 1"),
        "{told}"
    );
}

#[tokio::test]
async fn a_folder_may_have_a_bundle_map_in_the_place_of_roots() {
    use crate::tls::files::{Files, consistent};
    use crate::tls::provider::{CertificateProvider, Certificates};
    let [a, b] = ["a", "b"].map(Authority::new);
    let folder = tempfile::TempDir::new().unwrap();
    let leaf = a.workload(REVIEWS);
    let map = folder.path().join("bundles.json");
    std::fs::write(folder.path().join("tls.crt"), &leaf.pem).unwrap();
    std::fs::write(folder.path().join("tls.key"), leaf.key.serialize_pem()).unwrap();
    std::fs::write(&map, bundle_map(&[(OURS, &[&a]), (PARTNER, &[&b])])).unwrap();
    // The control: without it there are no roots.
    let missing = consistent(folder.path(), None)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(missing.contains("ca.crt"), "{missing}");
    let store = empty_store();
    let files = Arc::new(Files::new(folder.path()).trust_bundle_map(&map));
    let mut changes = store.changes();
    tokio::spawn(files.feed(Certificates::of(&store)));
    let changed = tokio::time::timeout(std::time::Duration::from_secs(30), changes.changed());
    changed.await.unwrap().unwrap();
    let rule = exactly(REVIEWS);
    assert_eq!(meets(&store, &rule, &leaf, &a).await, [None, None]);
    for told in meets(&store, &rule, &b.workload(REVIEWS), &a).await {
        assert!(told.unwrap().contains("bundles.json"));
    }
}

#[tokio::test]
async fn aliases_are_of_the_mesh_where_they_are_named() {
    let root = Authority::new("the mesh");
    let old = root.workload("spiffe://old.name/ns/default/sa/reviews");
    let other = root.workload("spiffe://old.name.evil/ns/default/sa/reviews");
    let mut settings = Settings::default();
    settings.aliases = [domain("old.name")].into();
    for (settings, knows) in [(settings, true), (Settings::default(), false)] {
        let store = store_with(settings);
        store
            .offer(&root.workload(REVIEWS).material(&[&root]))
            .unwrap();
        for told in meets(&store, &PeerRule::InMesh, &old, &root).await {
            assert_eq!(told.is_none(), knows, "{told:?}");
        }
        for told in meets(&store, &PeerRule::InMesh, &other, &root).await {
            assert!(told.unwrap().contains("not ours"));
        }
    }
}
