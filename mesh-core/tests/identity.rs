//! Names of workloads and the rule that judges a peer: what is read strictly, and who is let through.

use std::sync::Arc;

use mesh_core::identity::{
    DnsPattern, Domains, Peer, PeerCertificate, PeerRule, SanFault, SanMatcher, Sans, SpiffeId,
    TrustDomain,
};
use mesh_core::matcher::StringMatcher;
use proptest::prelude::*;

#[path = "support/property.rs"]
mod property;

fn id(text: &str) -> Option<SpiffeId> {
    text.parse().ok()
}

#[test]
fn an_id_is_taken_apart() {
    let reviews = id("spiffe://cluster.local/ns/default/sa/reviews").expect("an id");
    assert_eq!(reviews.trust_domain(), "cluster.local");
    assert_eq!(reviews.path(), "/ns/default/sa/reviews");
    assert_eq!(reviews.istio(), Some(("default", "reviews")));
    // A domain's dot is none of the path's.
    let dotted = id("spiffe://td./a").expect("an id");
    assert_eq!((dotted.trust_domain(), dotted.path()), ("td.", "/a"));
    for other in ["/ns/a/sa", "/ns/a/sa/b/c", "/sa/a/ns/b", "/x", "/NS/a/sa/b"] {
        let other = id(&format!("spiffe://td{other}")).expect("an id");
        assert_eq!(other.istio(), None, "{other}");
    }
}

const NO_IDS: [(&str, &str); 48] = [
    ("empty", ""),
    ("no scheme", "td/a"),
    ("scheme alone", "spiffe://"),
    ("another scheme", "https://td/a"),
    ("upper case scheme", "SPIFFE://td/a"),
    ("mixed case scheme", "Spiffe://td/a"),
    ("one slash", "spiffe:/td/a"),
    ("three slashes", "spiffe:///a"),
    ("a blank before", " spiffe://td/a"),
    ("a blank behind", "spiffe://td/a "),
    ("a line break behind", "spiffe://td/a\n"),
    ("no path", "spiffe://td"),
    ("path of a slash", "spiffe://td/"),
    ("final slash", "spiffe://td/a/"),
    ("empty segment", "spiffe://td//a"),
    ("empty segment inside", "spiffe://td/a//b"),
    ("dot", "spiffe://td/./a"),
    ("dot at the end", "spiffe://td/a/."),
    ("two dots", "spiffe://td/a/../b"),
    ("port", "spiffe://td:443/a"),
    ("empty port", "spiffe://td:/a"),
    ("user", "spiffe://me@td/a"),
    ("user and password", "spiffe://me:pw@td/a"),
    ("upper case domain", "spiffe://TD/a"),
    ("query", "spiffe://td/a?b"),
    ("empty query", "spiffe://td/a?"),
    ("fragment", "spiffe://td/a#b"),
    ("percent-encoded path", "spiffe://td/%61"),
    ("percent-encoded slash", "spiffe://td/a%2Fb"),
    ("percent-encoded domain", "spiffe://%74d/a"),
    ("backslash", "spiffe://td\\a"),
    ("backslash in the path", "spiffe://td/a\\b"),
    ("NUL in the path", "spiffe://td/a\0b"),
    ("NUL at the end", "spiffe://td/a\0"),
    ("NUL in the domain", "spiffe://td\0.evil/a"),
    ("Cyrillic a in the path", "spiffe://td/\u{430}"),
    ("Cyrillic e in the domain", "spiffe://t\u{435}d/a"),
    ("a full-width slash", "spiffe://td\u{ff0f}a"),
    ("a fraction slash", "spiffe://td/a\u{2044}b"),
    ("a soft hyphen", "spiffe://td/a\u{ad}b"),
    ("a joiner", "spiffe://td/a\u{200d}b"),
    ("right-to-left", "spiffe://td/\u{202e}a"),
    ("star", "spiffe://td/*"),
    ("colon", "spiffe://td/a:b"),
    ("tilde", "spiffe://td/~a"),
    ("plus", "spiffe://td/a+b"),
    ("comma", "spiffe://td/a,b"),
    ("an address", "spiffe://[::1]/a"),
];

