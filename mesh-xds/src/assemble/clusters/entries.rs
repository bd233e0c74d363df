//! Clusters and load assignments as [`Assembler::entries`](super::super::Assembler::entries) lists them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Assignment, Clusters};
use crate::assemble::entries::{Entry, Held};
use crate::resource::ResourceType;

impl Clusters {
    pub(in super::super) fn knows_cluster(&self, name: &str) -> bool {
        self.wire(name).is_some() || self.referenced.contains_key(name)
    }

    pub(in super::super) fn knows_endpoints(&self, name: &str) -> bool {
        self.by_service.contains_key(name) || self.endpoints.contains_key(name)
    }

    /// Those that are listed and those that routes name.
    pub(in super::super) fn cluster_entries(&self) -> Vec<Entry<'_>> {
        let listed = self.wire.iter().flat_map(|wire| wire.keys());
        let names: BTreeSet<&Arc<str>> = listed.chain(self.referenced.keys()).collect();
        let entry = |name: &Arc<str>| {
            let wire = self.wire(name).map(Vec::as_slice);
            let resource = self.referenced.get(name);
            let resource = resource.and_then(|referenced| referenced.resource.as_ref());
            Entry {
                resource_type: ResourceType::Cluster,
                name: Arc::clone(name),
                held: match (wire, resource) {
                    (Some(_), Some(Err(fault))) => Held::Faulty(fault),
                    (Some(_), _) => Held::Usable,
                    (None, _) if self.is_answered(name) => Held::Absent,
                    (None, _) => Held::Waiting,
                },
                wire,
            }
        };
        names.into_iter().map(entry).collect()
    }

    /// Those that are cached and those that clusters in use name.
    pub(in super::super) fn endpoints_entries(&self) -> Vec<Entry<'_>> {
        let wanted = self.by_service.keys();
        let names: BTreeSet<&Arc<str>> = wanted.chain(self.endpoints.keys()).collect();
        let entry = |name: &Arc<str>| Entry {
            resource_type: ResourceType::Endpoints,
            name: Arc::clone(name),
            held: match self.endpoints.get(name) {
                None => Held::Waiting,
                Some(Assignment::Known(_)) => Held::Usable,
                Some(Assignment::Absent) => Held::Absent,
                Some(Assignment::Refused(fault)) => Held::Refused(fault),
            },
            wire: None,
        };
        names.into_iter().map(entry).collect()
    }
}
