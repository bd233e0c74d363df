//! Which virtual host, and which others' domains match too.

use std::sync::Arc;

use super::Reaches;
use crate::istiod;
use crate::request::split_port;
use crate::route::{Domain, VirtualHost};
use crate::snapshot::Table;

/// How many virtual hosts an explanation names that a request does not get.
const MOST_NAMED: usize = 5;

/// The virtual host that a request gets, and others that it does not get.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// The one.
    pub chosen: HostSeen,
    /// Those whose domains match too, the best first; and if none but a catch-all is chosen, those that are most
    /// like what was asked for. Five at most.
    pub others: Vec<(HostSeen, NotChosen)>,
    /// How many virtual hosts the table has in all.
    pub count: usize,
}

/// A virtual host, as a request meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSeen {
    /// Its name.
    pub name: Arc<str>,
    /// The best of its domains for the request, as it is written; for one that does not match, its first.
    pub domain: String,
}

/// Why a virtual host is not the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotChosen {
    /// Its domain matches, and that of the chosen one is better: exact > `*suffix` > `prefix*` > `*`, then the longer.
    LessSpecific,
    /// None of its domains matches.
    NoMatch,
}

/// How good a domain is: its class, then its length.
type Rank = (u8, usize);

impl Candidates {
    /// The virtual host that a table's search has `chosen` for an authority, beside the table's others.
    pub fn of<T: Reaches + Clone>(table: &Table<T>, authority: &str, chosen: &VirtualHost) -> Self {
        let host = asked(table, authority);
        let matching = |target: &T| {
            let (domain, rank) = best(target.host(), &host)?;
            Some((seen(target.host(), domain), rank))
        };
        let others = || {
            let all = table.targets();
            all.filter(|target| target.host().name() != chosen.name())
        };
        let mut matches: Vec<_> = others().filter_map(matching).collect();
        matches.sort_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.name.cmp(&b.name)));
        let mut named: Vec<_> = matches
            .into_iter()
            .map(|(host, _)| (host, NotChosen::LessSpecific))
            .collect();
        if best(chosen, &host).is_none_or(|(domain, _)| *domain == Domain::Any) {
            let mut alike: Vec<_> = others()
                .filter(|target| best(target.host(), &host).is_none())
                .filter_map(|target| Some(seen(target.host(), alike(target.host(), &host)?)))
                .collect();
            alike.sort_by(|a, b| a.name.cmp(&b.name));
            named.extend(alike.into_iter().map(|host| (host, NotChosen::NoMatch)));
        }
        named.truncate(MOST_NAMED);
        let domain = best(chosen, &host).map(|(domain, _)| domain);
        Self {
            chosen: HostSeen {
                name: Arc::clone(chosen.name()),
                domain: domain.map_or_else(|| "*".to_owned(), written),
            },
            others: named,
            count: table.targets().count(),
        }
    }

    /// The mesh's policy for hosts that no virtual host is for, if that has decided: the `outboundTrafficPolicy` that
    /// istiod tells by the virtual hosts `allow_any` and `block_all`.
    pub fn policy(&self) -> Option<&'static str> {
        match &*self.chosen.name {
            istiod::ALLOW_ANY => Some("ALLOW_ANY"),
            istiod::BLOCK_ALL => Some("REGISTRY_ONLY"),
            _ => None,
        }
    }

    pub(super) fn blocks(&self) -> bool {
        self.policy() == Some("REGISTRY_ONLY")
    }
}

/// What domains are compared with.
fn asked<T: Clone>(table: &Table<T>, authority: &str) -> String {
    let host = match table.ignore_port {
        true => split_port(authority).0,
        false => authority,
    };
    host.to_ascii_lowercase()
}

fn best<'a>(virtual_host: &'a VirtualHost, host: &str) -> Option<(&'a Domain, Rank)> {
    let domains = virtual_host.domains().iter();
    let ranked = domains.filter_map(|domain| Some((domain, rank(domain, host)?)));
    ranked.max_by_key(|(_, rank)| *rank)
}

/// A star stands for at least one character.
fn rank(domain: &Domain, host: &str) -> Option<Rank> {
    let (class, length, matches) = match domain {
        Domain::Exact(text) => (3, text.len(), host == &**text),
        Domain::Suffix(text) => {
            let matches = host.len() > text.len() && host.ends_with(&**text);
            (2, text.len(), matches)
        }
        Domain::Prefix(text) => {
            let matches = host.len() > text.len() && host.starts_with(&**text);
            (1, text.len(), matches)
        }
        Domain::Any => (0, 0, true),
    };
    matches.then_some((class, length))
}

/// A domain that begins with the same label: the usual slip is in the namespace or the port.
fn alike<'a>(virtual_host: &'a VirtualHost, host: &str) -> Option<&'a Domain> {
    let label = |text: &str| split_port(text).0.split('.').next().map(str::to_owned);
    let wanted = label(host).filter(|label| !label.is_empty());
    let is_alike =
        |domain: &&Domain| matches!(domain, Domain::Exact(text) if label(text) == wanted);
    virtual_host.domains().iter().find(is_alike)
}

fn seen(host: &VirtualHost, domain: &Domain) -> HostSeen {
    HostSeen {
        name: Arc::clone(host.name()),
        domain: written(domain),
    }
}

fn written(domain: &Domain) -> String {
    match domain {
        Domain::Exact(text) => text.to_string(),
        Domain::Suffix(text) => format!("*{text}"),
        Domain::Prefix(text) => format!("{text}*"),
        Domain::Any => "*".to_owned(),
    }
}
