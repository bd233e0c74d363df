//! Names that clusters want looked up, who uses them, and what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mesh_core::cluster::Cluster;

use super::Resolution;
use super::build::cluster_of;
use crate::decode::cluster::{ClusterResource, Host, Names};
use crate::dns::{Answer, Lookup};

#[derive(Debug, Default)]
pub(super) struct LookedUp {
    hosts: BTreeMap<Host, Entry>,
    /// What each cluster uses, to be taken back.
    by_cluster: BTreeMap<Arc<str>, BTreeSet<Host>>,
    /// What has to be looked up, until that changes: it is asked for after each answer.
    wanted: OnceLock<Arc<BTreeMap<Lookup, Duration>>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The clusters, and how long an answer counts for each.
    users: BTreeMap<Arc<str>, Duration>,
    answer: Option<Answer>,
}

impl LookedUp {
    /// A cluster uses these names, and no others.
    pub(super) fn link(&mut self, cluster: &Arc<str>, names: Option<&Names>) {
        let hosts: BTreeSet<Host> = names.into_iter().flat_map(Names::hosts).cloned().collect();
        if let Some(names) = names {
            for host in &hosts {
                let entry = self.hosts.entry(host.clone()).or_default();
                entry.users.insert(Arc::clone(cluster), names.refresh);
            }
        }
        let former = match hosts.is_empty() {
            true => self.by_cluster.remove(cluster),
            false => self.by_cluster.insert(Arc::clone(cluster), hosts.clone()),
        };
        if former.is_some() || !hosts.is_empty() {
            self.wanted.take();
        }
        for gone in former
            .iter()
            .flatten()
            .filter(|host| !hosts.contains(*host))
        {
            if let Some(entry) = self.hosts.get_mut(gone) {
                entry.users.remove(cluster);
                if entry.users.is_empty() {
                    self.hosts.remove(gone);
                }
            }
        }
    }

    /// What has to be looked up, each name at the shortest interval that one of its users asks for.
    pub(super) fn wanted(&self) -> Arc<BTreeMap<Lookup, Duration>> {
        Arc::clone(self.wanted.get_or_init(|| Arc::new(self.all_wanted())))
    }

    fn all_wanted(&self) -> BTreeMap<Lookup, Duration> {
        let wanted = self.hosts.iter().filter_map(|(host, entry)| {
            let lookup = Lookup {
                host: Arc::clone(&host.name),
                port: host.port,
            };
            Some((lookup, *entry.users.values().min()?))
        });
        wanted.collect()
    }

    /// Keeps an answer; returns the clusters that it changes. A failure leaves what was found before, and so does
    /// another order of the same addresses: a name's addresses are told in turns.
    pub(super) fn answer(&mut self, lookup: &Lookup, answer: Answer) -> Vec<Arc<str>> {
        let host = Host {
            name: Arc::clone(&lookup.host),
            port: lookup.port,
        };
        let Some(entry) = self.hosts.get_mut(&host) else {
            return Vec::new();
        };
        let changes = match (&entry.answer, &answer) {
            (Some(Ok(_)), Err(_)) => false,
            (Some(Ok(former)), Ok(new)) => sorted(former) != sorted(new),
            (former, new) => former.as_ref() != Some(new),
        };
        if !changes {
            return Vec::new();
        }
        entry.answer = Some(answer);
        entry.users.keys().cloned().collect()
    }

    /// The cluster of these names, of which there may be a former version.
    pub(super) fn resolution(
        &self,
        name: &Arc<str>,
        resource: &ClusterResource,
        names: &Names,
        former: Option<&Resolution>,
    ) -> Resolution {
        if let Some(host) = self.awaited(names) {
            let host = &*host.name;
            return match former {
                // Envoy uses the former version until the new one has warmed up.
                Some(Resolution::Ready(former)) => Resolution::Ready(Arc::clone(former)),
                _ => Resolution::Waiting(format!("the addresses of {host:?} (DNS)").into()),
            };
        }
        let endpoints = names.resolved(|host| self.addresses(host));
        Resolution::Ready(Arc::new(Cluster {
            unresolved: self.failures(names),
            ..cluster_of(name, resource, Some(&endpoints))
        }))
    }

    /// A name of these that has not been looked up.
    fn awaited<'a>(&self, names: &'a Names) -> Option<&'a Host> {
        let answered = |host: &Host| self.hosts.get(host).is_some_and(|it| it.answer.is_some());
        names.hosts().find(|host| !answered(host))
    }

    fn addresses(&self, host: &Host) -> &[SocketAddr] {
        match self.hosts.get(host).and_then(|it| it.answer.as_ref()) {
            Some(Ok(addresses)) => addresses,
            _ => &[],
        }
    }

    /// Why names of these have no address.
    fn failures(&self, names: &Names) -> Option<Arc<str>> {
        let failures = names.hosts().filter_map(|host| {
            let reason = match self.hosts.get(host)?.answer.as_ref()? {
                Ok(addresses) if addresses.is_empty() => "the name has none",
                Ok(_) => return None,
                Err(reason) => reason,
            };
            Some(format!("no address of {:?}: {reason}", &*host.name))
        });
        let all: Vec<String> = failures.collect();
        (!all.is_empty()).then(|| all.join("; ").into())
    }
}

fn sorted(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted
}
