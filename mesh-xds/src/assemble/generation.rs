//! What is published: a generation, and how it differs from the one before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use mesh_core::cluster::Cluster;
use mesh_core::cow_map::CowMap;
use mesh_core::server::Inbound;
use mesh_core::snapshot::{Snapshot, Table, TableKey, Target};

use super::Assembler;
use super::hosts::TableState;

/// A new generation, with what is different in it.
#[derive(Debug)]
pub struct Assembled {
    /// The configuration.
    pub snapshot: Snapshot,
    /// Hosts that differ from the previous generation.
    pub changes: Vec<Change>,
    /// Tables whose own attributes may differ.
    pub tables: Vec<TableKey>,
    /// What servers have to know, where it differs from the previous generation.
    pub inbound: Option<Arc<Inbound>>,
    /// The clusters that servers call by name, where they differ from the previous generation.
    pub callees: Option<Arc<Callees>>,
}

/// Those of authorizers, and those that keys of tokens are fetched from, by their names. `None` is one that the control plane does not have; one that is not there has not arrived.
pub type Callees = BTreeMap<Arc<str>, Option<Arc<Cluster>>>;

/// One host of one table, before and after.
#[derive(Debug, Clone)]
pub struct Change {
    /// The table.
    pub table: TableKey,
    /// What there was.
    pub old: Option<Arc<Target>>,
    /// What there is now.
    pub new: Option<Arc<Target>>,
}

impl Change {
    /// Whether the host stays as it is and only its clusters differ: its domains need no change.
    pub fn keeps_host(&self) -> bool {
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            return false;
        };
        Arc::ptr_eq(&old.host, &new.host)
    }

    /// What has to leave the table before [`Self::new`] enters it.
    pub fn leaving(&self) -> Option<&Arc<Target>> {
        self.old.as_ref().filter(|_| !self.keeps_host())
    }
}

impl Assembler {
    /// Publishes what has become complete. `None` when nothing changed.
    pub(crate) fn assemble(&mut self, now: Instant) -> Option<Assembled> {
        for cluster in self.clusters.settle() {
            self.hosts.cluster_changed(&cluster);
        }
        let changes = self.hosts.settle(now, &mut self.clusters);
        let tables = self.hosts.take_changed_tables();
        // Before the first table nobody asks for the registry.
        let registry = self.registry.is_some() && self.snapshot.generation > 0;
        let callees = self.take_callees();
        let inbound = self.take_inbound();
        let is_outbound = !changes.is_empty() || !tables.is_empty() || registry;
        if !is_outbound && inbound.is_none() && callees.is_none() {
            return None;
        }
        if let Some(registry) = self.registry.take() {
            self.snapshot.registry = registry;
        }
        self.apply(&changes, &tables);
        self.snapshot.generation += 1;
        Some(Assembled {
            snapshot: self.snapshot.clone(),
            changes,
            tables,
            inbound,
            callees,
        })
    }

    fn apply(&mut self, changes: &[Change], tables: &[TableKey]) {
        let mut touched: BTreeMap<TableKey, Table<Arc<Target>>> = BTreeMap::new();
        let keys = tables
            .iter()
            .chain(changes.iter().map(|change| &change.table));
        for key in keys {
            let Some(state) = self.hosts.table(key) else {
                continue;
            };
            touched.entry(key.clone()).or_insert_with(|| {
                let mut table = table_of(state, self.snapshot.tables.get(key));
                if let Some(unserved) = self.unserved.get(key) {
                    table.unserved = Arc::clone(unserved);
                }
                table
            });
        }
        // All removals first: a domain may move from one host to another.
        for (change, old) in changes
            .iter()
            .filter_map(|change| Some((change, change.leaving()?)))
        {
            if let Some(table) = touched.get_mut(&change.table) {
                table.remove(&old.host);
            }
        }
        for (change, new) in changes
            .iter()
            .filter_map(|change| Some((change, change.new.as_ref()?)))
        {
            match touched.get_mut(&change.table) {
                Some(table) if change.keeps_host() => table.update(&new.host, Arc::clone(new)),
                Some(table) => table.insert(&new.host, Arc::clone(new)),
                None => {}
            }
        }
        let published: &mut CowMap<_, _> = &mut self.snapshot.tables;
        for (key, table) in touched {
            published.insert(key, table);
        }
    }
}

/// The former table with the present attributes.
fn table_of(state: &TableState, former: Option<&Table<Arc<Target>>>) -> Table<Arc<Target>> {
    let (version, ignore_port, missing) = match state {
        TableState::Waiting => ("".into(), true, None),
        TableState::Absent(reason) => ("".into(), true, Some(reason.clone())),
        TableState::Known {
            version,
            ignore_port,
            ..
        } => (Arc::clone(version), *ignore_port, None),
    };
    let mut table = former
        .cloned()
        .unwrap_or_else(|| Table::new(Arc::clone(&version), ignore_port));
    table.version = version;
    table.ignore_port = ignore_port;
    table.missing = missing;
    table
}
