//! Localities and their weights inside of a priority.

use std::collections::HashMap;
use std::sync::Arc;

use super::Overprovisioning;
use super::priority::Hosts;

/// Where an endpoint runs (`core.v3.Locality`). The parts that are not known are empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Locality {
    /// The region, as `eu-west-1`.
    pub region: Arc<str>,
    /// The zone in it.
    pub zone: Arc<str>,
    /// The part of the zone.
    pub sub_zone: Arc<str>,
}

/// The localities' weights by priority (`LocalityLbEndpoints.load_balancing_weight`).
///
/// A locality without one weighs 0 and gets no traffic, unless none of its priority's localities
/// that have available endpoints has a weight: then they are one set, as without weights.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalityWeights(HashMap<u32, HashMap<Option<Arc<Locality>>, u32>>);

impl LocalityWeights {
    /// Weighs a locality of a priority; the last word counts. `None` is the locality without a name.
    pub fn insert(&mut self, priority: u32, locality: Option<Arc<Locality>>, weight: u32) {
        self.0.entry(priority).or_default().insert(locality, weight);
    }

    /// The weight of a locality, 0 if it has none.
    pub fn of(&self, priority: u32, locality: &Option<Arc<Locality>>) -> u32 {
        self.0
            .get(&priority)
            .and_then(|weights| weights.get(locality))
            .copied()
            .unwrap_or(0)
    }
}

/// A locality's weight times its availability, in fixed point with 24 bits after the point.
///
/// The availability is `min(1, factor * available / total)` (Envoy's `effectiveLocalityWeight`),
/// and with [`Overprovisioning::Strict`] 1 as soon as one endpoint is available.
pub(super) fn effective_weight(
    weight: u32,
    available: u32,
    hosts: &Hosts,
    overprovisioning: Overprovisioning,
) -> u64 {
    let full = u64::from(weight) << 24;
    let whole = u128::from(hosts.counted()) * 100;
    let part = match overprovisioning {
        Overprovisioning::Envoy { factor } => u128::from(factor) * u128::from(available),
        Overprovisioning::Strict if available > 0 => whole,
        Overprovisioning::Strict => 0,
    };
    if part == 0 || full == 0 {
        0
    } else if part >= whole {
        full
    } else {
        // Less than `full`; and however little, it is not nothing.
        u64::try_from(u128::from(full) * part / whole)
            .unwrap_or(full)
            .max(1)
    }
}
