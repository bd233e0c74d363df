//! Which hosts the mesh knows. Under the outbound policy `REGISTRY_ONLY` a call goes nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::IstioName;

/// The hosts and ports of the control plane's clusters, `outbound|PORT||HOST`. Made when clusters are published.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// In lower case. `*.example.com` stands as `.example.com`, and `*` as the empty text.
    hosts: BTreeMap<Box<str>, BTreeSet<u16>>,
}

impl Registry {
    /// From the names of all clusters, as a client of this namespace sees them. Names of another form say nothing
    /// of a host and are passed over; a cluster of a subset implies the one of the whole service.
    pub fn of_clusters<'a>(names: impl IntoIterator<Item = &'a str>, namespace: &str) -> Self {
        let mut this = Self::default();
        for (port, host) in names.into_iter().filter_map(host_of) {
            let host = host.to_ascii_lowercase();
            for short in short_names(&host, namespace) {
                this.add(short, port);
            }
            this.add(host.strip_prefix('*').unwrap_or(&host), port);
        }
        this
    }

    fn add(&mut self, host: &str, port: u16) {
        match self.hosts.get_mut(host) {
            Some(ports) => {
                ports.insert(port);
            }
            None => {
                self.hosts.insert(host.into(), BTreeSet::from([port]));
            }
        }
    }

    /// Whether the mesh knows this port of this host, by its name or by a wildcard. The case of letters does not
    /// matter, nor does the dot at the end of a full name.
    pub fn has(&self, host: &str, port: u16) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.has_lower(&host.to_ascii_lowercase(), port);
        }
        self.has_lower(host, port)
    }

    fn has_lower(&self, host: &str, port: u16) -> bool {
        let suffixes = host.match_indices('.').map(|(at, _)| &host[at..]);
        // A host that begins with a dot is none, and must not be taken for a wildcard.
        let names = (!host.is_empty() && !host.starts_with('.')).then_some(host);
        names
            .into_iter()
            .flat_map(|name| std::iter::once(name).chain(suffixes.clone()).chain([""]))
            .any(|name| {
                self.hosts
                    .get(name)
                    .is_some_and(|ports| ports.contains(&port))
            })
    }
}

/// Port and host of `outbound|PORT||HOST`.
fn host_of(cluster: &str) -> Option<(u16, &str)> {
    let name = IstioName::parse(cluster)?;
    name.subset.is_none().then_some((name.port, name.host))
}

/// What a client of a namespace may call `NAME.NAMESPACE.svc.DOMAIN` (Kubernetes' DNS search path).
fn short_names<'a>(host: &'a str, namespace: &str) -> impl Iterator<Item = &'a str> {
    let mut parts = host.splitn(4, '.');
    let parts = (parts.next(), parts.next(), parts.next(), parts.next());
    let lengths = match parts {
        (Some(name), Some(theirs), Some("svc"), Some(_)) if name != "*" => {
            let long = name.len() + 1 + theirs.len();
            let own = (theirs == namespace).then_some(name.len());
            [Some(long), Some(long + ".svc".len()), own]
        }
        _ => [None; 3],
    };
    lengths.into_iter().flatten().map(|length| &host[..length])
}
