//! Follows the folder: every accepted content becomes the next generation, a rejected one is only told about.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mesh_istio::watch::Watcher;
use mesh_istio::{Config, Loaded, Rejected};
use tokio::sync::watch;

use crate::generation::Generation;

/// Serves each new content of the folder, until it is dropped. `rejected` says whether the newest content was
/// refused, and why.
pub(crate) async fn follow(
    mut watcher: Watcher,
    start: String,
    current: watch::Sender<Arc<Generation>>,
    rejected: watch::Sender<Option<Rejected>>,
) {
    loop {
        let last = Arc::clone(&current.borrow());
        match watcher.changed().await {
            Ok(Loaded { config, notes }) => {
                let changes = Changes::between(&last.config, &config);
                let next = Generation::new(&start, last.number + 1, config);
                tracing::info!(version = next.number, "configuration changed: {changes}");
                for note in notes {
                    tracing::warn!("{note}");
                }
                current.send_replace(Arc::new(next));
                rejected.send_replace(None);
            }
            Err(reason) => {
                tracing::error!(
                    "configuration rejected, version {} stays in force:\n{reason}",
                    last.number
                );
                rejected.send_replace(Some(reason));
            }
        }
    }
}

/// How many objects differ between two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    added: usize,
    changed: usize,
    removed: usize,
    all: usize,
}

impl Changes {
    fn between(old: &Config, new: &Config) -> Self {
        let by_id = |config: &Config| -> BTreeMap<String, String> {
            config
                .objects()
                .map(|object| (object.id(), object.yaml.clone()))
                .collect()
        };
        let (old, new) = (by_id(old), by_id(new));
        let mut this = Self {
            all: new.len(),
            ..Self::default()
        };
        for (id, yaml) in &new {
            match old.get(id) {
                None => this.added += 1,
                Some(before) if before != yaml => this.changed += 1,
                Some(_) => {}
            }
        }
        this.removed = old.keys().filter(|id| !new.contains_key(*id)).count();
        this
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            changed,
            removed,
            all,
        } = self;
        write!(
            f,
            "{added} objects added, {changed} changed, {removed} removed; {all} in force"
        )
    }
}
