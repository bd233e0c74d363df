//! What a cluster says about balancing.

use super::locality::LocalityWeights;

/// `Cluster.lb_policy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LbPolicy {
    /// `ROUND_ROBIN`, by endpoint weight.
    RoundRobin,
    /// `LEAST_REQUEST`: of `choice_count` endpoints drawn, the one with the fewest requests in flight.
    LeastRequest {
        /// How many are drawn: 2 unless configured.
        choices: u32,
    },
    /// `RANDOM`, by endpoint weight.
    Random,
}

/// How a cluster's traffic goes to its priorities, localities and endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LbConfig {
    /// How an endpoint is picked inside of a priority or locality.
    pub policy: LbPolicy,
    /// What a priority or locality takes when only a part of it is healthy.
    pub overprovisioning: Overprovisioning,
    /// When health is no longer believed.
    pub panic: Panic,
    /// The localities' weights, if the cluster wants them counted (`locality_weighted_lb_config`).
    /// Without, the endpoints of a priority are one set.
    pub locality_weights: Option<LocalityWeights>,
}

impl From<LbPolicy> for LbConfig {
    /// A policy with Envoy's defaults for all else.
    fn from(policy: LbPolicy) -> Self {
        Self {
            policy,
            overprovisioning: Overprovisioning::default(),
            panic: Panic::default(),
            locality_weights: None,
        }
    }
}

/// How much traffic the healthy part of a priority or locality takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overprovisioning {
    /// As Envoy: a priority whose healthy share times the factor is under 100 % lets the rest spill
    /// over to the next priorities, and a locality's weight shrinks in the same way.
    Envoy {
        /// `ClusterLoadAssignment.policy.overprovisioning_factor`, in percent. At 0 nothing counts as
        /// available.
        factor: u32,
    },
    /// As gRPC (A27, A56; the client feature `envoy.lb.does_not_support_overprovisioning`): all
    /// traffic goes to the first priority with a healthy endpoint, localities keep their full weight
    /// while they have one, degraded endpoints are not used, and there is no panic.
    Strict,
}

impl Default for Overprovisioning {
    /// Envoy's factor of 140 %.
    fn default() -> Self {
        Self::Envoy { factor: 140 }
    }
}

/// When so few endpoints of a priority are available that their health is no longer believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Panic {
    /// `common_lb_config.healthy_panic_threshold`, in whole percent: below it a priority panics,
    /// unless all priorities together can take all traffic. 0 switches panic off.
    pub threshold: u8,
    /// What a priority that panics does.
    pub then: InPanic,
}

impl Default for Panic {
    /// Envoy's: below 50 % all endpoints are used.
    fn default() -> Self {
        Self {
            threshold: 50,
            then: InPanic::AllEndpoints,
        }
    }
}

/// What a priority that panics does with its share of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InPanic {
    /// Spreads it over all its endpoints, whatever their health and locality.
    AllEndpoints,
    /// Fails it (`zone_aware_lb_config.fail_traffic_on_panic`).
    NoEndpoint,
}
