//! The clusters of the authorizers that the rules of servers name: resolved as those that routes name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::clusters::{Clusters, Resolution};
use super::inbound::Inbounds;
use super::{Assembler, Authorizers};

/// Those that the present rules name.
#[derive(Debug, Default)]
pub(super) struct Asked {
    names: BTreeSet<Arc<str>>,
    published: Arc<Authorizers>,
}

impl Asked {
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
    fn take_changed(&mut self, clusters: &Clusters) -> Option<Arc<Authorizers>> {
        let former = &self.published;
        let of = |name: &Arc<str>| match clusters.resolution(name) {
            Resolution::Ready(cluster) => Some(Some(cluster)),
            Resolution::Absent => Some(None),
            Resolution::Waiting(_) => former.get(name).cloned(),
        };
        let names = self.names.iter();
        let now = names.filter_map(|name| Some((Arc::clone(name), of(name)?)));
        let now: Authorizers = now.collect();
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
    /// The rules of servers may name other authorizers now.
    pub(super) fn link_authorizers(&mut self) {
        let names = self.inbound.as_ref().map(Inbounds::authorizers);
        self.authorizers
            .set(names.unwrap_or_default(), &mut self.clusters);
    }

    pub(super) fn take_authorizers(&mut self) -> Option<Arc<Authorizers>> {
        self.authorizers.take_changed(&self.clusters)
    }
}
