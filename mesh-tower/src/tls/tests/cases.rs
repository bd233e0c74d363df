//! Certificates with one fault each, and what mends it.

use mesh_core::identity::PeerRule;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};

use super::pki::{Authority, Leaf, REVIEWS, changed, dns, named, raw_names};
use super::scene::is_reviews;
use crate::tls::trust::Role;

pub(super) struct Case {
    pub(super) name: &'static str,
    /// None shows no certificate.
    pub(super) faulty: Option<Leaf>,
    pub(super) mended: Leaf,
    /// What the error says of it.
    says: &'static [&'static str],
    /// Whether a rule that takes any workload of the trust domain finds it, too.
    everywhere: bool,
}

impl Case {
    fn new(name: &'static str, faulty: Leaf, mended: Leaf, says: &'static [&'static str]) -> Self {
        Self {
            name,
            faulty: Some(faulty),
            mended,
            says,
            everywhere: true,
        }
    }

    /// The rules that it is tried under.
    pub(super) fn rules(&self) -> Vec<PeerRule> {
        let domain = "cluster.local".parse().unwrap();
        let mut all = vec![is_reviews()];
        if self.everywhere {
            all.extend([PeerRule::Domains([domain].into()), PeerRule::InMesh]);
        }
        all
    }

    pub(super) fn is_told_by(&self, text: &str) {
        for part in self.says {
            assert!(
                text.contains(part),
                "{}: {part:?} is not in {text:?}",
                self.name
            );
        }
    }
}

pub(super) fn all(root: &Authority, role: Role) -> Vec<Case> {
    let mut all = roots(root);
    all.extend(leaves(root, role));
    all.extend(intermediates(root));
    all.extend(lists(root));
    all.extend(ids(root));
    if role == Role::Client {
        let mut none = Case::new(
            "no certificate",
            root.workload(REVIEWS),
            root.workload(REVIEWS),
            &["shows no certificate"],
        );
        none.faulty = None;
        all.push(none);
    }
    assert!(all.len() >= 15);
    all
}

/// Whose roots were asked.
const BY: &str = "roots of the test's files";

fn roots(root: &Authority) -> Vec<Case> {
    let good = || root.workload(REVIEWS);
    let other = Authority::new("another mesh");
    let twin = Authority::new("the mesh");
    let own = Leaf::self_signed(&named(&[REVIEWS]));
    let bring = other.workload(REVIEWS).with(&other);
    let says = &["leads to none", BY, REVIEWS];
    vec![
        Case::new("wrong root", other.workload(REVIEWS), good(), says),
        Case::new("wrong root that is brought along", bring, good(), says),
        Case::new("signed by itself", own, good(), says),
        Case::new(
            "root of the same name",
            twin.workload(REVIEWS),
            good(),
            &["a signature of its chain is wrong", BY],
        ),
    ]
}

fn leaves(root: &Authority, role: Role) -> Vec<Case> {
    let good = || root.workload(REVIEWS);
    let with = |change: &dyn Fn(&mut CertificateParams)| root.issue(&changed(change));
    let other_use = match role {
        Role::Server => ExtendedKeyUsagePurpose::ClientAuth,
        Role::Client => ExtendedKeyUsagePurpose::ServerAuth,
    };
    let expired = with(&|params| params.not_after = date_time_ymd(2001, 1, 1));
    let future = with(&|params| params.not_before = date_time_ymd(4000, 1, 1));
    let other_use = with(&|params| params.extended_key_usages = vec![other_use.clone()]);
    let authority = with(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    vec![
        Case::new("expired", expired, good(), &["expired", BY]),
        Case::new("not yet valid", future, good(), &["is valid only in", BY]),
        Case::new(
            "wrong use",
            other_use,
            good(),
            &["extended key usage does not allow", BY],
        ),
        Case::new(
            "an authority itself",
            authority,
            good(),
            &["CaUsedAsEndEntity", BY],
        ),
        Case::new(
            "key of another",
            good().with_key_of(good()),
            good(),
            &["does not hold the key", REVIEWS],
        ),
    ]
}

fn intermediates(root: &Authority) -> Vec<Case> {
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let below = |is_ca, year| {
        let issuer = root.below_until("between", is_ca, year);
        issuer.workload(REVIEWS).with(&issuer)
    };
    let good = root.below("between", ca);
    let without = good.workload(REVIEWS);
    let mended = || good.workload(REVIEWS).with(&good);
    vec![
        Case::new(
            "missing",
            without,
            mended(),
            &["an intermediate may be missing", BY],
        ),
        Case::new(
            "no CA",
            below(IsCa::ExplicitNoCa, 4096),
            mended(),
            &["EndEntityUsedAsCa", BY],
        ),
        Case::new(
            "not said to be a CA",
            below(IsCa::NoCa, 4096),
            mended(),
            &["EndEntityUsedAsCa", BY],
        ),
        Case::new(
            "expired",
            below(ca, 2001),
            mended(),
            &["certificate above it, expired", BY],
        ),
    ]
}

fn lists(root: &Authority) -> Vec<Case> {
    let id = REVIEWS.as_bytes();
    let of = |uris: &[&str]| root.issue(&named(uris));
    let raw = |names: &[(u8, &[u8])]| {
        let mut params = named(&[]);
        params.custom_extensions = vec![raw_names(names)];
        root.issue(&params)
    };
    let one = || raw(&[(0x86, id)]);
    let unreadable = raw(&[(0x86, id), (0x86, b"\xff\xfe")]);
    let broken = raw(&[(0x86, id), (0x30, b"\x01")]);
    let in_dns = changed(|params| params.subject_alt_names = vec![dns(REVIEWS)]);
    let beside = changed(|params| params.subject_alt_names.push(dns("reviews")));
    let twice = changed(|params| params.custom_extensions = vec![raw_names(&[(0x86, id)])]);
    let two = of(&[REVIEWS, "spiffe://cluster.local/ns/default/sa/other"]);
    vec![
        Case::new(
            "no name at all",
            of(&[]),
            of(&[REVIEWS]),
            &["no URI name", "no names"],
        ),
        Case::new(
            "two URIs",
            two,
            of(&[REVIEWS]),
            &["2 URI names", "sa/other"],
        ),
        Case::new(
            "the same URI twice",
            of(&[REVIEWS, REVIEWS]),
            of(&[REVIEWS]),
            &["2 URI names"],
        ),
        Case::new(
            "a second URI that cannot be read",
            unreadable,
            one(),
            &["2 URI names", "1 unreadable URI"],
        ),
        Case::new("no list of names", broken, one(), &["cannot be read"]),
        Case::new(
            "two lists of names",
            root.issue(&twice),
            of(&[REVIEWS]),
            &["cannot be read"],
        ),
        Case::new(
            "a DNS name for the URI",
            root.issue(&in_dns),
            root.issue(&beside),
            &["no URI name", "DNS:spiffe://"],
        ),
    ]
}

/// Ids of other trust domains.
const FOREIGN: [(&str, &str); 3] = [
    (
        "behind the domain",
        "spiffe://cluster.local.evil/ns/default/sa/reviews",
    ),
    (
        "before the domain",
        "spiffe://evil.cluster.local/ns/default/sa/reviews",
    ),
    (
        "other sign in it",
        "spiffe://cluster-local/ns/default/sa/reviews",
    ),
];

/// What one reader might take for the id, and another one not.
const NO_IDS: [(&str, &str); 13] = [
    (
        "domain in capitals",
        "spiffe://CLUSTER.LOCAL/ns/default/sa/reviews",
    ),
    (
        "domain as a user",
        "spiffe://cluster.local@evil/ns/default/sa/reviews",
    ),
    (
        "domain with a port",
        "spiffe://cluster.local:80/ns/default/sa/reviews",
    ),
    (
        "path that goes up",
        "spiffe://cluster.local/ns/x/../default/sa/reviews",
    ),
    (
        "percent-encoded",
        "spiffe://cluster.local/ns/default/sa/review%73",
    ),
    (
        "a slash too many",
        "spiffe://cluster.local/ns/default/sa/reviews/",
    ),
    (
        "an empty segment",
        "spiffe://cluster.local//ns/default/sa/reviews",
    ),
    ("a query", "spiffe://cluster.local/ns/default/sa/reviews?"),
    (
        "a fragment",
        "spiffe://cluster.local/ns/default/sa/reviews#x",
    ),
    (
        "a NUL behind",
        "spiffe://cluster.local/ns/default/sa/reviews\0.evil",
    ),
    (
        "scheme in capitals",
        "SPIFFE://cluster.local/ns/default/sa/reviews",
    ),
    (
        "another scheme",
        "https://cluster.local/ns/default/sa/reviews",
    ),
    ("the domain's own id", "spiffe://cluster.local"),
];

/// Other workloads of the same trust domain.
const OTHERS: [(&str, &str); 6] = [
    (
        "another service account",
        "spiffe://cluster.local/ns/default/sa/ratings",
    ),
    (
        "another namespace",
        "spiffe://cluster.local/ns/evil/sa/reviews",
    ),
    (
        "a longer account",
        "spiffe://cluster.local/ns/default/sa/reviews2",
    ),
    (
        "a shorter account",
        "spiffe://cluster.local/ns/default/sa/review",
    ),
    (
        "a path behind",
        "spiffe://cluster.local/ns/default/sa/reviews/x",
    ),
    (
        "account in capitals",
        "spiffe://cluster.local/ns/default/sa/Reviews",
    ),
];

fn ids(root: &Authority) -> Vec<Case> {
    let case = |name, uri, says| Case::new(name, root.workload(uri), root.workload(REVIEWS), says);
    let foreign = FOREIGN.map(|(name, uri)| case(name, uri, &["not of whom we want", BY]));
    let no_ids = NO_IDS.map(|(name, uri)| case(name, uri, &["no SPIFFE id"]));
    let others = OTHERS.map(|(name, uri)| {
        let mut case = case(name, uri, &["none of the names", REVIEWS, BY]);
        case.everywhere = false;
        case
    });
    foreign.into_iter().chain(no_ids).chain(others).collect()
}