#[test]
fn strict_ids() {
    let good = [
        "spiffe://td/a",
        "spiffe://td.sub-1_x/a/B/c-d_e.f",
        "spiffe://td/...",
        "spiffe://td/.a/..b",
        "spiffe://1/2",
    ];
    for text in good {
        assert_eq!(id(text).as_ref().map(SpiffeId::as_str), Some(text));
    }
    for (what, text) in NO_IDS {
        assert_eq!(id(text), None, "{what}");
    }
}

#[test]
fn ids_have_a_longest() {
    let of = |bytes: usize| format!("spiffe://td/{}", "a".repeat(bytes - "spiffe://td/".len()));
    assert!(id(&of(2048)).is_some());
    assert!(id(&of(2049)).is_none());
    let domain = |bytes: usize| "a".repeat(bytes);
    assert!(id(&format!("spiffe://{}/a", domain(255))).is_some());
    assert!(id(&format!("spiffe://{}/a", domain(256))).is_none());
    assert!(domain(255).parse::<TrustDomain>().is_ok());
    assert!(domain(256).parse::<TrustDomain>().is_err());
}

#[test]
fn strict_trust_domains() {
    for good in ["cluster.local", "td", "a-b_c.d", "1", "xn--e1afmkfd"] {
        assert_eq!(good.parse::<TrustDomain>().unwrap().as_str(), good);
    }
    let bad = [
        "",
        "TD",
        "td/",
        "/td",
        "td:1",
        "me@td",
        "td?",
        "t d",
        "td\0",
        "t\u{435}d",
        "*",
        "*.td",
        "spiffe://td",
        "td%2e",
        "td\n",
        "td,",
    ];
    for bad in bad {
        assert!(bad.parse::<TrustDomain>().is_err(), "{bad:?}");
    }
}

/// The rule of SPIFFE-ID 2, read again in another way: by pieces and sets of characters.
fn is_id(text: &str) -> bool {
    const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789.-_";
    const ANY: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    let pieces: Vec<&str> = text.split('/').collect();
    let ["spiffe:", "", domain, path @ ..] = &pieces[..] else {
        return false;
    };
    let of = |set: &str, piece: &str| !piece.is_empty() && piece.chars().all(|c| set.contains(c));
    text.len() <= 2048
        && domain.len() <= 255
        && of(LOWER, domain)
        && !path.is_empty()
        && path
            .iter()
            .all(|one| of(ANY, one) && *one != "." && *one != "..")
}

fn pieces(all: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(all), 0..most).prop_map(|chosen| chosen.concat())
}

const PIECES: &[&str] = &[
    "/", "//", "a", "B", "ns", "sa", "/a", "/ns", "/x1", "c-d", ".", "..", "-", "_", "0", ":",
    ":80", "@", "%2f", "%", "?", "#", "\0", " ", "é", "\u{430}", "spiffe", "*",
];

/// What parses is printed the same, and nothing else parses.
#[test]
fn what_parses_is_printed_the_same() {
    let begin = prop::sample::select(
        &[
            "spiffe://",
            "spiffe://td/",
            "spiffe://td/a",
            "spiffe:/",
            "Spiffe://",
            "",
        ][..],
    );
    let (taken, left) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let texts = (begin, pieces(PIECES, 7)).prop_map(|(begin, rest)| format!("{begin}{rest}"));
    property::holds(41, 20_000, &texts, |text| {
        let parsed = id(&text);
        prop_assert_eq!(parsed.is_some(), is_id(&text), "{:?}", text);
        let counter = if parsed.is_some() { &taken } else { &left };
        counter.set(counter.get() + 1);
        if let Some(parsed) = parsed {
            prop_assert_eq!(parsed.to_string(), &*text);
            let again = format!("spiffe://{}{}", parsed.trust_domain(), parsed.path());
            prop_assert_eq!(again, text);
        }
        Ok(())
    });
    eprintln!("taken {}, refused {}", taken.get(), left.get());
    assert!(taken.get() > 500 && left.get() > 500);
}

