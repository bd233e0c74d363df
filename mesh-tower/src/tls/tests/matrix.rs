//! Peers with one fault each, in both directions and both versions of TLS. Each is refused for its fault, and gets through
//! when that one fault is mended.

use std::sync::Arc;

use mesh_core::cluster::Protocol;
use mesh_core::identity::{Peer, PeerRule};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};

use super::pki::{Authority, Leaf, REVIEWS, changed, dns, named, raw_names};
use super::scene::{
    BOTH, Met, calls, client, is_called, is_reviews, server, store, their_client, their_server,
};
use crate::tls::verify::Role;

/// Whose roots were asked.
const BY: &str = "roots of the test's files";

struct Case {
    name: &'static str,
    /// None shows no certificate.
    faulty: Option<Leaf>,
    mended: Leaf,
    /// What the error says of it.
    says: &'static [&'static str],
    /// Whether the fault is one for a rule that takes any workload of the trust domain.
    everywhere: bool,
}

fn case(
    name: &'static str,
    faulty: impl Into<Option<Leaf>>,
    mended: Leaf,
    says: &'static [&'static str],
) -> Case {
    Case {
        name,
        faulty: faulty.into(),
        mended,
        says,
        everywhere: true,
    }
}

fn chains(root: &Authority, role: Role) -> Vec<Case> {
    let good = || root.workload(REVIEWS);
    let ca = || IsCa::Ca(BasicConstraints::Unconstrained);
    let between = root.below("between", ca());
    let stale = root.below_until("stale", ca(), 2001);
    let fresh = root.below("fresh", ca());
    let no_ca = root.below("no authority", IsCa::ExplicitNoCa);
    let plain = root.below("not said to be one", IsCa::NoCa);
    let other_use = match role {
        Role::Server => ExtendedKeyUsagePurpose::ClientAuth,
        Role::Client => ExtendedKeyUsagePurpose::ServerAuth,
    };
    let only_other = changed(|params| params.extended_key_usages = vec![other_use]);
    let expired = changed(|params| params.not_after = date_time_ymd(2001, 1, 1));
    let future = changed(|params| params.not_before = date_time_ymd(4000, 1, 1));
    let authority = changed(|params| params.is_ca = ca());
    let other = Authority::new("another mesh");
    let twin = Authority::new("the mesh");
    vec![
        case(
            "wrong root",
            other.workload(REVIEWS),
            good(),
            &["leads to none", "roots of the test's files", REVIEWS],
        ),
        case(
            "wrong root that brings itself along",
            other.workload(REVIEWS).with(&other),
            good(),
            &["leads to none", BY],
        ),
        case(
            "root of the same name, another key",
            twin.workload(REVIEWS),
            good(),
            &["a signature of its chain is wrong", BY],
        ),
        case(
            "signed by itself",
            Leaf::self_signed(&named(&[REVIEWS])),
            good(),
            &["leads to none", BY],
        ),
        case("expired", root.issue(&expired), good(), &["expired", BY]),
        case(
            "not yet valid",
            root.issue(&future),
            good(),
            &["is valid only in", BY],
        ),
        case(
            "wrong use",
            root.issue(&only_other),
            good(),
            &["extended key usage does not allow", BY],
        ),
        case(
            "an authority itself",
            root.issue(&authority),
            good(),
            &["CaUsedAsEndEntity", BY],
        ),
        case(
            "issuer is no CA",
            no_ca.workload(REVIEWS).with(&no_ca),
            between.workload(REVIEWS).with(&between),
            &["EndEntityUsedAsCa", BY],
        ),
        case(
            "issuer does not say that it is one",
            plain.workload(REVIEWS).with(&plain),
            between.workload(REVIEWS).with(&between),
            &["EndEntityUsedAsCa", BY],
        ),
        case(
            "missing intermediate",
            between.workload(REVIEWS),
            between.workload(REVIEWS).with(&between),
            &["an intermediate may be missing", BY],
        ),
        case(
            "expired intermediate",
            stale.workload(REVIEWS).with(&stale),
            fresh.workload(REVIEWS).with(&fresh),
            &["certificate above it, expired", BY],
        ),
        case(
            "key of another",
            good().with_key_of(good()),
            good(),
            &["does not hold the key", REVIEWS],
        ),
    ]
}

