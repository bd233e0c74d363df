//! Hash policies and what decides among the clusters of a split. Which of 16 clusters a request goes to was
//! asked of Envoy 1.40 (`use_hash_policy` over 16 clusters of weight 1).

use http::request::Parts;
use mesh_core::RequestView;
use mesh_core::matcher::Substitution;
use mesh_core::request::HeaderKey;
use mesh_core::route::{
    Choice, ClusterIndex, Forward, HashPolicies, HashPolicy, Hashed, Split, SplitBy,
};
use parts::parts;
use rand::SeedableRng;
use rand::rngs::StdRng;

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/parts.rs"]
mod parts;

fn view(parts: &Parts) -> RequestView<'_> {
    RequestView::of(&parts.method, &parts.uri, &parts.headers)
}

fn key(name: &str) -> HeaderKey {
    HeaderKey::parse(name).expect("a header name")
}

fn header(name: &str) -> HashPolicy {
    HashPolicy {
        of: Hashed::Header(key(name), None),
        terminal: false,
    }
}

fn one(of: Hashed) -> Vec<HashPolicy> {
    vec![HashPolicy {
        of,
        terminal: false,
    }]
}

fn split(by: SplitBy, policies: Vec<HashPolicy>) -> Forward {
    let choices = (0..16).map(|at| (Choice::plain(ClusterIndex(at)), 1));
    Forward {
        by,
        hash: HashPolicies::new(policies),
        ..Forward::split(Split::new(choices).expect("weights"))
    }
}

/// Where all draws of a request lead; `None` when they differ.
fn cluster(forward: &Forward, path: &str, lines: &[(&str, &str)]) -> Option<u32> {
    let parts = parts(&format!("http://h{path}"), lines);
    let mut rng = StdRng::seed_from_u64(71);
    let mut chosen = (0..8).map(|_| forward.choose(&view(&parts), &mut rng).cluster.0);
    let first = chosen.next()?;
    chosen.all(|other| other == first).then_some(first)
}

#[test]
fn a_hash_chooses_the_cluster_that_envoy_chooses() {
    let x = || vec![header("x")];
    let both = || vec![header("x"), header("y")];
    let terminal = || {
        let mut policies = both();
        policies[0].terminal = true;
        policies
    };
    let cookie = || one(Hashed::Cookie(Box::from(&b"s"[..])));
    let query = || one(Hashed::QueryParameter(Box::from(&b"q"[..])));
    let rewritten = Substitution::new("a", "b").expect("a pattern");
    let regex = || one(Hashed::Header(key("x"), Some(rewritten.clone())));
    for (policies, path, lines, expected) in [
        (x(), "/", &[("x", "a")][..], Some(11)),
        (x(), "/", &[("x", "foo")], Some(15)),
        (x(), "/", &[("x", "a"), ("x", "b")], Some(6)),
        (x(), "/", &[("x", "b"), ("x", "a")], Some(6)),
        (x(), "/", &[("x", "a,b")], Some(0)),
        (x(), "/", &[("x", "")], Some(9)),
        (x(), "/", &[], None),
        (both(), "/", &[("x", "a"), ("y", "b")], Some(12)),
        (both(), "/", &[("x", "a"), ("y", "a")], Some(12)),
        (both(), "/", &[("y", "b")], Some(11)),
        (terminal(), "/", &[("x", "a"), ("y", "b")], Some(11)),
        (terminal(), "/", &[("y", "b")], Some(11)),
        (cookie(), "/", &[("cookie", "t=1; s=foo")], Some(15)),
        (cookie(), "/", &[("cookie", "s=\"foo\"")], Some(15)),
        (cookie(), "/", &[("cookie", "s=")], None),
        (cookie(), "/", &[("cookie", "s")], None),
        (cookie(), "/", &[("cookie", "s=a; s=b")], Some(11)),
        (cookie(), "/", &[], None),
        (query(), "/?q=foo", &[], Some(15)),
        (query(), "/?q=f%6fo", &[], Some(13)),
        (query(), "/?q=", &[], Some(9)),
        (query(), "/?q", &[], Some(9)),
        (query(), "/?a=1&q=foo", &[], Some(15)),
        (query(), "/?q=a&q=b", &[], Some(11)),
        (query(), "/", &[], None),
        (regex(), "/", &[("x", "a")], Some(11)),
        (regex(), "/", &[("x", "caa")], Some(12)),
        (regex(), "/", &[("x", "ca"), ("x", "b")], Some(12)),
        (vec![header(":path")], "/6/x?y", &[], Some(15)),
        (vec![header(":authority")], "/", &[], Some(15)),
        (vec![header(":method")], "/", &[], Some(7)),
        (vec![header("host")], "/", &[], Some(15)),
        (vec![], "/", &[("x", "a")], None),
    ] {
        let shown = format!("{policies:?} {path} {lines:?}");
        let forward = split(SplitBy::Hash, policies);
        assert_eq!(cluster(&forward, path, lines), expected, "{shown}");
    }
}

#[test]
fn a_number_in_a_header_chooses_the_cluster() {
    let x = http::HeaderName::from_static("x");
    let forward = split(SplitBy::Header(x), vec![header("x")]);
    for (value, expected) in [
        ("0", Some(0)),
        ("5", Some(5)),
        ("16", Some(0)),
        ("17", Some(1)),
        ("+5", Some(5)),
        (" 7", Some(7)),
        ("05", Some(5)),
        ("18446744073709551615", Some(15)),
        ("18446744073709551616", None),
        ("-1", None),
        ("7a", None),
        ("0x5", None),
        ("", None),
    ] {
        assert_eq!(
            cluster(&forward, "/", &[("x", value)]),
            expected,
            "{value:?}"
        );
    }
    // Several numbers would choose now this, now that.
    assert_eq!(cluster(&forward, "/", &[("x", "5"), ("x", "5")]), None);
    assert_eq!(cluster(&forward, "/", &[]), None);
}

/// Without a policy of the split, a header decides nothing.
#[test]
fn a_split_at_random_looks_at_no_header() {
    let forward = split(SplitBy::Random, vec![header("x")]);
    assert_eq!(cluster(&forward, "/", &[("x", "5")]), None);
}
