//! Virtual hosts: the version that is wanted, the version that is published, and why they differ.

mod host;
mod moving;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_core::snapshot::{Missing, TableKey, Target};

use super::clusters::Clusters;
use super::{Change, MISSING_CLUSTER_GRACE};
use crate::decode::route::RouteResource;
use host::{Host, Moment};
use moving::Moving;

/// What is known of a table.
#[derive(Debug)]
pub(super) enum TableState {
    Waiting,
    Absent(Missing),
    Known {
        version: Arc<str>,
        ignore_port: bool,
        hosts: BTreeMap<Arc<str>, Host>,
    },
}

/// A host by its table and name.
type Key = (TableKey, Arc<str>);

#[derive(Debug)]
pub(super) struct Hosts {
    /// How long a host waits for a cluster that is not listed.
    pub(super) missing_grace: Duration,
    tables: BTreeMap<TableKey, TableState>,
    dependants: HashMap<Arc<str>, BTreeSet<Key>>,
    dirty: BTreeSet<Key>,
    /// Hosts that are incomplete; few, unless the control plane is in trouble.
    held: BTreeSet<Key>,
    moving: BTreeMap<TableKey, Moving>,
    removed: Vec<Change>,
    changed_tables: BTreeSet<TableKey>,
    paused: bool,
}

impl Default for Hosts {
    fn default() -> Self {
        Self {
            missing_grace: MISSING_CLUSTER_GRACE,
            tables: BTreeMap::new(),
            dependants: HashMap::new(),
            dirty: BTreeSet::new(),
            held: BTreeSet::new(),
            moving: BTreeMap::new(),
            paused: false,
            removed: Vec::new(),
            changed_tables: BTreeSet::new(),
        }
    }
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

    pub(super) fn table(&self, table: &TableKey) -> Option<&TableState> {
        self.tables.get(table)
    }