fn names(root: &Authority) -> Vec<Case> {
    let good = || root.workload(REVIEWS);
    let is = |uri: &str| root.workload(uri);
    let two = named(&[REVIEWS, "spiffe://cluster.local/ns/default/sa/other"]);
    let with_raw = |names: &[(u8, &[u8])]| {
        let mut params = named(&[]);
        params.custom_extensions = vec![raw_names(names)];
        root.issue(&params)
    };
    let in_dns = changed(|params| params.subject_alt_names = vec![dns(REVIEWS)]);
    let beside_dns = changed(|params| params.subject_alt_names.push(dns("reviews")));
    let id = REVIEWS.as_bytes();
    let twice = changed(|params| params.custom_extensions = vec![raw_names(&[(0x86, id)])]);
    vec![
        case(
            "no name at all",
            root.issue(&named(&[])),
            good(),
            &["no URI name", "no names"],
        ),
        case(
            "two URIs",
            root.issue(&two),
            good(),
            &["2 URI names", "sa/other"],
        ),
        case(
            "the same URI twice",
            root.issue(&named(&[REVIEWS, REVIEWS])),
            good(),
            &["2 URI names"],
        ),
        case(
            "a second URI that cannot be read",
            with_raw(&[(0x86, id), (0x86, b"\xff\xfe")]),
            with_raw(&[(0x86, id)]),
            &["2 URI names", "1 unreadable URI"],
        ),
        case(
            "names that are no list",
            with_raw(&[(0x86, id), (0x30, b"\x01")]),
            with_raw(&[(0x86, id)]),
            &["cannot be read"],
        ),
        case(
            "two lists of names",
            root.issue(&twice),
            good(),
            &["cannot be read"],
        ),
        case(
            "a DNS name in the URI's place",
            root.issue(&in_dns),
            root.issue(&beside_dns),
            &["no URI name", "DNS:spiffe://"],
        ),
        case(
            "look-alike behind the domain",
            is("spiffe://cluster.local.evil/ns/default/sa/reviews"),
            good(),
            &["cluster.local.evil"],
        ),
        case(
            "look-alike before the domain",
            is("spiffe://evil.cluster.local/ns/default/sa/reviews"),
            good(),
            &["evil.cluster.local"],
        ),
        case(
            "domain in capitals",
            is("spiffe://CLUSTER.LOCAL/ns/default/sa/reviews"),
            good(),
            &["no SPIFFE id"],
        ),
        case(
            "domain as a user",
            is("spiffe://cluster.local@evil/ns/default/sa/reviews"),
            good(),
            &["no SPIFFE id"],
        ),
        case(
            "domain with a port",
            is("spiffe://cluster.local:80/ns/default/sa/reviews"),
            good(),
            &["no SPIFFE id"],
        ),
        case(
            "path that goes up",
            is("spiffe://cluster.local/ns/x/../default/sa/reviews"),
            good(),
            &["no SPIFFE id"],
        ),
        case(
            "percent-encoded path",
            is("spiffe://cluster.local/ns/default/sa/review%73"),
            good(),
            &["no SPIFFE id"],
        ),
        case(
            "a slash too many",
            is("spiffe://cluster.local/ns/default/sa/reviews/"),
            good(),
            &["no SPIFFE id"],
        ),
        case(
            "a NUL behind",
            is("spiffe://cluster.local/ns/default/sa/reviews\0.evil"),
            good(),
            &["no SPIFFE id"],
        ),
        case(
            "another scheme",
            is("https://cluster.local/ns/default/sa/reviews"),
            good(),
            &["no SPIFFE id"],
        ),
        case(
            "the domain's own id",
            is("spiffe://cluster.local"),
            good(),
            &["no SPIFFE id"],
        ),
        Case {
            everywhere: false,
            ..case(
                "another service account",
                is("spiffe://cluster.local/ns/default/sa/ratings"),
                good(),
                &["sa/ratings", REVIEWS],
            )
        },
        Case {
            everywhere: false,
            ..case(
                "another namespace",
                is("spiffe://cluster.local/ns/evil/sa/reviews"),
                good(),
                &["ns/evil", REVIEWS],
            )
        },
        Case {
            everywhere: false,
            ..case(
                "longer account",
                is("spiffe://cluster.local/ns/default/sa/reviews2"),
                good(),
                &["reviews2", REVIEWS],
            )
        },
    ]
}

