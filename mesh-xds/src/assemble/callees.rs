//! The clusters that the rules of servers name, of authorizers and of keys of tokens: resolved as those that routes name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::clusters::{Clusters, Resolution};
use super::inbound::Inbounds;
use super::{Assembler, Callees};

/// Those that the present rules name.
#[derive(Debug, Default)]
pub(super) struct Called {
    names: BTreeSet<Arc<str>>,
    published: Arc<Callees>,
}

impl Called {
    /// Refers to these clusters, and to no others.
    fn set(&mut self, names: BTreeSet<Arc<str>>, clusters: &mut Clusters) {
        for name in names.difference(&self.names) {
            clusters.refer(name);
        }
        for name in self.names.difference(&names) {
            clusters.release(name);
        }
        self.names = names;
    }

    /// What is there now, if it is not what was published. One whose new version waits for something keeps the former.
    fn take_changed(&mut self, clusters: &Clusters) -> Option<Arc<Callees>> {
        let former = &self.published;
        let of = |name: &Arc<str>| match clusters.resolution(name) {
            Resolution::Ready(cluster) => Some(Some(cluster)),
            Resolution::Absent => Some(None),
            Resolution::Waiting(_) => former.get(name).cloned(),
        };
        let names = self.names.iter();
        let now = names.filter_map(|name| Some((Arc::clone(name), of(name)?)));
        let now: Callees = now.collect();
        let same = |(a, b): (&Option<Arc<_>>, &Option<Arc<_>>)| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        if now.keys().eq(former.keys()) && now.values().zip(former.values()).all(same) {
            return None;
        }
        self.published = Arc::new(now);
        Some(Arc::clone(&self.published))
    }
}

impl Assembler {
    /// The rules of servers may name other clusters now. In gRPC's dialect servers have no filter that calls anybody.
    pub(super) fn link_callees(&mut self) {
        let names = self.inbound.as_ref().map(Inbounds::callees);
        self.callees
            .set(names.unwrap_or_default(), &mut self.clusters);
    }

    pub(super) fn take_callees(&mut self) -> Option<Arc<Callees>> {
        self.callees.take_changed(&self.clusters)
    }
}
