//! What was last said of each resource, and when: what the cache does not need and CSDS tells (gRPC A40).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use envoy_types::pb::envoy::service::discovery::v3::ResourceError;

use super::accept::{Accepted, instead};
use crate::assemble::Assembler;
use crate::resource::ResourceType;

/// Records of resources that are gone are dropped when there are twice as many as were left the last time, and
/// this many more.
const SLACK: usize = 64;

/// What is remembered of one resource.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Version and time of the last one that was taken.
    pub(crate) accepted: Option<(Arc<str>, SystemTime)>,
    /// What has gone wrong since then.
    pub(crate) trouble: Option<Trouble>,
}

/// Why the last word on a resource is not a resource.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It was sent and not accepted.
    Refused(Failure),
    /// The control plane sent an error in its place (gRPC A88).
    Error(Failure),
    /// It did not come in time, from a control plane that is known to be slow (gRPC A88).
    TimedOut,
}

/// An update that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) details: String,
    /// Empty where there is none.
    pub(crate) version: Arc<str>,
    pub(crate) at: SystemTime,
}

/// The records of all types.
#[derive(Debug, Default)]
pub(super) struct History {
    records: [Records; ResourceType::ALL.len()],
}

#[derive(Debug, Default)]
struct Records {
    by_name: BTreeMap<Arc<str>, Record>,
    left: usize,
}

impl History {
    pub(super) fn of(&self, resource_type: ResourceType, name: &str) -> Option<&Record> {
        self.records[resource_type as usize].by_name.get(name)
    }

    /// A response holds the whole state of a type: former troubles are in it again, or over.
    pub(super) fn forgive_all(&mut self, resource_type: ResourceType) {
        let records = self.records[resource_type as usize].by_name.values_mut();
        records.for_each(|record| record.trouble = None);
    }

    /// The control plane has said that a resource does not exist, which is no failure.
    pub(super) fn forgive(&mut self, resource_type: ResourceType, name: &str) {
        let records = &mut self.records[resource_type as usize].by_name;
        if let Some(record) = records.get_mut(name) {
            record.trouble = None;
        }
    }

    /// A response was handed to the cache. What the cache has no place for leaves no record, so a control plane
    /// that sends what nobody asked for makes nothing grow.
    pub(super) fn heard(
        &mut self,
        assembler: &Assembler,
        resource_type: ResourceType,
        accepted: &Accepted,
    ) {
        let at = SystemTime::now();
        let knows = |name: &str| assembler.knows(resource_type, name);
        let records = &mut self.records[resource_type as usize];
        for (name, version) in accepted.taken.iter().filter(|(name, _)| knows(name)) {
            let record = records.by_name.entry(Arc::clone(name)).or_default();
            record.accepted = Some((Arc::clone(version), at));
            record.trouble = None;
        }
        for rejected in accepted.rejected.iter().filter(|all| knows(&all.name)) {
            let failure = Failure {
                details: rejected.to_string(),
                version: Arc::clone(&rejected.version),
                at,
            };
            records.trouble(&rejected.name, Trouble::Refused(failure));
        }
        records.prune(knows);
    }

    /// The control plane has sent errors in the place of these resources.
    pub(super) fn errors(
        &mut self,
        assembler: &Assembler,
        resource_type: ResourceType,
        errors: &[ResourceError],
    ) {
        let at = SystemTime::now();
        let named = errors
            .iter()
            .filter_map(|error| Some((&*error.resource_name.as_ref()?.name, error)));
        for (name, error) in named.filter(|(name, _)| assembler.knows(resource_type, name)) {
            let status = error.error_detail.as_ref();
            let failure = Failure {
                details: status.map_or_else(String::new, instead),
                version: "".into(),
                at,
            };
            self.records[resource_type as usize].trouble(&name.into(), Trouble::Error(failure));
        }
    }

    /// A resource did not come in time.
    pub(super) fn timed_out(&mut self, resource_type: ResourceType, name: &Arc<str>) {
        self.records[resource_type as usize].trouble(name, Trouble::TimedOut);
    }
}

impl Records {
    fn trouble(&mut self, name: &Arc<str>, trouble: Trouble) {
        let record = self.by_name.entry(Arc::clone(name)).or_default();
        record.trouble = Some(trouble);
    }

    fn prune(&mut self, is_known: impl Fn(&str) -> bool) {
        if self.by_name.len() > 2 * self.left + SLACK {
            self.by_name.retain(|name, _| is_known(name));
            self.left = self.by_name.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    fn named(names: impl IntoIterator<Item = u32>) -> Accepted {
        let taken = names.into_iter();
        Accepted {
            taken: taken
                .map(|name| (name.to_string().into(), "1".into()))
                .collect(),
            rejected: Vec::new(),
        }
    }

    /// A cache that lists these clusters.
    fn listing(names: std::ops::Range<u32>) -> Assembler {
        let mut assembler = Assembler::new("default", Dialect::Sidecar);
        let clusters = names.map(|name| (name.to_string().into(), Vec::new()));
        assembler.set_clusters(&"1".into(), clusters.collect(), false);
        assembler
    }

    const CDS: ResourceType = ResourceType::Cluster;

    #[test]
    fn what_the_cache_has_no_place_for_leaves_no_record() {
        let mut history = History::default();
        history.heard(&listing(0..1), CDS, &named(0..1000));
        assert!(history.of(CDS, "0").is_some());
        assert_eq!(history.records[CDS as usize].by_name.len(), 1);
    }

    #[test]
    fn records_of_what_is_gone_are_dropped_before_they_are_many() {
        let mut history = History::default();
        for turn in 0..1000 {
            let names = 10 * turn..10 * turn + 10;
            history.heard(&listing(names.clone()), CDS, &named(names));
            let kept = history.records[CDS as usize].by_name.len();
            assert!(kept <= 2 * 10 + SLACK + 10, "{kept} records of 10 clusters");
            let newest = (10 * turn).to_string();
            assert!(history.of(CDS, &newest).is_some());
        }
    }
}
