//! The sets of endpoints that picks choose among, laid out when the cluster is built.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::locality::{Locality, effective_weight};
use super::priority::{self, Hosts, PriorityLoad};
use super::schedule::schedule;
use super::shares::Shares;
use super::{InPanic, LbConfig};
use crate::cluster::{Endpoint, Health};

/// Endpoints among which the policy decides. No endpoint is in two groups.
#[derive(Debug)]
pub(super) struct Group {
    /// Where they stand in [`Layout::members`].
    pub(super) members: Range<usize>,
    /// Their turn in [`Layout::schedule`].
    pub(super) schedule: Range<usize>,
    /// Which group it is.
    pub(super) number: usize,
}

/// Leads a pick to its group.
#[derive(Debug)]
pub(super) enum Choice {
    /// The common case: one priority takes all, and its endpoints are one set.
    One(Group),
    /// Priorities by load (healthy and degraded are two entries), localities by effective weight.
    Several(Shares<Shares<Group>>),
}

/// The groups' endpoints, group by group.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) members: Vec<u32>,
    /// One turn: indices of endpoints, each as often as its weight says, spread evenly.
    pub(super) schedule: Vec<u32>,
    groups: usize,
}

/// The endpoints of a group to be, by index, with their weights.
type Members = Vec<(u32, u32)>;

#[derive(Clone, Copy)]
struct Host<'a> {
    at: u32,
    endpoint: &'a Endpoint,
    health: Health,
}

pub(super) fn lay_out(
    config: &LbConfig,
    endpoints: &[Endpoint],
    health: impl Fn(usize) -> Health,
) -> (Choice, Layout) {
    let mut priorities: BTreeMap<u32, Vec<Host<'_>>> = BTreeMap::new();
    // Priorities that nobody has take nothing, so gaps need no entry.
    for ((at, endpoint), index) in (0_u32..).zip(endpoints).zip(0_usize..) {
        let health = health(index);
        let hosts = priorities.entry(endpoint.priority).or_default();
        hosts.push(Host {
            at,
            endpoint,
            health,
        });
    }
    let counts: Vec<Hosts> = priorities.values().map(|hosts| count(hosts)).collect();
    let loads = priority::loads(&counts, config.overprovisioning, config.panic);
    let mut shares = Vec::new();
    for ((number, hosts), load) in priorities.iter().zip(loads) {
        shares.extend(priority(config, *number, hosts, load));
    }
    // All groups must be known before the first is laid out: they share a budget.
    let mut count = 0;
    let shares = Shares::new(shares).map(|localities| {
        localities.map(|members| {
            count += 1;
            members
        })
    });
    let mut layout = Layout::default();
    let shares = shares.map(|localities| localities.map(|members| layout.group(&members, count)));
    let choice = match shares.into_only().map(Shares::into_only) {
        Ok(Ok(only)) => Choice::One(only),
        Ok(Err(localities)) => Choice::Several(Shares::new([(localities, 1)])),
        Err(priorities) => Choice::Several(priorities),
    };
    (choice, layout)
}

impl Layout {
    /// Lays out one of a cluster's `groups`.
    fn group(&mut self, weighted: &Members, groups: usize) -> Group {
        let (first_member, first_turn) = (self.members.len(), self.schedule.len());
        self.members.extend(weighted.iter().map(|(at, _)| *at));
        self.schedule.extend(schedule(weighted, groups));
        let number = self.groups;
        self.groups += 1;
        Group {
            members: first_member..self.members.len(),
            schedule: first_turn..self.schedule.len(),
            number,
        }
    }
}

