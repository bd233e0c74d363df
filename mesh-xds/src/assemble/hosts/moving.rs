//! Domains that move from one virtual host of a table to another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mesh_core::route::Domain;

use super::host::Host;

/// Hosts of one table between which domains move. They are published at once: otherwise a domain
/// would belong to nobody for a while, or go back to a host that has already lost it.
#[derive(Debug)]
pub(super) struct Moving {
    pub(super) members: BTreeSet<Arc<str>>,
    /// Members that the new version does not have; what is published of them serves until then.
    pub(super) leaving: BTreeMap<Arc<str>, Host>,
}

impl Moving {
    /// Finds the hosts that lose a domain to another host, or gain one from another.
    pub(super) fn new(hosts: &BTreeMap<Arc<str>, Host>, gone: &BTreeMap<Arc<str>, Host>) -> Self {
        let changing = || hosts.iter().filter(|(_, host)| !host.is_current());
        let mut owners: HashMap<&Domain, &Arc<str>> = HashMap::new();
        for (name, host) in changing().chain(gone) {
            let published = host.published.iter();
            owners.extend(
                published.flat_map(|target| target.host.domains().iter().map(move |d| (d, name))),
            );
        }
        let mut members = BTreeSet::new();
        for (name, host) in changing() {
            for owner in host.wanted.domains().iter().filter_map(|d| owners.get(d)) {
                if *owner != name {
                    members.extend([Arc::clone(owner), Arc::clone(name)]);
                }
            }
        }
        Self {
            members,
            leaving: BTreeMap::new(),
        }
    }
}
