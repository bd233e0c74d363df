//! How a cluster balances: `load_balancing_policy`, else `lb_policy` with `common_lb_config`.

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::extensions::load_balancing_policies::{
    common::v3::{LocalityLbConfig, locality_lb_config::LocalityConfigSpecifier as Extension},
    least_request::v3::LeastRequest,
    random::v3::Random,
    round_robin::v3::RoundRobin,
};
use envoy_types::pb::google::protobuf::Any;
use mesh_core::lb::{InPanic, LbPolicy, Panic};
use pb::cluster::common_lb_config::LocalityConfigSpecifier as Common;

use super::{Invalid, message};

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

pub(super) fn rules(cluster: &pb::Cluster) -> Result<LbRules, Invalid> {
    let extension = extension(cluster).map_err(|e| e.within("load_balancing_policy"))?;
    // With an extension, Envoy reads the locality part there and no longer in `common_lb_config`.
    let (policy, localities) = match extension {
        Some(found) => found,
        None => (policy(cluster)?, common(cluster)),
    };
    Ok(LbRules {
        policy,
        panic: Panic {
            threshold: panic_threshold(cluster).map_err(|e| e.within("common_lb_config"))?,
            then: if localities.fail_traffic_on_panic {
                InPanic::NoEndpoint
            } else {
                InPanic::AllEndpoints
            },
        },
        locality_weighted: localities.weighted,
    })
}

/// The first extension that is known.
fn extension(cluster: &pb::Cluster) -> Result<Option<(LbPolicy, Localities)>, Invalid> {
    let policies = cluster.load_balancing_policy.iter();
    let configs = policies
        .flat_map(|policies| &policies.policies)
        .filter_map(|policy| {
            policy
                .typed_extension_config
                .as_ref()?
                .typed_config
                .as_ref()
        });
    for any in configs {
        if let Some(found) = known(any)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn known(any: &Any) -> Result<Option<(LbPolicy, Localities)>, Invalid> {
    let (policy, localities) = match any.type_url.rsplit('/').next().unwrap_or_default() {
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
            let policy = least_request(config.choice_count.map(|c| c.value))?;
            (policy, config.locality_lb_config)
        }
        _ => return Ok(None),
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
    let Some(sent) = config.and_then(|config| config.healthy_panic_threshold) else {
        return Ok(Panic::default().threshold);
    };
    if (0.0..=100.0).contains(&sent.value) {
        Ok(sent.value as u8)
    } else {
        Err(Invalid::new(
            "healthy_panic_threshold",
            format_args!("{} is not between 0 and 100", sent.value),
        ))
    }
}

fn policy(cluster: &pb::Cluster) -> Result<LbPolicy, Invalid> {
    use pb::cluster::{LbConfig, LbPolicy as Enum};
    match Enum::try_from(cluster.lb_policy) {
        Ok(Enum::RoundRobin) => Ok(LbPolicy::RoundRobin),
        Ok(Enum::LeastRequest) => least_request(match &cluster.lb_config {
            Some(LbConfig::LeastRequestLbConfig(config)) => config.choice_count.map(|c| c.value),
            _ => None,
        }),
        // Hashing policies and what is unknown spread evenly until they are served.
        Ok(_) => Ok(LbPolicy::Random),
        Err(_) => Err(Invalid::new(
            "lb_policy",
            format_args!("{} is no policy", cluster.lb_policy),
        )),
    }
}

/// Envoy: at least 2, and 2 is the default. gRPC A48 caps at 10.
fn least_request(choices: Option<u32>) -> Result<LbPolicy, Invalid> {
    match choices.unwrap_or(2) {
        0 | 1 => Err(Invalid::new("choice_count", "must be at least 2")),
        choices => Ok(LbPolicy::LeastRequest {
            choices: choices.min(10),
        }),
    }
}