    /// Something of a table differs that its hosts do not show.
    pub(super) fn touch(&mut self, table: TableKey) {
        self.changed_tables.insert(table);
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

    /// The control plane is out of reach: what is incomplete waits, for as long as it takes.
    pub(super) fn pause(&mut self) {
        self.paused = true;
        for key in self.held.clone() {
            if let Some(host) = self.host_mut(&key) {
                host.forget_time();
            }
        }
    }

    /// It is back: waiting begins anew.
    pub(super) fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.dirty.extend(self.held.iter().cloned());
        }
    }

    pub(super) fn cluster_changed(&mut self, cluster: &str) {
        if let Some(hosts) = self.dependants.get(cluster) {
            self.dirty.extend(hosts.iter().cloned());
        }
    }

    pub(super) fn set_absent(&mut self, table: TableKey, reason: Missing) {
        let Some(state) = self.tables.get_mut(&table) else {
            return;
        };
        let is_empty = match state {
            TableState::Waiting | TableState::Absent(Missing::NotReceived(_)) => true,
            TableState::Absent(Missing::NoSuch(_)) => false,
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
        let (mut former, before) = match self.tables.remove(&table) {
            Some(TableState::Known {
                version,
                ignore_port,
                hosts,
            }) => (hosts, Some((version, ignore_port))),
            _ => (BTreeMap::new(), None),
        };
        if let Some(moving) = self.moving.remove(&table) {
            former.extend(moving.leaving);
        }
        let mut hosts = BTreeMap::new();
        for (wanted, wire) in route.hosts {
            let key = (table.clone(), Arc::clone(wanted.name()));
            let host = match former.remove(&key.1) {
                Some(same) if same.wire == wire => same,
                changed => {
                    let mut host = Host::new(wanted, wire, changed);
                    self.link(&key, &mut host, clusters);
                    self.held.remove(&key);
                    host
                }
            };
            if !host.is_current() {
                self.dirty.insert(key.clone());
            }
            hosts.insert(key.1, host);
        }
        self.depart(&table, &hosts, former, clusters);
        if before != Some((Arc::clone(version), route.ignore_port)) {
            self.changed_tables.insert(table.clone());
        }
        let state = TableState::Known {
            version: Arc::clone(version),
            ignore_port: route.ignore_port,
            hosts,
        };
        self.tables.insert(table, state);
    }

    /// Lets go of the hosts that the new version does not have, but for those whose domains must
    /// first be taken over.
    fn depart(
        &mut self,
        table: &TableKey,
        hosts: &BTreeMap<Arc<str>, Host>,
        gone: BTreeMap<Arc<str>, Host>,
        clusters: &mut Clusters,
    ) {
        let mut moving = Moving::new(hosts, &gone);
        for (name, host) in gone {
            if moving.members.remove(&name) {
                moving.leaving.insert(name, host);
            } else {
                self.forget(&(table.clone(), name), host, clusters);
            }
        }
        if !moving.members.is_empty() {
            self.moving.insert(table.clone(), moving);
        }
    }

    /// Publishes every host that is complete or has waited long enough.
    pub(super) fn settle(&mut self, now: Instant, clusters: &mut Clusters) -> Vec<Change> {
        let moment = Moment {
            now,
            paused: self.paused,
            missing_grace: self.missing_grace,
        };
        let overdue = |key: &&Key| {
            self.host(key)
                .and_then(|host| host.give_up_at)
                .is_some_and(|at| at <= now)
        };
        let overdue: Vec<Key> = self.held.iter().filter(overdue).cloned().collect();
        let mut keys = std::mem::take(&mut self.dirty);
        keys.extend(overdue);
        self.move_together(&mut keys, moment, clusters);
        let mut changes = std::mem::take(&mut self.removed);
        for key in keys {
            let Some(mut host) = self.take(&key) else {
                changes.extend(self.refresh_leaving(&key, clusters));
                continue;
            };
            host.look(moment, clusters);
            if host.lacks.is_some() {
                self.held.insert(key.clone());
            } else {
                self.held.remove(&key);
            }
            let new = self.next_version(&key, &host, clusters);
            if let Some(new) = new {
                let old = host.published.replace(Arc::clone(&new));
                changes.push(Change {
                    table: key.0.clone(),
                    old,
                    new: Some(new),
                });
            }
            self.link(&key, &mut host, clusters);
            self.put_back(&key, host);
        }
        changes
    }

    /// The version to publish now, if it is another than the published one.
    fn next_version(&self, key: &Key, host: &Host, clusters: &Clusters) -> Option<Arc<Target>> {
        let is_member = |moving: &Moving| moving.members.contains(&key.1);
        if self.moving.get(&key.0).is_some_and(is_member) {
            return host.refreshed(clusters);
        }
        match (&host.lacks, &host.published) {
            (None, _) => Some(host.wanted_target(clusters)),
            (Some(_), Some(published)) if published.waiting_for.is_none() => {
                host.refreshed(clusters)
            }
            (Some(what), _) => host.placeholder(what),
        }
    }

    /// Ends the moves whose members are all complete, or have all waited long enough.
    fn move_together(&mut self, keys: &mut BTreeSet<Key>, moment: Moment, clusters: &mut Clusters) {
        for (table, mut moving) in std::mem::take(&mut self.moving) {
            let Some(TableState::Known { hosts, .. }) = self.tables.get_mut(&table) else {
                continue;
            };
            let mut ready = true;
            for name in &moving.members {
                if let Some(host) = hosts.get_mut(name) {
                    host.look(moment, clusters);
                    ready &= host.lacks.is_none();
                }
            }
            if !ready {
                self.moving.insert(table, moving);
                continue;
            }
            for (name, host) in std::mem::take(&mut moving.leaving) {
                self.forget(&(table.clone(), name), host, clusters);
            }
            let members = moving.members.into_iter();
            keys.extend(members.map(|name| (table.clone(), name)));
        }
    }

    fn refresh_leaving(&mut self, (table, name): &Key, clusters: &Clusters) -> Option<Change> {
        let host = self.moving.get_mut(table)?.leaving.get_mut(name)?;
        let new = host.refreshed(clusters)?;
        let old = host.published.replace(Arc::clone(&new));
        Some(Change {
            table: table.clone(),
            old,
            new: Some(new),
        })
    }

    fn forget(&mut self, key: &Key, mut gone: Host, clusters: &mut Clusters) {
        self.dirty.remove(key);
        self.held.remove(key);
        self.relink(key, &mut gone, BTreeSet::new(), clusters);
        if let Some(old) = gone.published {
            self.removed.push(Change {
                table: key.0.clone(),
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

    fn host_mut(&mut self, (table, name): &Key) -> Option<&mut Host> {
        match self.tables.get_mut(table)? {
            TableState::Known { hosts, .. } => hosts.get_mut(name),
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
