//! How a cluster balances: `load_balancing_policy`, else `lb_policy` with `common_lb_config`.

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::extensions::load_balancing_policies::{
    common::v3::{LocalityLbConfig, locality_lb_config::LocalityConfigSpecifier as Extension},
    least_request::v3::LeastRequest,
    random::v3::Random,
    round_robin::v3::RoundRobin,
};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use mesh_core::lb::{InPanic, LbPolicy, Panic};
use pb::cluster::common_lb_config::LocalityConfigSpecifier as Common;

use super::{Invalid, message};
use crate::decode::Faults;
use crate::decode::ignored::Ignored;

const EXTENSIONS: &str = "envoy.extensions.load_balancing_policies.";

/// Those that Envoy has and that have no effect here yet: a cluster that wants one of them is not wrong.
const UNSERVED: &[&str] = &[
    "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
    "cluster_provided.v3.ClusterProvided",
    "dynamic_modules.v3.DynamicModulesLoadBalancerConfig",
    "load_aware_locality.v3.LoadAwareLocality",
    "maglev.v3.Maglev",
    "override_host.v3.OverrideHost",
    "pick_first.v3.PickFirst",
    "random_subsetting.v3.RandomSubsetting",
    "ring_hash.v3.RingHash",
    "subset.v3.Subset",
    "wrr_locality.v3.WrrLocality",
];

/// What a cluster says about balancing; the rest is said by its load assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LbRules {
    pub(crate) policy: LbPolicy,
    pub(crate) panic: Panic,
    /// Whether the localities' weights count.
    pub(crate) locality_weighted: bool,
}

/// The choice between zone awareness and locality weights; both places of it say the same things.
#[derive(Debug, Clone, Copy, Default)]
struct Localities {
    weighted: bool,
    fail_traffic_on_panic: bool,
}

pub(super) fn rules(cluster: &pb::Cluster, ignored: &mut Ignored) -> Result<LbRules, Invalid> {
    let mut faults = Faults::default();
    // With an extension, Envoy reads the locality part there and no longer in `common_lb_config`.
    let found = faults.take(match &cluster.load_balancing_policy {
        Some(policies) if !policies.policies.is_empty() => {
            extension(policies, ignored).map_err(|e| e.within("load_balancing_policy"))
        }
        _ => policy(cluster, ignored).map(|policy| (policy, common(cluster))),
    });
    let threshold = panic_threshold(cluster).map_err(|e| e.within("common_lb_config"));
    let threshold = faults.take(threshold);
    let ((policy, localities), threshold) = faults.or(found.zip(threshold))?;
    Ok(LbRules {
        policy,
        panic: Panic {
            threshold,
            then: if localities.fail_traffic_on_panic {
                InPanic::NoEndpoint
            } else {
                InPanic::AllEndpoints
            },
        },
        locality_weighted: localities.weighted,
    })
}

/// The first extension that is known. None at all is a fault, in Envoy as in gRPC (A52).
fn extension(
    policies: &pb::LoadBalancingPolicy,
    ignored: &mut Ignored,
) -> Result<(LbPolicy, Localities), Invalid> {
    let mut unknown = Vec::new();
    for (at, policy) in policies.policies.iter().enumerate() {
        let config = policy.typed_extension_config.as_ref();
        let Some(any) = config.and_then(|config| config.typed_config.as_ref()) else {
            continue;
        };
        let within = |e: Invalid| {
            e.within(format_args!(
                "policies[{at}].typed_extension_config.typed_config"
            ))
        };
        if let Some(found) = known(any, ignored).map_err(within)? {
            for name in unknown {
                ignored.add(format!(
                    "unknown load balancing policy {name:?} is passed over"
                ));
            }
            return Ok(found);
        }
        unknown.push(any.type_url.rsplit('/').next().unwrap_or_default());
    }
    Err(Invalid::new(
        "policies",
        format_args!("none is known here: {unknown:?}"),
    ))
}

