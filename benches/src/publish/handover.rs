//! What a data plane does with an assembled generation: the same changes to the tables that requests
//! read, then one swap.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh_core::snapshot::{Snapshot, Target};
use mesh_xds::Assembled;

/// The snapshot that requests would read.
#[derive(Debug, Default)]
pub(super) struct Live {
    current: ArcSwap<Snapshot<Arc<Target>>>,
}

impl Live {
    pub(super) fn publish(&self, assembled: &Assembled) {
        let mut next = Snapshot::clone(&self.current.load());
        next.generation = assembled.snapshot.generation;
        let changed = assembled.changes.iter().map(|change| &change.table);
        let mut touched = BTreeMap::new();
        for key in assembled.tables.iter().chain(changed) {
            if let Some(model) = assembled.snapshot.tables.get(key) {
                let table = next.tables.get(key).unwrap_or(model).clone();
                touched.insert(key.clone(), table);
            }
        }
        for change in &assembled.changes {
            if let (Some(old), Some(table)) = (change.leaving(), touched.get_mut(&change.table)) {
                table.remove(&old.host);
            }
        }
        for change in &assembled.changes {
            match (&change.new, touched.get_mut(&change.table)) {
                (Some(new), Some(table)) if change.keeps_host() => {
                    table.update(&new.host, Arc::clone(new))
                }
                (Some(new), Some(table)) => table.insert(&new.host, Arc::clone(new)),
                _ => {}
            }
        }
        for (key, table) in touched {
            next.tables.insert(key, table);
        }
        drop(self.current.swap(Arc::new(next)));
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot<Arc<Target>>> {
        self.current.load_full()
    }
}
