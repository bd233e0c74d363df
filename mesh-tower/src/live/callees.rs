//! The clusters that servers call by name: those of authorizers, and those that keys of tokens are fetched from.
//!
//! A name is known for as long as somebody may call by it. That is not only who follows the newest rules: those of before
//! hold until the keys of the newest were tried, and a request that has met them may ask long after they have changed. As
//! nobody follows a cluster of former rules, such a one stays as it was.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use mesh_core::server::{Inbound, Pipeline};

use super::LiveCluster;

/// `None` is one that the control plane does not have; one that is not there has not arrived.
type ByName = BTreeMap<Arc<str>, Option<Arc<LiveCluster>>>;

#[derive(Debug, Default)]
pub(super) struct Callees {
    known: ArcSwap<ByName>,
    users: Mutex<Users>,
}

/// Who may call.
#[derive(Debug, Default)]
struct Users {
    /// By the newest rules.
    newest: ByName,
    /// By any rules that somebody still holds.
    pipelines: Vec<Weak<Pipeline>>,
}

impl Callees {
    pub(super) fn find(&self, name: &str) -> Option<Option<Arc<LiveCluster>>> {
        self.known.load().get(name).cloned()
    }

    /// Takes in what is new of the clusters, and of the rules that name them; before these hold.
    pub(super) fn publish(&self, newest: Option<ByName>, inbound: Option<&Inbound>) {
        let mut users = self.users();
        let all = inbound.into_iter().flat_map(Inbound::pipelines);
        let calling = all.filter(|pipeline| pipeline.callees().next().is_some());
        users.pipelines.extend(calling.map(Arc::downgrade));
        if let Some(newest) = newest {
            users.newest = newest;
            self.update(&mut users);
        }
    }

    /// Forgets what nobody calls any more.
    pub(super) fn forget_unused(&self) {
        self.update(&mut self.users());
    }

    fn update(&self, users: &mut Users) {
        users.pipelines.retain(|it| it.strong_count() > 0);
        let former = self.known.load();
        let mut next = users.newest.clone();
        for pipeline in users.pipelines.iter().filter_map(Weak::upgrade) {
            for name in pipeline.callees() {
                if let Some(cluster) = former.get(name) {
                    let kept = || cluster.clone();
                    next.entry(Arc::clone(name)).or_insert_with(kept);
                }
            }
        }
        self.known.store(Arc::new(next));
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