fn known(any: &Any, ignored: &mut Ignored) -> Result<Option<(LbPolicy, Localities)>, Invalid> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let (policy, localities) = match name {
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin" => {
            let config: RoundRobin = message(&any.value)?;
            (LbPolicy::RoundRobin, config.locality_lb_config)
        }
        "envoy.extensions.load_balancing_policies.random.v3.Random" => {
            let config: Random = message(&any.value)?;
            (LbPolicy::Random, config.locality_lb_config)
        }
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest" => {
            let config: LeastRequest = message(&any.value)?;
            let policy = least_request(config.choice_count)?;
            (policy, config.locality_lb_config)
        }
        _ => match name.strip_prefix(EXTENSIONS) {
            Some(own) if UNSERVED.contains(&own) => {
                ignored.add(format!(
                    "load balancing policy {own:?} is random for the time being"
                ));
                (LbPolicy::Random, None)
            }
            _ => return Ok(None),
        },
    };
    Ok(Some((policy, of_extension(localities))))
}

fn of_extension(config: Option<LocalityLbConfig>) -> Localities {
    match config.and_then(|config| config.locality_config_specifier) {
        Some(Extension::LocalityWeightedLbConfig(_)) => Localities {
            weighted: true,
            fail_traffic_on_panic: false,
        },
        Some(Extension::ZoneAwareLbConfig(zones)) => Localities {
            weighted: false,
            fail_traffic_on_panic: zones.fail_traffic_on_panic,
        },
        None => Localities::default(),
    }
}

fn common(cluster: &pb::Cluster) -> Localities {
    let config = cluster.common_lb_config.as_ref();
    match config.and_then(|config| config.locality_config_specifier.as_ref()) {
        Some(Common::LocalityWeightedLbConfig(_)) => Localities {
            weighted: true,
            fail_traffic_on_panic: false,
        },
        Some(Common::ZoneAwareLbConfig(zones)) => Localities {
            weighted: false,
            fail_traffic_on_panic: zones.fail_traffic_on_panic,
        },
        None => Localities::default(),
    }
}

/// Envoy cuts the fraction of a percent off.
fn panic_threshold(cluster: &pb::Cluster) -> Result<u8, Invalid> {
    let config = cluster.common_lb_config.as_ref();
    let sent = config.and_then(|config| config.healthy_panic_threshold);
    let percent = super::constraints::percent("healthy_panic_threshold", sent)?;
    Ok(percent.map_or_else(|| Panic::default().threshold, |percent| percent as u8))
}

fn policy(cluster: &pb::Cluster, ignored: &mut Ignored) -> Result<LbPolicy, Invalid> {
    use pb::cluster::{LbConfig, LbPolicy as Enum};
    match Enum::try_from(cluster.lb_policy) {
        Ok(Enum::RoundRobin) => Ok(LbPolicy::RoundRobin),
        Ok(Enum::LeastRequest) => match &cluster.lb_config {
            // A bad one is told by the constraints of `lb_config`, which hold whatever the policy is.
            Some(LbConfig::LeastRequestLbConfig(config)) => {
                Ok(least_request(config.choice_count).unwrap_or(LbPolicy::Random))
            }
            _ => least_request(None),
        },
        Ok(Enum::LoadBalancingPolicyConfig) => Err(Invalid::new(
            "load_balancing_policy",
            "is missing, and lb_policy says LOAD_BALANCING_POLICY_CONFIG",
        )),
        // Hashing policies spread evenly until they are served.
        Ok(hashing @ (Enum::RingHash | Enum::Maglev)) => {
            let name = hashing.as_str_name();
            ignored.add(format!("lb_policy {name} is RANDOM for the time being"));
            Ok(LbPolicy::Random)
        }
        Ok(Enum::Random | Enum::ClusterProvided) => Ok(LbPolicy::Random),
        Err(_) => Err(Invalid::new(
            "lb_policy",
            format_args!("{} is no policy", cluster.lb_policy),
        )),
    }
}

/// gRPC A48 caps at 10.
fn least_request(choices: Option<UInt32Value>) -> Result<LbPolicy, Invalid> {
    self::choices(choices).map(|choices| LbPolicy::LeastRequest {
        choices: choices.min(10),
    })
}

/// Envoy: at least 2, and 2 is the default.
pub(super) fn choices(sent: Option<UInt32Value>) -> Result<u32, Invalid> {
    match sent.map_or(2, |sent| sent.value) {
        0 | 1 => Err(Invalid::new("choice_count", "must be at least 2")),
        choices => Ok(choices),
    }
}
