//! A slow, plain reading of the rules for priorities and localities: the probability of each endpoint.

use std::collections::BTreeMap;

use mesh_core::cluster::{Endpoint, Health};
use mesh_core::lb::{InPanic, LbConfig, Overprovisioning};

/// A rule read wrongly, to see that it would be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    FactorIgnored,
    DegradedIgnored,
    DegradedCountAsHealthy,
    PanicIgnored,
    PanicKeepsLocalities,
    LocalitiesIgnored,
    LocalitiesKeepTheirWeight,
    DrainingCounted,
    NoSpill,
    EndpointWeightsIgnored,
}

pub(crate) const MISTAKES: [Mistake; 10] = [
    Mistake::FactorIgnored,
    Mistake::DegradedIgnored,
    Mistake::DegradedCountAsHealthy,
    Mistake::PanicIgnored,
    Mistake::PanicKeepsLocalities,
    Mistake::LocalitiesIgnored,
    Mistake::LocalitiesKeepTheirWeight,
    Mistake::DrainingCounted,
    Mistake::NoSpill,
    Mistake::EndpointWeightsIgnored,
];

struct Reader<'a> {
    config: &'a LbConfig,
    endpoints: &'a [Endpoint],
    mistake: Mistake,
    probabilities: Vec<f64>,
}

/// The probability that a call goes to each endpoint; what is missing to 1 fails.
pub(crate) fn probabilities(
    config: &LbConfig,
    endpoints: &[Endpoint],
    mistake: Mistake,
) -> Vec<f64> {
    let mut reader = Reader {
        config,
        endpoints,
        mistake,
        probabilities: vec![0.0; endpoints.len()],
    };
    reader.read();
    reader.probabilities
}