/// Any text at all: no panic, and no id that the plain reading does not know.
#[test]
fn any_text_is_read_without_harm() {
    property::holds(42, 5_000, &any::<String>(), |text| {
        prop_assert_eq!(id(&text).is_some(), is_id(&text));
        let _ = text.parse::<TrustDomain>();
        let _ = SanMatcher::untyped(&text);
        Ok(())
    });
}

#[test]
fn names_of_hosts() {
    let rows = [
        ("reviews.example.com", "reviews.example.com", true),
        ("reviews.example.com", "REVIEWS.Example.Com", true),
        ("REVIEWS.example.com", "reviews.example.com", true),
        ("reviews.example.com", "reviews.example.com.", false),
        ("reviews.example.com", "reviews.example.co", false),
        ("reviews.example.com", "xreviews.example.com", false),
        ("reviews.example.com", "reviews.example.com\0.evil", false),
        // A wildcard of the certificate.
        ("reviews.example.com", "*.example.com", true),
        ("reviews.example.com", "*.EXAMPLE.com", true),
        ("a.reviews.example.com", "*.example.com", false),
        ("example.com", "*.example.com", false),
        ("example.com", "*.com", false),
        ("reviews", "*", false),
        ("reviews.example.com", "*", false),
        ("reviews.example.com", "*.", false),
        ("reviews.example.com", "r*.example.com", false),
        ("reviews.example.com", "*s.example.com", false),
        ("reviews.example.com", "reviews.*.com", false),
        ("reviews.example.com", "*.*.com", false),
        ("reviews.example.com", "**.example.com", false),
        // A wildcard of the pattern.
        ("*.example.com", "reviews.example.com", true),
        ("*.example.com", "a.reviews.example.com", false),
        ("*.example.com", "example.com", false),
        ("*.example.com", ".example.com", false),
        ("*.example.com", "a\0b.example.com", false),
        // Both.
        ("*.example.com", "*.example.com", true),
        ("*.example.com", "*.example.org", false),
        ("*.example.com", "*.a.example.com", false),
        ("*.a.example.com", "*.example.com", false),
        // What looks like an id is no host.
        ("td", "spiffe://td/a", false),
    ];
    for (pattern, name, expected) in rows {
        let parsed: DnsPattern = pattern.parse().expect(pattern);
        assert_eq!(parsed.meets(name), expected, "{pattern} and {name:?}");
    }
    let long = "a".repeat(64);
    let bad = [
        "",
        ".",
        "*",
        "*.",
        "*.com",
        "a..b",
        ".a",
        "a.",
        "a b",
        "a/b",
        "a:80",
        "*a.b.c",
        "a.*.c",
        "*.*.c",
        "é.com",
        "a\0",
        "spiffe://td/a",
        &long,
    ];
    for bad in bad {
        assert!(bad.parse::<DnsPattern>().is_err(), "{bad:?}");
    }
}

#[test]
fn an_untyped_matcher_becomes_one_of_its_text() {
    let kind = |text: &str| match SanMatcher::untyped(text) {
        Ok(SanMatcher::Uri(_)) => "uri",
        Ok(SanMatcher::Dns(_)) => "dns",
        Ok(SanMatcher::Ip(_)) => "ip",
        Err(_) => "none",
    };
    let rows = [
        ("spiffe://td/ns/a/sa/b", "uri"),
        ("https://example.com", "uri"),
        ("example.com", "dns"),
        ("*.example.com", "dns"),
        ("10.0.0.1", "ip"),
        ("::1", "ip"),
        ("spiffe:td", "none"),
        ("a b", "none"),
        ("", "none"),
    ];
    for (text, expected) in rows {
        assert_eq!(kind(text), expected, "{text:?}");
    }
}

