//! The search for a virtual host by domain, against a plain reference that tries every domain.

use std::sync::Arc;

use mesh_core::route::{Domain, DomainTable, VirtualHost};
use mesh_core::snapshot::Table;
use proptest::prelude::*;

#[path = "support/property.rs"]
mod property;

/// How good a domain (as written in the configuration) is for a host: class first, then length.
/// `None` when it does not match. Written without the types under test.
fn rank(domain: &str, host: &str) -> Option<(u8, usize)> {
    let (domain, host) = (domain.to_ascii_lowercase(), host.to_ascii_lowercase());
    if domain == "*" {
        return Some((0, 0));
    }
    let stars_for = |rest: &str| host.len() > rest.len();
    if let Some(rest) = domain.strip_prefix('*') {
        return (host.ends_with(rest) && stars_for(rest)).then_some((2, rest.len()));
    }
    if let Some(rest) = domain.strip_suffix('*') {
        return (host.starts_with(rest) && stars_for(rest)).then_some((1, rest.len()));
    }
    (domain == host).then_some((3, domain.len()))
}

fn best<'a, V>(domains: &'a [(String, V)], host: &str) -> Option<&'a V> {
    let ranked = domains
        .iter()
        .filter_map(|(domain, value)| Some((rank(domain, host)?, value)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, value)| value)
}

fn parse(text: &str) -> Domain {
    Domain::parse(text).expect("the strategy makes valid domains")
}

/// Few letters and both cases, so that domains meet each other and the hosts; one letter of two
/// bytes, so that lengths fall inside of it.
fn hosts() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!['a', 'A', 'b', '.', '.', 'é']),
        1..7,
    )
    .prop_map(|letters| letters.into_iter().collect())
}

fn domains() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => hosts(),
        4 => hosts().prop_map(|host| format!("*{host}")),
        4 => hosts().prop_map(|host| format!("{host}*")),
        1 => Just("*".to_owned()),
    ]
}

#[test]
fn the_best_domain_is_found_after_any_history() {
    let steps = prop::collection::vec((domains(), prop::option::weighted(0.6, 0_u32..1000)), 0..60);
    let asked = prop::collection::vec(hosts(), 1..30);
    let classes = std::cell::Cell::new([0_u32; 5]);
    property::holds(21, 500, &(steps, asked), |(steps, asked)| {
        let mut table = DomainTable::new();
        let mut reference: Vec<(String, u32)> = Vec::new();
        let mut former = Vec::new();
        for (at, (domain, value)) in steps.iter().enumerate() {
            if at % 20 == 0 {
                former.push((table.clone(), reference.clone()));
            }
            // What is not in the table may be removed too; remove something that is, at times.
            let domain = match reference.get(at) {
                Some((known, _)) if value.is_none() => known.clone(),
                _ => domain.clone(),
            };
            reference.retain(|(known, _)| !known.eq_ignore_ascii_case(&domain));
            match value {
                Some(value) => {
                    table.insert(&parse(&domain), *value);
                    reference.push((domain, *value));
                }
                None => table.remove(&parse(&domain)),
            }
        }
        former.push((table, reference));
        for (table, reference) in &former {
            for host in asked.iter().chain(steps.iter().map(|(domain, _)| domain)) {
                prop_assert_eq!(table.find(host), best(reference, host), "host {}", host);
                let class = reference
                    .iter()
                    .filter_map(|(domain, _)| rank(domain, host))
                    .max();
                let mut seen = classes.get();
                seen[class.map_or(4, |(class, _)| usize::from(class))] += 1;
                classes.set(seen);
            }
        }
        Ok(())
    });
    let seen = classes.get();
    eprintln!("any, prefix, suffix, exact, none: {seen:?}");
    assert!(
        seen.iter().all(|times| *times > 1000),
        "a class was hardly tested: {seen:?}"
    );
}

/// A virtual host without routes.
fn host(name: &str, domains: &[String]) -> VirtualHost {
    let domains: Vec<Domain> = domains.iter().map(|domain| parse(domain)).collect();
    VirtualHost::new(Arc::from(name), domains, [], [])
}

/// An authority, and what is left of it without its port.
fn authorities() -> impl Strategy<Value = (String, String)> {
    let bare = prop::sample::select(vec![
        "a", "A.b", "b", "a.b", "x.a.b", "[::1]", "10.0.0.1", "a.b.c",
    ]);
    (
        bare,
        prop::option::of(prop::sample::select(vec![0, 80, 9080, 65535])),
    )
        .prop_map(|(bare, port)| {
            let authority = port.map_or_else(|| bare.to_owned(), |port| format!("{bare}:{port}"));
            (authority, bare.to_owned())
        })
}