impl Reader<'_> {
    fn health(&self, at: usize) -> Health {
        match (self.endpoints[at].health, self.mistake) {
            (Health::Degraded, Mistake::DegradedIgnored) => Health::Unhealthy,
            (Health::Degraded, Mistake::DegradedCountAsHealthy) => Health::Healthy,
            (Health::Draining, Mistake::DrainingCounted) => Health::Unhealthy,
            (health, _) => health,
        }
    }

    fn with(&self, among: &[usize], health: Health) -> Vec<usize> {
        let all = among.iter().copied();
        all.filter(|at| self.health(*at) == health).collect()
    }

    /// Those of which the healthy are a share.
    fn counted(&self, among: &[usize]) -> usize {
        among.len() - self.with(among, Health::Draining).len()
    }

    /// In whole percent, at most 100.
    fn capacity(&self, among: &[usize], health: Health) -> usize {
        let Overprovisioning::Envoy { factor } = self.config.overprovisioning else {
            unreachable!("strict is read elsewhere")
        };
        let factor = match self.mistake {
            Mistake::FactorIgnored => 100,
            _ => factor as usize,
        };
        match self.counted(among) {
            0 => 0,
            counted => (factor * self.with(among, health).len() / counted).min(100),
        }
    }

    fn read(&mut self) {
        let mut priorities: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            priorities.entry(endpoint.priority).or_default().push(at);
        }
        let priorities: Vec<(u32, Vec<usize>)> = priorities.into_iter().collect();
        if self.config.overprovisioning == Overprovisioning::Strict {
            let usable =
                |(_, all): &&(u32, Vec<usize>)| !self.with(all, Health::Healthy).is_empty();
            if let Some((priority, all)) = priorities.iter().find(usable) {
                self.calm(*priority, all, Health::Healthy, 1.0);
            }
            return;
        }
        self.envoy(&priorities);
    }

    fn envoy(&mut self, priorities: &[(u32, Vec<usize>)]) {
        let capacities: Vec<(usize, Health, usize)> = [Health::Healthy, Health::Degraded]
            .into_iter()
            .flat_map(|health| (0..priorities.len()).map(move |p| (p, health)))
            .map(|(p, health)| (p, health, self.capacity(&priorities[p].1, health)))
            .collect();
        let n = capacities.iter().map(|(.., c)| c).sum::<usize>().min(100);
        let in_panic: Vec<bool> = priorities
            .iter()
            .map(|(_, all)| {
                let good =
                    self.with(all, Health::Healthy).len() + self.with(all, Health::Degraded).len();
                let share = match self.counted(all) {
                    0 => 0.0,
                    counted => 100.0 * good as f64 / counted as f64,
                };
                n < 100
                    && self.mistake != Mistake::PanicIgnored
                    && share < f64::from(self.config.panic.threshold) - 1e-9
            })
            .collect();
        let loads: Vec<(usize, Health, usize)> = match n {
            _ if in_panic.iter().all(|panic| *panic) => {
                let of = |p: usize| 100 * priorities[p].1.len() / self.endpoints.len().max(1);
                let shares = (0..priorities.len()).map(|p| (p, Health::Healthy, of(p)));
                with_the_rest(shares.collect(), |_| true)
            }
            0 => {
                let first = in_panic.iter().position(|panic| !panic);
                vec![(first.unwrap_or(0), Health::Healthy, 100)]
            }
            n => {
                let mut left = 100;
                let mut shares = Vec::new();
                for (p, health, capacity) in &capacities {
                    let mut share = left.min(capacity * 100 / n);
                    if self.mistake == Mistake::NoSpill && *capacity > 0 {
                        share = left;
                    }
                    left -= share;
                    shares.push((*p, *health, share));
                }
                with_the_rest(shares, |at| capacities[at].2 > 0)
            }
        };
        for (p, health, load) in loads {
            let (priority, all) = &priorities[p];
            let load = load as f64 / 100.0;
            match (in_panic[p], self.config.panic.then) {
                (false, _) => self.calm(*priority, all, health, load),
                (true, InPanic::NoEndpoint) => {}
                (true, InPanic::AllEndpoints) if self.mistake == Mistake::PanicKeepsLocalities => {
                    self.calm(*priority, all, Health::Healthy, load);
                }
                (true, InPanic::AllEndpoints) => self.by_weight(all, load),
            }
        }
    }

    /// Locality by locality, if they count.
    fn calm(&mut self, priority: u32, all: &[usize], health: Health, load: f64) {
        let usable = self.with(all, health);
        let mut effective = Vec::new();
        if let Some(weights) = &self.config.locality_weights
            && self.mistake != Mistake::LocalitiesIgnored
        {
            let mut localities: BTreeMap<_, Vec<usize>> = BTreeMap::new();
            for at in all {
                let locality = self.endpoints[*at].locality.clone();
                localities.entry(locality).or_default().push(*at);
            }
            for (locality, members) in localities {
                let good = self.with(&members, health);
                if good.is_empty() {
                    continue;
                }
                let share = good.len() as f64 / self.counted(&members) as f64;
                let availability = match self.config.overprovisioning {
                    _ if self.mistake == Mistake::LocalitiesKeepTheirWeight => 1.0,
                    Overprovisioning::Strict => 1.0,
                    Overprovisioning::Envoy { .. } if self.mistake == Mistake::FactorIgnored => {
                        share
                    }
                    Overprovisioning::Envoy { factor } => {
                        (f64::from(factor) / 100.0 * share).min(1.0)
                    }
                };
                let weight = f64::from(weights.of(priority, &locality));
                effective.push((good, weight * availability));
            }
        }
        let total: f64 = effective.iter().map(|(_, weight)| weight).sum();
        if total == 0.0 {
            self.by_weight(&usable, load);
        } else {
            for (good, weight) in effective {
                self.by_weight(&good, load * weight / total);
            }
        }
    }

    fn by_weight(&mut self, among: &[usize], load: f64) {
        let weight = |at: &usize| match self.mistake {
            Mistake::EndpointWeightsIgnored => 1.0,
            _ => f64::from(self.endpoints[*at].weight),
        };
        let total: f64 = among.iter().map(weight).sum();
        let shares: Vec<(usize, f64)> = among
            .iter()
            .map(|at| (*at, load * weight(at) / total))
            .collect();
        for (at, share) in shares {
            self.probabilities[at] += share;
        }
    }
}

/// Gives what is missing to 100 to the first that may have it.
fn with_the_rest(
    mut shares: Vec<(usize, Health, usize)>,
    may: impl Fn(usize) -> bool,
) -> Vec<(usize, Health, usize)> {
    let given: usize = shares.iter().map(|(.., share)| share).sum();
    if let Some(first) = (0..shares.len()).find(|at| may(*at)) {
        shares[first].2 += 100 - given;
    }
    shares
}