const OURS: &str = "spiffe://td/ns/default/sa/reviews";

fn sans(uri: &[&str], dns: &[&str], ip: &[&str], unreadable: usize) -> Sans {
    let all = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
    Sans {
        uri: all(uri),
        dns: all(dns),
        ip: ip
            .iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect(),
        unreadable,
    }
}

fn domain(text: &str) -> TrustDomain {
    text.parse().expect("a trust domain")
}

fn own() -> Domains {
    Domains {
        own: domain("td"),
        aliases: ["old.td", "older"].map(domain).into(),
    }
}

fn exactly(texts: &[&str]) -> PeerRule {
    let matchers = texts
        .iter()
        .map(|text| SanMatcher::untyped(text).expect("a matcher"));
    PeerRule::OneOf(matchers.collect())
}

fn check(rule: &PeerRule, names: &Sans) -> Result<(), SanFault> {
    rule.check(names, Some(&own()))
}

/// One workload, and nothing else: each of the rules that mean a workload wants that.
#[test]
fn a_peer_shows_the_certificate_that_it_has_proven_alone() {
    let names = sans(&["spiffe://td/a"], &[], &[], 0);
    let certificate = Arc::new(PeerCertificate::new(names, "CN=a", [7; 32], 9));
    let proven = Peer::Proven(Arc::clone(&certificate));
    assert_eq!(proven.certificate(), Some(&certificate));
    for nobody in [Peer::Plaintext, Peer::Anonymous] {
        assert_eq!(nobody.certificate(), None);
    }
}

#[test]
fn rules_for_workloads_take_one_name_alone() {
    let rules = [
        PeerRule::InMesh,
        PeerRule::Domains([domain("td")].into()),
        exactly(&[OURS]),
        exactly(&["reviews.example.com", OURS]),
    ];
    for rule in rules {
        let fault = |names: Sans| check(&rule, &names).err();
        assert_eq!(fault(sans(&[OURS], &[], &[], 0)), None, "{rule:?}");
        let with_others = sans(&[OURS], &["reviews.example.com"], &["10.0.0.1"], 0);
        assert_eq!(fault(with_others), None, "{rule:?}");
        assert_eq!(fault(sans(&[], &[], &[], 0)), Some(SanFault::NoUri));
        // A name of a host that looks like an id is no id, and one that is asked for does not do for a workload.
        let looks = sans(&[], &[OURS, "reviews.example.com"], &[], 0);
        assert_eq!(fault(looks), Some(SanFault::NoUri));
        let two = sans(&[OURS, "spiffe://td/ns/default/sa/ratings"], &[], &[], 0);
        assert_eq!(fault(two), Some(SanFault::SeveralUris(2)));
        assert_eq!(
            fault(sans(&[OURS, OURS], &[], &[], 0)),
            Some(SanFault::SeveralUris(2))
        );
        assert_eq!(
            fault(sans(&[OURS], &[], &[], 1)),
            Some(SanFault::SeveralUris(2))
        );
        assert_eq!(fault(sans(&[], &[], &[], 1)), Some(SanFault::Unreadable));
        assert_eq!(
            fault(sans(&[], &[], &[], 3)),
            Some(SanFault::SeveralUris(3))
        );
        for no_id in [
            "https://td/a",
            "spiffe://td",
            "spiffe://td/a/",
            "spiffe://td:1/a",
        ] {
            let names = sans(&[no_id], &[], &[], 0);
            assert_eq!(fault(names), Some(SanFault::NotSpiffe(no_id.into())));
        }
    }
}

