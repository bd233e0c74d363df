//! Which virtual host an authority belongs to.

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;

/// The kinds of domains.
pub(crate) const KINDS: &[&str] = &[
    "domain exact",
    "domain exact with port",
    "domain suffix",
    "domain suffix with port",
    "domain prefix",
    "domain any",
];

pub(super) struct Found {
    pub(super) host: Option<usize>,
    pub(super) decisive: Vec<(String, bool)>,
}

/// Exact, then the longest suffix, then the longest prefix, then `*`; without regard to case.
pub(super) fn find(configuration: &RouteConfiguration, authority: &str) -> Found {
    let mut given = authority.to_ascii_lowercase();
    if configuration.ignore_port_in_host_matching {
        given = without_port(&given).to_owned();
    }
    // Rank, then length: the greatest wins.
    let mut best: Option<((u8, usize), usize, &'static str)> = None;
    let mut kinds = Vec::new();
    for (at, host) in configuration.virtual_hosts.iter().enumerate() {
        for domain in &host.domains {
            let domain = domain.to_ascii_lowercase();
            let kind = kind(&domain);
            kinds.push(kind);
            let Some(rank) = rank(&domain, &given) else {
                continue;
            };
            if best.as_ref().is_none_or(|(other, ..)| rank > *other) {
                best = Some((rank, at, kind));
            }
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    let won = best.as_ref().map(|(.., kind)| *kind);
    Found {
        host: best.map(|(_, at, _)| at),
        decisive: kinds
            .into_iter()
            .map(|kind| (kind.to_owned(), Some(kind) == won))
            .collect(),
    }
}

fn rank(domain: &str, given: &str) -> Option<(u8, usize)> {
    let longer = given.len() >= domain.len(); // the star stands for at least one character
    if domain == "*" {
        Some((0, 0))
    } else if let Some(end) = domain.strip_prefix('*') {
        (longer && given.ends_with(end)).then_some((2, domain.len()))
    } else if let Some(start) = domain.strip_suffix('*') {
        (longer && given.starts_with(start)).then_some((1, domain.len()))
    } else {
        (given == domain).then_some((3, 0))
    }
}

fn kind(domain: &str) -> &'static str {
    let port = without_port(domain) != domain;
    match (domain.starts_with('*'), domain.ends_with('*')) {
        (true, _) if domain == "*" => "domain any",
        (true, _) if port => "domain suffix with port",
        (true, _) => "domain suffix",
        (_, true) => "domain prefix",
        _ if port => "domain exact with port",
        _ => "domain exact",
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}
