//! The body of the fuzz target of names in certificates.

use std::net::IpAddr;

use mesh_core::identity::{DnsPattern, Domains, PeerRule, SanMatcher, Sans, SpiffeId};
use mesh_core::matcher::StringMatcher;

/// A rule about a peer decides as a plain reading of it does. The input is lines: a byte that chooses the rule with its
/// pattern, then names, each with a letter for its kind.
pub fn san(input: &[u8]) -> Result<(), String> {
    san_by(input, |names| names.len() == 1)
}

/// The control: of several ids any will do.
pub fn san_broken(input: &[u8]) -> Result<(), String> {
    san_by(input, |names| !names.is_empty())
}

type Enough = fn(&[Box<str>]) -> bool;

fn san_by(input: &[u8], is_enough: Enough) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let mut first = lines.next().unwrap_or_default().chars();
    let kind = first.next().map_or(0, |kind| u32::from(kind) & 7);
    let pattern = first.as_str();
    let sans = names(lines);
    for name in &sans.uri {
        let parsed: Option<SpiffeId> = name.parse().ok();
        let is_one = parsed.is_some_and(|id| id.as_str() == &**name);
        if is_one != is_id(name) {
            return Err(format!("{name:?} is an id: {is_one}"));
        }
    }
    let Some(rule) = rule(kind, pattern) else {
        return Ok(());
    };
    let own = "cluster.local".parse().map_err(|_| "no domain")?;
    let domains = Domains {
        own,
        aliases: [].into(),
    };
    let decided = rule.check(&sans, Some(&domains)).is_ok();
    let expected = expected(kind, pattern, &sans, is_enough);
    match decided == expected {
        true => Ok(()),
        false => Err(format!(
            "{rule:?} of {sans:?}: {decided}, expected {expected}"
        )),
    }
}

fn names<'a>(lines: impl Iterator<Item = &'a str>) -> Sans {
    let (mut uri, mut dns, mut ip) = (Vec::new(), Vec::new(), Vec::<IpAddr>::new());
    let mut unreadable = 0;
    for line in lines {
        match line.split_at_checked(1) {
            Some(("u", name)) => uri.push(name.into()),
            Some(("d", name)) => dns.push(name.into()),
            Some(("i", address)) => ip.extend(address.parse::<IpAddr>().ok()),
            Some(("?", _)) => unreadable += 1,
            _ => {}
        }
    }
    Sans {
        uri: uri.into(),
        dns: dns.into(),
        ip: ip.into(),
        unreadable,
    }
}

/// None of a pattern that is none.
fn rule(kind: u32, pattern: &str) -> Option<PeerRule> {
    let bytes = || pattern.as_bytes().into();
    let matcher = match kind {
        0 => SanMatcher::Uri(StringMatcher::Exact(bytes())),
        1 => SanMatcher::Uri(StringMatcher::Prefix(bytes())),
        2 => SanMatcher::Uri(StringMatcher::Suffix(bytes())),
        3 => SanMatcher::Uri(StringMatcher::Contains(bytes())),
        4 => SanMatcher::Dns(pattern.parse::<DnsPattern>().ok()?),
        5 => SanMatcher::untyped(pattern).ok()?,
        6 => return Some(PeerRule::InMesh),
        _ => return Some(PeerRule::Host(pattern.into())),
    };
    Some(PeerRule::OneOf([matcher].into()))
}

fn expected(kind: u32, pattern: &str, sans: &Sans, is_enough: Enough) -> bool {
    let workload = |wanted: &dyn Fn(&str) -> bool| {
        let ids = || sans.uri.iter().filter(|name| is_id(name));
        sans.unreadable == 0 && is_enough(&sans.uri) && ids().any(|name| wanted(name))
    };
    let address = pattern.parse::<IpAddr>().ok();
    let host = || sans.dns.iter().any(|name| is_host(pattern, name));
    match (kind, address) {
        (0, _) => workload(&|name| name == pattern),
        (1, _) => workload(&|name| name.starts_with(pattern)),
        (2, _) => workload(&|name| name.ends_with(pattern)),
        (3, _) => workload(&|name| name.contains(pattern)),
        (5 | 7, Some(address)) => sans.ip.contains(&address),
        (5, None) if pattern.contains("://") => workload(&|name| name == pattern),
        (6, _) => workload(&|name| name.split('/').nth(2) == Some("cluster.local")),
        (7, None) => !pattern.starts_with('*') && pattern.parse::<DnsPattern>().is_ok() && host(),
        _ => host(),
    }
}

/// SPIFFE-ID, 2: part by part.
fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let ["spiffe:", "", domain, path @ ..] = &parts[..] else {
        return false;
    };
    let of_domain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
    let of_path = |c: char| of_domain(c) || c.is_ascii_uppercase();
    let is_segment =
        |segment: &&str| !matches!(*segment, "" | "." | "..") && segment.chars().all(of_path);
    text.len() <= 2048
        && (1..=255).contains(&domain.len())
        && domain.chars().all(of_domain)
        && !path.is_empty()
        && path.iter().all(is_segment)
}

/// Label by label; a wildcard stands for one, the first, before two others at least.
fn is_host(pattern: &str, name: &str) -> bool {
    let labels = |text: &str| -> Vec<String> {
        text.to_ascii_lowercase()
            .split('.')
            .map(str::to_owned)
            .collect()
    };
    let (wanted, named) = (labels(pattern), labels(name));
    let is_wild = |labels: &[String]| labels.len() > 1 && labels[0] == "*";
    if is_wild(&wanted) == is_wild(&named) {
        return wanted == named;
    }
    let other = if is_wild(&wanted) { &named } else { &wanted };
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = (1..64).contains(&other[0].len()) && other[0].bytes().all(sign);
    is_label && wanted.len() > 2 && wanted[1..] == named[1..]
}
