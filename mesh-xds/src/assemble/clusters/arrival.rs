//! A new CDS, whole or as what has changed: what it means for the clusters that are in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Clusters;
use crate::decode::cluster;
use crate::decode::{Invalid, Rejected};
use crate::resource::ResourceType;

impl Clusters {
    /// Returns whether a cluster came or went.
    pub(in super::super) fn replace(
        &mut self,
        version: &Arc<str>,
        mut clusters: BTreeMap<Arc<str>, Vec<u8>>,
        keep: bool,
    ) -> bool {
        clusters.retain(|name, _| self.is_of_use(name));
        if keep && let Some(wire) = &self.wire {
            for (name, former) in wire {
                clusters
                    .entry(Arc::clone(name))
                    .or_insert_with(|| former.clone());
            }
        }
        self.version = Arc::clone(version);
        let renamed = self
            .wire
            .as_ref()
            .is_none_or(|former| !former.keys().eq(clusters.keys()));
        self.are_there(clusters.keys());
        let former = self.wire.replace(clusters);
        let before = former.iter().flat_map(BTreeMap::keys).cloned();
        before.for_each(|name| self.cluster_absent(&name));
        let names: Vec<Arc<str>> = self.referenced.keys().cloned().collect();
        for name in names {
            let before = former.as_ref().and_then(|former| former.get(&name));
            self.renew(name, former.is_none(), before);
        }
        renamed
    }

    /// Takes what has changed since the last CDS, or the first of it. Returns whether a cluster came or went.
    pub(in super::super) fn change(
        &mut self,
        version: &Arc<str>,
        mut changed: BTreeMap<Arc<str>, Vec<u8>>,
        removed: &[Arc<str>],
    ) -> bool {
        changed.retain(|name, _| self.is_of_use(name));
        self.are_there(changed.keys());
        self.version = Arc::clone(version);
        let first = self.wire.is_none();
        let wire = self.wire.get_or_insert_default();
        let mut renamed = first;
        let mut former: BTreeMap<Arc<str>, Option<Vec<u8>>> = BTreeMap::new();
        for name in removed {
            let before = wire.remove(name);
            renamed |= before.is_some();
            former.insert(Arc::clone(name), before);
        }
        for (name, bytes) in changed {
            let before = wire.insert(Arc::clone(&name), bytes);
            renamed |= before.is_none();
            former.entry(name).or_insert(before);
        }
        if first {
            // Those that are not in it are now known not to be there.
            let all = self.referenced.keys().cloned();
            former.extend(all.map(|name| (name, None)));
        }
        removed.iter().for_each(|name| self.cluster_absent(name));
        for (name, before) in former {
            self.renew(name, first, before.as_ref());
        }
        renamed
    }

    /// Compares one cluster that is in use with the former CDS; `first` when there was none.
    fn renew(&mut self, name: Arc<str>, first: bool, before: Option<&Vec<u8>>) {
        let dialect = self.dialect();
        let (Some(wire), Some(referenced)) = (&mut self.wire, self.referenced.get_mut(&name))
        else {
            return;
        };
        let after = wire.get(&name);
        if !first && before == after {
            if let Some(Err(fault)) = &referenced.resource {
                let version = Arc::clone(&self.version);
                let fault = Rejected {
                    version,
                    ..fault.clone()
                };
                self.faults.insert(name, fault);
            }
            return;
        }
        let decoded = after.map(|bytes| cluster::decode(bytes, dialect));
        match (decoded, &referenced.resource, before) {
            // Bad input loses nothing: the version that works stays.
            (Some(Err(reason)), Some(Ok(_)), Some(before)) => {
                wire.insert(Arc::clone(&name), before.clone());
                let fault = self.fault(&name, reason);
                self.faults.insert(name, fault);
                return;
            }
            (None, ..) => {
                referenced.resource = None;
                self.ignored.remove(&name);
            }
            (Some(decoded), ..) => drop(self.remember(&name, decoded)),
        }
        self.dirty.insert(name);
    }

    pub(super) fn fault(&self, name: &Arc<str>, reason: Invalid) -> Rejected {
        Rejected {
            resource_type: ResourceType::Cluster,
            name: Arc::clone(name),
            version: Arc::clone(&self.version),
            reason,
        }
    }
}