#[test]
fn a_domain_is_a_whole_one() {
    let wanted = PeerRule::Domains(["td", "other"].map(domain).into());
    let rows = [
        ("spiffe://td/a", true, true),
        ("spiffe://other/a", true, false),
        ("spiffe://old.td/a", false, true),
        ("spiffe://older/a", false, true),
        ("spiffe://td.evil/a", false, false),
        ("spiffe://t/d/a", false, false),
        ("spiffe://tdx/a", false, false),
        ("spiffe://x.td/a", false, false),
        ("spiffe://old/a", false, false),
        ("spiffe://olde/a", false, false),
        ("spiffe://evil/td/a", false, false),
    ];
    for (name, by_domains, in_mesh) in rows {
        let names = sans(&[name], &[], &[], 0);
        assert_eq!(check(&wanted, &names).is_ok(), by_domains, "{name}");
        assert_eq!(check(&PeerRule::InMesh, &names).is_ok(), in_mesh, "{name}");
        if !in_mesh {
            let foreign = SanFault::ForeignDomain(id(name).expect("an id"));
            assert_eq!(check(&PeerRule::InMesh, &names), Err(foreign));
        }
    }
}

#[test]
fn one_of_several_names() {
    let ratings = "spiffe://td/ns/default/sa/ratings";
    let rule = exactly(&[OURS, ratings]);
    assert_eq!(check(&rule, &sans(&[ratings], &[], &[], 0)), Ok(()));
    let near = [
        "spiffe://td/ns/default/sa/reviews2",
        "spiffe://td/ns/default/sa/review",
        "spiffe://td/ns/default/sa/reviews/x",
        "spiffe://td/ns/default/sa/Reviews",
        "spiffe://old.td/ns/default/sa/reviews",
    ];
    for near in near {
        let none = Err(SanFault::NoneMatches);
        assert_eq!(check(&rule, &sans(&[near], &[], &[], 0)), none);
    }
    let nobody = PeerRule::OneOf(Box::default());
    let anybody = sans(&[OURS], &["a.b"], &["10.0.0.1"], 0);
    assert_eq!(check(&nobody, &anybody), Err(SanFault::NoneMatches));
    let in_mesh = PeerRule::InMesh;
    let unknown = in_mesh.check(&sans(&[OURS], &[], &[], 0), None);
    assert_eq!(unknown, Err(SanFault::NoDomain));
}

#[test]
fn what_a_peer_says_is_escaped_and_cut() {
    let names = sans(&[OURS], &["a.b"], &["10.0.0.1"], 0);
    assert_eq!(
        names.to_string(),
        "URI:spiffe://td/ns/default/sa/reviews, DNS:a.b, IP:10.0.0.1"
    );
    assert_eq!(Sans::default().to_string(), "no names");
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    let more = sans(&["a", "b", "c"], &[], &addresses, 0).to_string();
    assert_eq!(more, "URI:a, URI:b, URI:c, IP:10.0.0.1, 2 more");
    let long = "x".repeat(60_000);
    let evil = ["\n\u{1b}[2J ok", &long, "c", "d", "e", "f"];
    let many = sans(&evil, &["g"], &[], 2);
    let told = [
        many.to_string(),
        SanFault::NotSpiffe(long.as_str().into()).to_string(),
        SanFault::NotSpiffe(evil[0].into()).to_string(),
    ];
    for text in &told {
        assert!(
            text.len() < 500 && !text.contains(char::is_control),
            "{text}"
        );
    }
    assert!(
        told[0].ends_with("..., URI:c, URI:d, 3 more, 2 unreadable URI"),
        "{}",
        told[0]
    );
    let many = PeerRule::OneOf(
        (0..1000)
            .map(|at| SanMatcher::Ip([10, 0, at as u8, 1].into()))
            .collect(),
    );
    assert!(mesh_core::tls::told(&many).ends_with("and 996 more]"));
}