/// What a priority's load goes to.
fn priority(
    config: &LbConfig,
    priority: u32,
    hosts: &[Host<'_>],
    load: PriorityLoad,
) -> Vec<(Shares<Members>, u64)> {
    if load.panic {
        let members = match config.panic.then {
            InPanic::AllEndpoints => hosts,
            InPanic::NoEndpoint => &[],
        };
        let total = u64::from(load.healthy + load.degraded);
        // An empty group is kept: its share of the calls fails.
        return match total {
            0 => Vec::new(),
            total => vec![(whole(members.iter().copied()), total)],
        };
    }
    [
        (load.healthy, Health::Healthy),
        (load.degraded, Health::Degraded),
    ]
    .into_iter()
    .filter(|(load, _)| *load > 0)
    .map(|(load, health)| (localities(config, priority, hosts, health), u64::from(load)))
    .collect()
}

/// The endpoints of one health, locality by locality if localities are weighted.
fn localities(
    config: &LbConfig,
    priority: u32,
    hosts: &[Host<'_>],
    health: Health,
) -> Shares<Members> {
    let fits = |host: &Host<'_>| host.health == health;
    let all = || hosts.iter().copied().filter(fits);
    let Some(weights) = &config.locality_weights else {
        return whole(all());
    };
    let mut localities: BTreeMap<&Option<Arc<Locality>>, Vec<Host<'_>>> = BTreeMap::new();
    for host in hosts {
        let members = localities.entry(&host.endpoint.locality).or_default();
        members.push(*host);
    }
    let mut weighted = Vec::new();
    for (locality, members) in localities {
        let counts = count(&members);
        let available = match health {
            Health::Healthy => counts.healthy,
            Health::Degraded => counts.degraded,
            Health::Unhealthy | Health::Draining => 0,
        };
        let weight = weights.of(priority, locality);
        let weight = effective_weight(weight, available, &counts, config.overprovisioning);
        if weight > 0 {
            weighted.push((members, weight));
        }
    }
    if weighted.is_empty() {
        return whole(all());
    }
    let groups = weighted
        .into_iter()
        .map(|(members, weight)| (weighed(members.into_iter().filter(fits)), weight));
    Shares::new(groups)
}

fn whole<'a>(hosts: impl Iterator<Item = Host<'a>>) -> Shares<Members> {
    Shares::new([(weighed(hosts), 1)])
}

fn weighed<'a>(hosts: impl Iterator<Item = Host<'a>>) -> Members {
    hosts
        .map(|host| (host.at, host.endpoint.weight.max(1)))
        .collect()
}

fn count(hosts: &[Host<'_>]) -> Hosts {
    let mut counts = Hosts::default();
    for host in hosts {
        counts.total += 1;
        match host.health {
            Health::Healthy => counts.healthy += 1,
            Health::Degraded => counts.degraded += 1,
            Health::Draining => counts.draining += 1,
            Health::Unhealthy => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::LbPolicy;
    use super::super::locality::LocalityWeights;
    use super::*;

    /// Two endpoints, of a light and a heavy weight, in each of many localities.
    fn entries(localities: u32) -> usize {
        let mut weights = LocalityWeights::default();
        let mut endpoints = Vec::new();
        for number in 0..localities {
            let locality = Some(Arc::new(Locality {
                region: number.to_string().into(),
                zone: "".into(),
                sub_zone: "".into(),
            }));
            weights.insert(0, locality.clone(), 1);
            endpoints.extend([1, 1_000_000].map(|weight| Endpoint {
                weight,
                locality: locality.clone(),
                ..Endpoint::new(SocketAddr::from(([10, 0, 0, 1], 9080)))
            }));
        }
        let config = LbConfig {
            locality_weights: Some(weights),
            ..LbPolicy::RoundRobin.into()
        };
        lay_out(&config, &endpoints, |_| Health::Healthy)
            .1
            .schedule
            .len()
    }

    #[test]
    fn the_localities_of_a_cluster_share_one_budget() {
        for (localities, most) in [(1, 4100), (2, 4100), (100, 4300), (5000, 5000 * 34)] {
            let entries = entries(localities);
            assert!(entries <= most, "{localities} localities: {entries}");
            assert!(entries * 2 > most, "{localities} localities: {entries}");
        }
    }
}
