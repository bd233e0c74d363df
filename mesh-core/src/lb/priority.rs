//! How much of a cluster's traffic each priority takes.

use super::{Overprovisioning, Panic};

/// How many endpoints a priority, or a locality in it, has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hosts {
    /// All of them.
    pub total: u32,
    /// Those that drain: shares are taken of the others only (Envoy's excluded hosts).
    pub draining: u32,
    /// Those that are healthy.
    pub healthy: u32,
    /// Those that are degraded.
    pub degraded: u32,
}

impl Hosts {
    /// What shares are taken of.
    pub(super) fn counted(&self) -> u64 {
        u64::from(self.total.saturating_sub(self.draining))
    }

    fn panics(&self, threshold: u8) -> bool {
        let available = u64::from(self.healthy) + u64::from(self.degraded);
        match self.counted() {
            0 => threshold > 0,
            counted => available * 100 < u64::from(threshold.min(100)) * counted,
        }
    }
}

/// What a priority takes, in percent. Over all priorities it adds up to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PriorityLoad {
    /// To its healthy endpoints.
    pub healthy: u32,
    /// To its degraded endpoints.
    pub degraded: u32,
    /// Whether both go to all of its endpoints instead, or fail ([`Panic::then`]).
    pub panic: bool,
}

/// The loads of priorities, the highest first.
///
/// With [`Overprovisioning::Envoy`] (`LoadBalancerBase::recalculatePerPriorityState` and
/// `recalculatePerPriorityPanic` are the source of the rules):
/// 1. A priority can take `min(100, factor * healthy / total)` percent of the traffic, and its
///    degraded endpoints the same of theirs. All of them together can take `n`, at most 100.
/// 2. The healthy are served first, priority after priority: each takes what it can, scaled by
///    `100 / n`, of what is left. The degraded take what the healthy leave. What rounding leaves goes
///    to the first priority that has healthy endpoints, else to the first that has degraded ones.
/// 3. While `n` is below 100, a priority with fewer available endpoints than the threshold panics. If
///    all panic, each takes its share of all endpoints, healthy or not.
/// 4. If nothing can be taken and not all panic, the first that does not panic takes everything. It
///    may have nobody to give it to: then calls fail.
///
/// With [`Overprovisioning::Strict`] the first priority with a healthy endpoint takes everything;
/// without one, nobody takes anything.
pub fn loads(
    hosts: &[Hosts],
    overprovisioning: Overprovisioning,
    panic: Panic,
) -> Vec<PriorityLoad> {
    let Overprovisioning::Envoy { factor } = overprovisioning else {
        return all_to(hosts.len(), hosts.iter().position(|own| own.healthy > 0));
    };
    let available = |part: fn(&Hosts) -> u32| -> Vec<u64> {
        let of = |own: &Hosts| match own.counted() {
            0 => 0,
            counted => (u64::from(factor) * u64::from(part(own)) / counted).min(100),
        };
        hosts.iter().map(of).collect()
    };
    let (healthy, degraded) = (available(|own| own.healthy), available(|own| own.degraded));
    let n = healthy.iter().chain(&degraded).sum::<u64>().min(100);
    let panics: Vec<bool> = hosts
        .iter()
        .map(|own| n < 100 && own.panics(panic.threshold))
        .collect();
    let mut loads = match n {
        _ if panics.iter().all(|panics| *panics) => in_total_panic(hosts),
        0 => all_to(hosts.len(), panics.iter().position(|panics| !panics)),
        n => by_availability(&healthy, &degraded, n),
    };
    for (load, panics) in loads.iter_mut().zip(panics) {
        load.panic = panics;
    }
    loads
}

fn by_availability(healthy: &[u64], degraded: &[u64], n: u64) -> Vec<PriorityLoad> {
    let mut left = 100;
    let mut take = |available: &u64| {
        let load = percent(available * 100 / n).min(left);
        left -= load;
        load
    };
    let to_healthy: Vec<u32> = healthy.iter().map(&mut take).collect();
    let to_degraded: Vec<u32> = degraded.iter().map(&mut take).collect();
    let mut loads: Vec<PriorityLoad> = to_healthy
        .into_iter()
        .zip(to_degraded)
        .map(|(healthy, degraded)| PriorityLoad {
            healthy,
            degraded,
            panic: false,
        })
        .collect();
    let first = |available: &[u64]| available.iter().position(|available| *available > 0);
    if let Some(first) = first(healthy) {
        loads[first].healthy += left;
    } else if let Some(first) = first(degraded) {
        loads[first].degraded += left;
    }
    loads
}

/// By the number of endpoints; what rounding leaves goes to the first priority that has one.
fn in_total_panic(hosts: &[Hosts]) -> Vec<PriorityLoad> {
    let total: u64 = hosts.iter().map(|own| u64::from(own.total)).sum();
    if total == 0 {
        return all_to(hosts.len(), Some(0));
    }
    let mut left = 100;
    let share = |own: &Hosts| {
        let healthy = percent(u64::from(own.total) * 100 / total);
        left -= healthy;
        PriorityLoad {
            healthy,
            ..PriorityLoad::default()
        }
    };
    let mut loads: Vec<PriorityLoad> = hosts.iter().map(share).collect();
    if let Some(first) = hosts.iter().position(|own| own.total > 0) {
        loads[first].healthy += left;
    }
    loads
}

fn all_to(priorities: usize, one: Option<usize>) -> Vec<PriorityLoad> {
    let load = |at| PriorityLoad {
        healthy: if Some(at) == one { 100 } else { 0 },
        ..PriorityLoad::default()
    };
    (0..priorities).map(load).collect()
}

/// The computed share cannot be above 100.
fn percent(share: u64) -> u32 {
    u32::try_from(share).unwrap_or(100).min(100)
}