#[test]
fn tables_find_virtual_hosts_with_and_without_ports() {
    const POOL: [&str; 14] = [
        "a",
        "a:80",
        "a.b",
        "*.b",
        "*.b:80",
        "a.*",
        "a*",
        "*",
        "[::1]",
        "[::1]:9080",
        "10.0.0.1",
        "A.B:9080",
        "x.a.*",
        "*:80",
    ];
    // Each domain belongs to one virtual host: two with the same domain would be refused.
    let owners = prop::collection::vec(0_usize..5, POOL.len());
    let steps = prop::collection::vec((0_usize..5, any::<bool>()), 0..20);
    let asked = prop::collection::vec(authorities(), 1..20);
    let inputs = (any::<bool>(), owners, steps, asked);
    property::holds(22, 500, &inputs, |(ignore_port, owners, steps, asked)| {
        let domains = |owner: usize| -> Vec<String> {
            let own = POOL.iter().zip(&owners).filter(|(_, by)| **by == owner);
            own.map(|(domain, _)| (*domain).to_owned()).collect()
        };
        let mut table = Table::new(Arc::from("1"), ignore_port);
        let mut live: Vec<(usize, usize)> = Vec::new();
        for (value, (owner, insert)) in steps.into_iter().enumerate() {
            let host = host(&format!("host-{owner}"), &domains(owner));
            table.remove(&host);
            live.retain(|(known, _)| *known != owner);
            if insert {
                table.insert(&host, value);
                live.push((owner, value));
            }
        }
        let known = live
            .iter()
            .flat_map(|(owner, value)| domains(*owner).into_iter().map(|d| (d, *value)));
        let reference: Vec<(String, usize)> = known.collect();
        for (authority, bare) in &asked {
            let compared = if ignore_port { bare } else { authority };
            prop_assert_eq!(
                table.find(authority),
                best(&reference, compared),
                "{}",
                authority
            );
        }
        for owner in 0..5 {
            let value = live
                .iter()
                .find(|(known, _)| *known == owner)
                .map(|(_, value)| value);
            prop_assert_eq!(table.target(&format!("host-{owner}")), value);
        }
        prop_assert_eq!(table.targets().count(), live.len());
        Ok(())
    });
}

#[test]
fn order_of_the_classes() {
    let all = [
        "reviews.default.svc",
        "*.default.svc",
        "*.svc",
        "*c",
        "reviews.default.*",
        "reviews.*",
        "r*",
        "*",
    ];
    for (asked, expected) in [
        ("reviews.default.svc", "reviews.default.svc"),
        ("REVIEWS.Default.svc", "reviews.default.svc"),
        ("ratings.default.svc", "*.default.svc"),
        ("a.b.default.svc", "*.default.svc"),
        // A star stands for at least one character.
        (".default.svc", "*.svc"),
        (".svc", "*c"),
        ("c", "*"),
        ("reviews.", "r*"),
        ("r", "*"),
        // Any suffix is better than any prefix, even a shorter one.
        ("reviews.default.c", "*c"),
        ("reviews.default.x", "reviews.default.*"),
        ("reviews.x", "reviews.*"),
        ("Rx", "r*"),
        ("x", "*"),
        ("", "*"),
    ] {
        let mut table = DomainTable::new();
        for domain in all {
            table.insert(&parse(domain), domain);
        }
        assert_eq!(table.find(asked), Some(&expected), "{asked:?}");
    }
}

#[test]
fn without_a_universal_domain_a_host_may_have_none() {
    let mut table = DomainTable::new();
    assert_eq!(table.find("a"), None);
    table.insert(&parse("*.b"), 1);
    table.insert(&parse("b.*"), 2);
    for nothing in ["", "b", ".b", "b.", "a.c", "x.bb"] {
        assert_eq!(table.find(nothing), None, "{nothing:?}");
    }
}

#[test]
fn domains_that_envoy_refuses() {
    for text in ["a\nb", "\r", "a\0"] {
        let error = Domain::parse(text).expect_err(text);
        let said = error.to_string();
        assert!(
            said.contains(&format!("{text:?}")),
            "{said} does not name {text:?}"
        );
    }
}

/// Envoy takes a star anywhere; in the wrong place it is a character that no host holds.
#[test]
fn misplaced_stars_find_nothing() {
    for text in ["a*b", "*a*", "a.*.b", "**", "a**", ""] {
        let mut table = DomainTable::new();
        table.insert(&parse(text), ());
        for host in ["a.b", "ab", "axb", "a.x.b", "xax"] {
            assert_eq!(table.find(host), None, "{text:?} for {host:?}");
        }
    }
}

#[test]
fn domains_that_envoy_takes() {
    for (text, domain) in [
        ("Reviews", Domain::Exact("reviews".into())),
        ("reviews:9080", Domain::Exact("reviews:9080".into())),
        ("[::1]:80", Domain::Exact("[::1]:80".into())),
        ("*.Example.com", Domain::Suffix(".example.com".into())),
        ("*-x", Domain::Suffix("-x".into())),
        ("Example.*", Domain::Prefix("example.".into())),
        ("*", Domain::Any),
    ] {
        assert_eq!(Domain::parse(text), Ok(domain), "{text:?}");
    }
}

#[test]
fn tables_without_ignore_port_compare_the_port() {
    let named = host(
        "reviews",
        &["reviews".to_owned(), "reviews:9080".to_owned()],
    );
    for (ignore_port, authority, found) in [
        (false, "reviews", true),
        (false, "reviews:9080", true),
        (false, "Reviews:9080", true),
        (false, "reviews:9081", false),
        (true, "reviews", true),
        (true, "reviews:9081", true),
        (true, "reviews:x", false),
        (true, "reviews:99999", false),
    ] {
        let mut table = Table::new(Arc::from("1"), ignore_port);
        table.insert(&named, ());
        assert_eq!(
            table.find(authority).is_some(),
            found,
            "{authority}, ignore_port {ignore_port}"
        );
    }
}