/// Hosts and addresses outside of the mesh have no id, and may have what URIs they like.
#[test]
fn hosts_outside_are_known_by_their_names() {
    let rule = exactly(&["a.example.com", "10.0.0.1"]);
    for good in [
        sans(&[], &["a.example.com"], &[], 0),
        sans(
            &["https://x", "https://y"],
            &["b.c", "*.example.com"],
            &[],
            2,
        ),
        sans(&[], &[], &["10.0.0.1"], 0),
    ] {
        assert_eq!(check(&rule, &good), Ok(()));
    }
    for bad in [
        sans(&["a.example.com"], &[], &[], 0),
        sans(&[], &["10.0.0.1"], &[], 0),
        sans(&[], &[], &["10.0.0.2", "::ffff:10.0.0.1"], 0),
        sans(&[], &[], &[], 0),
    ] {
        assert!(matches!(check(&rule, &bad), Err(SanFault::NoneMatches)));
    }
}

#[test]
fn a_host_is_the_one_that_was_called() {
    let names = sans(
        &[],
        &["a.example.com", "*.b.example.com"],
        &["10.0.0.1", "::1"],
        0,
    );
    let called = |host: &str| PeerRule::Host(host.into()).check(&names, Some(&own()));
    for good in [
        "a.example.com",
        "A.example.com",
        "x.b.example.com",
        "10.0.0.1",
        "::1",
    ] {
        assert_eq!(called(good), Ok(()), "{good}");
    }
    for bad in [
        "b.example.com",
        "x.a.example.com",
        "10.0.0.2",
        "::2",
        "example.com",
    ] {
        assert!(matches!(called(bad), Err(SanFault::NoneMatches)), "{bad}");
    }
    // What is not one name of one host cannot be checked.
    for none in ["", "*.example.com", "*.b.example.com", "a b", OURS] {
        assert_eq!(called(none), Err(SanFault::NoHost), "{none:?}");
    }
}

/// However the names are mixed, a rule for workloads lets only the one of its domain in; without the demand for one URI
/// name the property would not hold.
#[test]
fn no_mixture_of_names_is_taken_for_a_workload() {
    const NAMES: &[&str] = &[
        OURS,
        "spiffe://td/x",
        "spiffe://td.evil/x",
        "spiffe://old.td/x",
        "https://td/x",
        "td",
        "spiffe://td",
        "*",
        "*.example.com",
        "reviews.example.com",
        "spiffe://TD/x",
    ];
    let some = || prop::collection::vec(prop::sample::select(NAMES), 0..3);
    let inputs = (some(), some(), 0..2_usize);
    let sloppy = std::cell::Cell::new(0);
    let taken = std::cell::Cell::new(0);
    property::holds(43, 5_000, &inputs, |(uri, dns, unreadable)| {
        let names = sans(&uri, &dns, &[], unreadable);
        let ours = |name: &&str| {
            ["spiffe://td/", "spiffe://old.td/"]
                .iter()
                .any(|p| name.starts_with(p))
        };
        let expected = uri.len() == 1 && unreadable == 0 && uri.iter().all(ours);
        prop_assert_eq!(check(&PeerRule::InMesh, &names).is_ok(), expected);
        taken.set(taken.get() + usize::from(expected));
        sloppy.set(sloppy.get() + usize::from(!expected && uri.iter().any(ours)));
        let any_of_ours = SanMatcher::Uri(StringMatcher::Prefix(b"spiffe://td/"[..].into()));
        let by_prefix = check(&PeerRule::OneOf([any_of_ours].into()), &names).is_ok();
        let td = PeerRule::Domains([domain("td")].into());
        prop_assert_eq!(by_prefix, check(&td, &names).is_ok());
        Ok(())
    });
    eprintln!(
        "taken {}, refused though a name of ours was there {}",
        taken.get(),
        sloppy.get()
    );
    assert!(taken.get() > 100 && sloppy.get() > 100);
}
