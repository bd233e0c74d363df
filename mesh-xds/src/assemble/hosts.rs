//! Virtual hosts: the version that is wanted, the version that is published, and why they differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use mesh_core::route::VirtualHost;
use mesh_core::snapshot::{TableKey, Target};

use super::clusters::{Clusters, Resolution};
use super::{Change, DOES_NOT_EXIST_AFTER, MISSING_CLUSTER_GRACE};
use crate::decode::route::RouteResource;

/// What is known of a table.
#[derive(Debug)]
pub(super) enum TableState {
    Waiting,
    Absent(Arc<str>),
    Known {
        version: Arc<str>,
        ignore_port: bool,
        hosts: BTreeMap<Arc<str>, Host>,
    },
}

/// A host by its table and name.
type Key = (TableKey, Arc<str>);

#[derive(Debug)]
pub(super) struct Host {
    wanted: Arc<VirtualHost>,
    wire: Vec<u8>,
    published: Option<Arc<Target>>,
    /// The clusters that it refers to.
    linked: BTreeSet<Arc<str>>,
    /// Since when the wanted version cannot be published.
    incomplete_since: Option<Instant>,
    /// When it is published all the same.
    give_up_at: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Hosts {
    tables: BTreeMap<TableKey, TableState>,
    dependants: HashMap<Arc<str>, BTreeSet<Key>>,
    dirty: BTreeSet<Key>,
    /// Hosts that are incomplete; few, unless the control plane is in trouble.
    held: BTreeSet<Key>,
    removed: Vec<Change>,
    changed_tables: BTreeSet<TableKey>,
}

impl Hosts {
    pub(super) fn want(&mut self, table: TableKey) -> bool {
        if self.tables.contains_key(&table) {
            return false;
        }
        self.tables.insert(table, TableState::Waiting);
        true
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = (&TableKey, &TableState)> {
        self.tables.iter()
    }

    pub(super) fn table(&self, table: TableKey) -> Option<&TableState> {
        self.tables.get(&table)
    }

    pub(super) fn take_changed_tables(&mut self) -> Vec<TableKey> {
        std::mem::take(&mut self.changed_tables)
            .into_iter()
            .collect()
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.held
            .iter()
            .filter_map(|key| self.host(key)?.give_up_at)
            .min()
    }

    pub(super) fn cluster_changed(&mut self, cluster: &str) {
        if let Some(hosts) = self.dependants.get(cluster) {
            self.dirty.extend(hosts.iter().cloned());
        }
    }

    pub(super) fn set_absent(&mut self, table: TableKey, reason: Arc<str>) {
        let Some(state) = self.tables.get_mut(&table) else {
            return;
        };
        let is_empty = match state {
            TableState::Waiting => true,
            TableState::Absent(_) => false,
            TableState::Known { hosts, .. } => hosts.is_empty(),
        };
        if is_empty {
            *state = TableState::Absent(reason);
            self.changed_tables.insert(table);
        }
    }

    pub(super) fn set(
        &mut self,
        table: TableKey,
        version: &Arc<str>,
        route: RouteResource,
        clusters: &mut Clusters,
    ) {
        let mut former = match self.tables.remove(&table) {
            Some(TableState::Known { hosts, .. }) => hosts,
            _ => BTreeMap::new(),
        };
        let mut hosts = BTreeMap::new();
        for (wanted, wire) in route.hosts {
            let key = (table, Arc::clone(wanted.name()));
            let host = match former.remove(&key.1) {
                Some(same) if same.wire == wire => same,
                changed => {
                    let mut host = Host::new(wanted, wire, changed);
                    self.link(&key, &mut host, clusters);
                    self.held.remove(&key);
                    self.dirty.insert(key.clone());
                    host
                }
            };
            hosts.insert(key.1, host);
        }
        for (name, gone) in former {
            self.forget(&(table, name), gone, clusters);
        }
        let state = TableState::Known {
            version: Arc::clone(version),
            ignore_port: route.ignore_port,
            hosts,
        };
        self.tables.insert(table, state);
        self.changed_tables.insert(table);
    }

    /// Publishes every host that is complete or has waited long enough.
    pub(super) fn settle(&mut self, now: Instant, clusters: &mut Clusters) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.removed);
        let overdue = |key: &&Key| {
            self.host(key)
                .and_then(|host| host.give_up_at)
                .is_some_and(|at| at <= now)
        };
        let overdue: Vec<Key> = self.held.iter().filter(overdue).cloned().collect();
        let mut keys = std::mem::take(&mut self.dirty);
        keys.extend(overdue);
        for key in keys {
            let Some(mut host) = self.take(&key) else {
                continue;
            };
            let (old, new) = (host.published.clone(), host.settled(now, clusters));
            if host.incomplete_since.is_some() && host.give_up_at.is_some() {
                self.held.insert(key.clone());
            } else {
                self.held.remove(&key);
            }
            if let Some(new) = new {
                host.published = Some(Arc::clone(&new));
                changes.push(Change {
                    table: key.0,
                    old,
                    new: Some(new),
                });
            }
            self.link(&key, &mut host, clusters);
            self.put_back(&key, host);
        }
        changes
    }

