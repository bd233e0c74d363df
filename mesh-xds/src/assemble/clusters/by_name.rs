//! Clusters that are asked for by name, in gRPC's dialect: those that routes name, and no others.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Clusters;
use crate::dialect::Dialect;

/// What a wildcard CDS needs not to know.
#[derive(Debug, Default)]
pub(super) struct ByName {
    /// Those that routes name, until one comes or goes.
    pub(super) names: Option<Shared>,
    /// Those of them that are known not to exist. What is neither here nor among the clusters is waited for.
    pub(super) gone: BTreeSet<Arc<str>>,
    /// What the control plane was last asked for, and so does not send again.
    requested: Shared,
}

type Shared = Arc<BTreeSet<Arc<str>>>;

impl Clusters {
    /// None yet; each will be asked for by name.
    pub(in super::super) fn by_name() -> Self {
        Self {
            by_name: Some(ByName::default()),
            ..Self::default()
        }
    }

    /// The clusters to ask for; `None` is all.
    pub(in super::super) fn names_to_ask(&mut self) -> Option<Shared> {
        let by_name = self.by_name.as_mut()?;
        let referenced = &self.referenced;
        let names = by_name
            .names
            .get_or_insert_with(|| Arc::new(referenced.keys().cloned().collect()));
        Some(Arc::clone(names))
    }

    /// Records which clusters the control plane is now asked for by name.
    pub(in super::super) fn clusters_requested(&mut self, names: Shared) {
        let Some(by_name) = &mut self.by_name else {
            return;
        };
        if let Some(wire) = &mut self.wire {
            let referenced = &self.referenced;
            wire.retain(|name, _| names.contains(name) || referenced.contains_key(name));
        }
        by_name.requested = names;
    }

    /// Whose rules they are judged by.
    pub(super) const fn dialect(&self) -> Dialect {
        match self.by_name {
            None => Dialect::Sidecar,
            Some(_) => Dialect::Grpc,
        }
    }

    /// Whether the content of a cluster is of use: all of a wildcard are.
    pub(super) fn is_of_use(&self, name: &Arc<str>) -> bool {
        self.by_name.as_ref().is_none_or(|by_name| {
            by_name.requested.contains(name) || self.referenced.contains_key(name)
        })
    }

    /// Whether it has been said what a cluster is, or that it is not.
    pub(in super::super) fn is_answered(&self, name: &str) -> bool {
        match &self.by_name {
            None => self.wire.is_some(),
            Some(by_name) => {
                self.wire(name).is_some()
                    || by_name.gone.contains(name)
                    || !self.referenced.contains_key(name)
            }
        }
    }

    /// Whether that has been said of all.
    pub(in super::super) fn is_known(&self) -> bool {
        match &self.by_name {
            None => self.wire.is_some(),
            Some(_) => self.referenced.keys().all(|name| self.is_answered(name)),
        }
    }

    /// What is still to come of a cluster that is not there.
    pub(super) fn awaited(&self, name: &Arc<str>) -> Option<Arc<str>> {
        match &self.by_name {
            None => self.wire.is_none().then(|| "the clusters (CDS)".into()),
            Some(by_name) => {
                (!by_name.gone.contains(name)).then(|| format!("cluster {name:?} (CDS)").into())
            }
        }
    }

    /// They have arrived.
    pub(super) fn are_there<'a>(&mut self, names: impl Iterator<Item = &'a Arc<str>>) {
        if let Some(by_name) = &mut self.by_name {
            for name in names {
                by_name.gone.remove(name);
            }
        }
    }

    /// Records that a cluster that was asked for by name does not exist.
    pub(in super::super) fn cluster_absent(&mut self, name: &Arc<str>) {
        let is_there = self.wire(name).is_some();
        if let Some(by_name) = &mut self.by_name
            && !is_there
            && self.referenced.contains_key(name)
        {
            by_name.gone.insert(Arc::clone(name));
            self.dirty.insert(Arc::clone(name));
        }
    }
}
