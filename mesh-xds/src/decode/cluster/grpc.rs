//! What gRPC refuses of a cluster, and Envoy serves (gRPC A27, A37, A42, A48): the rules of its dialect alone.
//!
//! Two policies are taken that gRPC's C core refuses: `LEAST_REQUEST`, which is A48's, and `MAGLEV`, which istiod sends
//! to gRPC clients too. And a transport socket of whatever type: its calls fail where it cannot be served, while a
//! refusal would leave the former cluster in use, which may secure nothing.

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3::{
    ConfigSource, config_source::ConfigSourceSpecifier,
};
use pb::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy, ring_hash_lb_config::HashFunction,
};

use super::Invalid;
use crate::decode::Faults;

const AGGREGATE: &str = "/envoy.extensions.clusters.aggregate.v3.ClusterConfig";

pub(super) fn check(cluster: &pb::Cluster) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    faults.take(discovery(cluster));
    faults.take(policy(cluster));
    if let Some(source) = &cluster.lrs_server
        && !matches!(
            specifier(Some(source)),
            Some(ConfigSourceSpecifier::Self_(_))
        )
    {
        let reason = "is not self; load is reported to the server that the cluster came from";
        faults.add(Invalid::new("lrs_server", reason));
    }
    faults.or(Some(()))
}

/// A number that is no type is told with the rest of the cluster.
fn discovery(cluster: &pb::Cluster) -> Result<(), Invalid> {
    let kind = match &cluster.cluster_discovery_type {
        None => Ok(DiscoveryType::Static),
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(*number),
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            let config = custom.typed_config.as_ref();
            if config.is_some_and(|any| any.type_url.ends_with(AGGREGATE)) {
                return Ok(());
            }
            let reason = format_args!("{:?} is not an aggregate cluster", custom.name);
            return Err(Invalid::new("cluster_type.typed_config", reason));
        }
    };
    match kind {
        Ok(DiscoveryType::Eds) => eds(cluster),
        Ok(DiscoveryType::LogicalDns) | Err(_) => Ok(()),
        Ok(
            other @ (DiscoveryType::Static | DiscoveryType::StrictDns | DiscoveryType::OriginalDst),
        ) => {
            let name = other.as_str_name();
            let reason =
                format_args!("{name} is for Envoy; a gRPC client takes EDS and LOGICAL_DNS");
            Err(Invalid::new("type", reason))
        }
    }
}

fn eds(cluster: &pb::Cluster) -> Result<(), Invalid> {
    if let Some(config) = &cluster.eds_cluster_config
        && !matches!(
            specifier(config.eds_config.as_ref()),
            Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_))
        )
    {
        let reason = "is neither ads nor self; endpoints come on the same stream";
        return Err(Invalid::new("eds_cluster_config.eds_config", reason));
    }
    Ok(())
}

fn specifier(source: Option<&ConfigSource>) -> Option<&ConfigSourceSpecifier> {
    source?.config_source_specifier.as_ref()
}

/// `lb_policy`, which counts where there is no `load_balancing_policy` (gRPC A52).
fn policy(cluster: &pb::Cluster) -> Result<(), Invalid> {
    if cluster.load_balancing_policy.is_some() {
        return Ok(());
    }
    match LbPolicy::try_from(cluster.lb_policy) {
        Ok(other @ (LbPolicy::Random | LbPolicy::ClusterProvided)) => {
            let name = other.as_str_name();
            let reason = format_args!(
                "{name} is for Envoy; a gRPC client takes ROUND_ROBIN, LEAST_REQUEST and RING_HASH"
            );
            Err(Invalid::new("lb_policy", reason))
        }
        Ok(LbPolicy::RingHash) => match &cluster.lb_config {
            Some(LbConfig::RingHashLbConfig(ring))
                if ring.hash_function == i32::from(HashFunction::MurmurHash2) =>
            {
                let field = "ring_hash_lb_config.hash_function";
                Err(Invalid::new(field, "MURMUR_HASH_2 is not XX_HASH"))
            }
            _ => Ok(()),
        },
        // What is no policy is told with the rest of the cluster.
        Ok(
            LbPolicy::RoundRobin
            | LbPolicy::LeastRequest
            | LbPolicy::Maglev
            | LbPolicy::LoadBalancingPolicyConfig,
        )
        | Err(_) => Ok(()),
    }
}