/// The rules under which a case is tried.
fn rules(case: &Case) -> Vec<PeerRule> {
    let domain = "cluster.local".parse().unwrap();
    let mut all = vec![is_reviews()];
    if case.everywhere {
        all.extend([PeerRule::Domains([domain].into()), PeerRule::InMesh]);
    }
    all
}

fn is_proven(met: &Met) {
    let Peer::Proven(certificate) = met.proof.peer() else {
        panic!("nobody was proven");
    };
    assert_eq!(certificate.spiffe.as_ref().unwrap().as_str(), REVIEWS);
}

fn says(case: &Case, text: &str) {
    for part in case.says {
        assert!(
            text.contains(part),
            "{}: {part:?} is not in {text:?}",
            case.name
        );
    }
}

#[tokio::test]
async fn a_server_with_one_fault_is_refused_for_it() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let mut cases = chains(&root, Role::Server);
    cases.extend(names(&root));
    assert!(cases.len() >= 15);
    for case in &cases {
        for rule in rules(case) {
            let client = client(&store, rule);
            for version in BOTH {
                let theirs = |leaf| Arc::new(their_server(leaf, &root, version));
                let faulty = theirs(case.faulty.as_ref().unwrap());
                let refused = calls(&client, &faulty, Protocol::Http1, None).await;
                let text = refused.expect_err(case.name).to_string();
                says(case, &text);
                assert!(
                    text.starts_with("cluster outbound|9080||reviews: we refused the peer"),
                    "{text}"
                );
                let mended = calls(&client, &theirs(&case.mended), Protocol::Http1, None).await;
                is_proven(&mended.expect(case.name));
            }
        }
    }
}

#[tokio::test]
async fn a_client_with_one_fault_is_refused_for_it() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let mut cases = chains(&root, Role::Client);
    cases.extend(names(&root));
    cases.push(case(
        "no certificate",
        None,
        root.workload(REVIEWS),
        &["shows no certificate"],
    ));
    assert!(cases.len() >= 15);
    for case in &cases {
        for rule in rules(case) {
            let server = server(&store, rule);
            for version in BOTH {
                let theirs = |leaf| Arc::new(their_client(leaf, version));
                let refused = is_called(&server, &theirs(case.faulty.as_ref())).await;
                let (error, _) = refused.expect_err(case.name);
                let text = error.to_string();
                says(case, &text);
                assert!(
                    text.starts_with("chain 0.0.0.0_9080: we refused the peer"),
                    "{text}"
                );
                let mended = is_called(&server, &theirs(Some(&case.mended))).await;
                is_proven(&mended.expect(case.name));
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_without_uses_is_for_all_of_them() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let leaf = root.issue(&changed(|params| params.extended_key_usages.clear()));
    for version in BOTH {
        let theirs = Arc::new(their_server(&leaf, &root, version));
        let client = client(&store, is_reviews());
        is_proven(
            &calls(&client, &theirs, Protocol::Http2, None)
                .await
                .unwrap(),
        );
        let theirs = Arc::new(their_client(Some(&leaf), version));
        is_proven(
            &is_called(&server(&store, is_reviews()), &theirs)
                .await
                .unwrap(),
        );
    }
}