    fn forget(&mut self, key: &Key, mut gone: Host, clusters: &mut Clusters) {
        self.dirty.remove(key);
        self.held.remove(key);
        self.relink(key, &mut gone, BTreeSet::new(), clusters);
        if let Some(old) = gone.published {
            self.removed.push(Change {
                table: key.0,
                old: Some(old),
                new: None,
            });
        }
    }

    /// Refers to the clusters of the wanted and of the published version, and to no others.
    fn link(&mut self, key: &Key, host: &mut Host, clusters: &mut Clusters) {
        let published = host
            .published
            .iter()
            .flat_map(|target| target.host.clusters());
        let names = host
            .wanted
            .clusters()
            .iter()
            .chain(published)
            .cloned()
            .collect();
        self.relink(key, host, names, clusters);
    }

    fn relink(
        &mut self,
        key: &Key,
        host: &mut Host,
        names: BTreeSet<Arc<str>>,
        clusters: &mut Clusters,
    ) {
        if names == host.linked {
            return;
        }
        for name in names.difference(&host.linked) {
            clusters.refer(name);
            self.dependants
                .entry(Arc::clone(name))
                .or_default()
                .insert(key.clone());
        }
        for name in host.linked.difference(&names) {
            clusters.release(name);
            if let Some(hosts) = self.dependants.get_mut(name) {
                hosts.remove(key);
                if hosts.is_empty() {
                    self.dependants.remove(name);
                }
            }
        }
        host.linked = names;
    }

    fn host(&self, (table, name): &Key) -> Option<&Host> {
        match self.tables.get(table)? {
            TableState::Known { hosts, .. } => hosts.get(name),
            _ => None,
        }
    }

    fn take(&mut self, (table, name): &Key) -> Option<Host> {
        match self.tables.get_mut(table)? {
            TableState::Known { hosts, .. } => hosts.remove(name),
            _ => None,
        }
    }

    fn put_back(&mut self, (table, name): &Key, host: Host) {
        if let Some(TableState::Known { hosts, .. }) = self.tables.get_mut(table) {
            hosts.insert(Arc::clone(name), host);
        }
    }
}

impl Host {
    fn new(wanted: Arc<VirtualHost>, wire: Vec<u8>, former: Option<Self>) -> Self {
        let (published, linked) = former
            .map(|former| (former.published, former.linked))
            .unwrap_or_default();
        Self {
            wanted,
            wire,
            published,
            linked,
            incomplete_since: None,
            give_up_at: None,
        }
    }

    /// The version to publish now, if it is another than the published one.
    fn settled(&mut self, now: Instant, clusters: &Clusters) -> Option<Arc<Target>> {
        let found: Vec<Resolution> = self
            .wanted
            .clusters()
            .iter()
            .map(|name| clusters.resolution(name))
            .collect();
        let missing =
            self.wanted
                .clusters()
                .iter()
                .zip(&found)
                .find_map(|(name, found)| match found {
                    Resolution::Ready(_) => None,
                    Resolution::Absent => Some((
                        format!("cluster {name:?} (CDS)").into(),
                        MISSING_CLUSTER_GRACE,
                    )),
                    Resolution::Waiting(what) => Some((Arc::clone(what), DOES_NOT_EXIST_AFTER)),
                });
        let Some((what, patience)) = missing else {
            self.incomplete_since = None;
            self.give_up_at = None;
            return Some(self.wanted_target(found));
        };
        let since = *self.incomplete_since.get_or_insert(now);
        let give_up_at = since + patience;
        if give_up_at <= now {
            self.give_up_at = None;
            return Some(self.wanted_target(found));
        }
        self.give_up_at = Some(give_up_at);
        match &self.published {
            None => Some(self.placeholder(what)),
            Some(published) if published.waiting_for.is_some() => None,
            Some(published) => refreshed(published, clusters),
        }
    }

    fn wanted_target(&self, found: Vec<Resolution>) -> Arc<Target> {
        let ready = |found| match found {
            Resolution::Ready(cluster) => Some(cluster),
            Resolution::Absent | Resolution::Waiting(_) => None,
        };
        Arc::new(Target {
            host: Arc::clone(&self.wanted),
            clusters: found.into_iter().map(ready).collect(),
            waiting_for: None,
        })
    }

    /// The first version has nothing to fall back on: calls wait for it.
    fn placeholder(&self, what: Arc<str>) -> Arc<Target> {
        Arc::new(Target {
            host: Arc::clone(&self.wanted),
            clusters: Box::default(),
            waiting_for: Some(what),
        })
    }
}

/// The published version with the present endpoints of those of its clusters that are still there.
fn refreshed(published: &Arc<Target>, clusters: &Clusters) -> Option<Arc<Target>> {
    let mut changed = false;
    let present = published
        .host
        .clusters()
        .iter()
        .zip(&published.clusters)
        .map(|(name, held)| match clusters.resolution(name) {
            Resolution::Ready(cluster) => {
                changed |= held
                    .as_ref()
                    .is_none_or(|held| !Arc::ptr_eq(held, &cluster));
                Some(cluster)
            }
            Resolution::Absent | Resolution::Waiting(_) => held.clone(),
        });
    let clusters = present.collect();
    let host = Arc::clone(&published.host);
    changed.then(|| {
        Arc::new(Target {
            host,
            clusters,
            waiting_for: None,
        })
    })
}
