//! The body of the fuzz target of gRPC's dialect, for resources of all of its types.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
};
use envoy_types::pb::envoy::config::core::v3::Locality;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, route_match::PathSpecifier};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use mesh_xds::{Dialect, ResourceType};
use prost::Message;

use crate::rig::{Rig, good};
use crate::wire::{self, CDS, EDS, LDS, RDS};

/// A resource that is taken is one by the plain rules of gRPC, and a refused one leaves what was there. The first byte
/// chooses the type.
pub fn grpc(input: &[u8]) -> Result<(), String> {
    judged(input, |priorities| {
        (0..).zip(priorities).all(|(due, it)| due == *it)
    })
}

/// The control: plain rules that know one priority only.
pub fn grpc_broken(input: &[u8]) -> Result<(), String> {
    judged(input, |priorities| priorities.iter().all(|it| *it == 0))
}

fn judged(input: &[u8], are_priorities: fn(&BTreeSet<u32>) -> bool) -> Result<(), String> {
    let Some((first, bytes)) = input.split_first() else {
        return Ok(());
    };
    let of = ResourceType::ALL[usize::from(*first) % ResourceType::ALL.len()];
    let mut rig = Rig::configured_in(Dialect::Grpc);
    let any = Any {
        type_url: of.type_url().to_owned(),
        value: bytes.to_vec(),
    };
    let mut resources = good(of);
    let is_first = name(of, bytes).is_some_and(|name| name == first_of(of));
    resources[0] = any;
    let answer = rig.answer(of, "2", resources);
    match answer.error_detail {
        Some(error) if error.message.is_empty() => Err("a NACK without a reason".to_owned()),
        Some(_) if is_first && rig.ports("a") != [Some(1)] => {
            Err(format!("refused, and yet {:?}", rig.ports("a")))
        }
        None if is_first => by_the_rules(of, bytes, are_priorities),
        _ => Ok(()),
    }
}

/// The name of the first good resource.
const fn first_of(of: ResourceType) -> &'static str {
    match of {
        ResourceType::Cluster | ResourceType::Endpoints => "one",
        ResourceType::Route => "9080",
        ResourceType::Listener => "a:9080",
    }
}

fn name(of: ResourceType, bytes: &[u8]) -> Option<String> {
    match of {
        ResourceType::Cluster => Some(Cluster::decode(bytes).ok()?.name),
        ResourceType::Endpoints => Some(ClusterLoadAssignment::decode(bytes).ok()?.cluster_name),
        ResourceType::Route => Some(RouteConfiguration::decode(bytes).ok()?.name),
        ResourceType::Listener => Some(Listener::decode(bytes).ok()?.name),
    }
}

fn by_the_rules(
    of: ResourceType,
    bytes: &[u8],
    are_priorities: fn(&BTreeSet<u32>) -> bool,
) -> Result<(), String> {
    let is_plain = match of {
        ResourceType::Cluster => Cluster::decode(bytes).is_ok_and(|it| is_cluster(&it)),
        ResourceType::Endpoints => ClusterLoadAssignment::decode(bytes).is_ok_and(|it| {
            let groups = it.endpoints.iter();
            let weighted = || {
                let has_load = |weight: Option<UInt32Value>| weight.is_some_and(|it| it.value > 0);
                groups
                    .clone()
                    .filter(move |it| has_load(it.load_balancing_weight))
            };
            let priorities = weighted().map(|group| group.priority).collect();
            weighted().all(|group| group.locality.is_some()) && are_priorities(&priorities)
        }),
        ResourceType::Route => RouteConfiguration::decode(bytes).is_ok_and(|it| is_route(&it)),
        ResourceType::Listener => Listener::decode(bytes).is_ok_and(|it| {
            it.api_listener
                .is_some_and(|api| api.api_listener.is_some())
        }),
    };
    match is_plain {
        true => Ok(()),
        false => Err("taken, against the plain rules".to_owned()),
    }
}

fn is_cluster(cluster: &Cluster) -> bool {
    let kinds = [DiscoveryType::Eds, DiscoveryType::LogicalDns].map(i32::from);
    let is_kind = match &cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => kinds.contains(kind),
        Some(ClusterDiscoveryType::ClusterType(_)) => true,
        None => false,
    };
    let has_extension = cluster.load_balancing_policy.is_some();
    is_kind && (has_extension || cluster.lb_policy != i32::from(LbPolicy::Random))
}

fn is_route(configuration: &RouteConfiguration) -> bool {
    let mut hosts = configuration.virtual_hosts.iter();
    hosts.all(|host| {
        let mut matches = host
            .routes
            .iter()
            .filter_map(|route| route.r#match.as_ref());
        let has_tests = matches.all(|it| {
            // gRPC looks no further into a route that it skips.
            !it.query_parameters.is_empty()
                || !is_of_calls(it.path_specifier.as_ref())
                || it
                    .headers
                    .iter()
                    .all(|header| header.header_match_specifier.is_some())
        });
        has_tests && host.domains.iter().all(|domain| !domain.is_empty())
    })
}

/// Whether a path of two parts can match.
fn is_of_calls(path: Option<&PathSpecifier>) -> bool {
    let parts = |text: &str| text.matches('/').count();
    match path {
        Some(PathSpecifier::Prefix(text)) => {
            text.is_empty() || text.starts_with('/') && !text.starts_with("//") && parts(text) <= 2
        }
        Some(PathSpecifier::Path(text)) => {
            text.starts_with('/')
                && !text.starts_with("//")
                && parts(text) == 2
                && !text.ends_with('/')
        }
        _ => true,
    }
}

/// What the corpus is written from.
pub fn corpus() -> Vec<Vec<u8>> {
    let mut two = wire::assignment("one", &[wire::addr(1)]);
    two.endpoints[0].locality = Some(Locality::default());
    two.endpoints[0].load_balancing_weight = Some(UInt32Value { value: 1 });
    let mut second = two.endpoints[0].clone();
    second.priority = 1;
    second.lb_endpoints = vec![wire::lb_endpoint(wire::addr(2))];
    two.endpoints.push(second);
    let mut all = vec![wire::any(EDS, &two)];
    all.extend([CDS, EDS, RDS, LDS].map(|of| good(of).swap_remove(0)));
    let input = |any: Any| {
        let of = ResourceType::from_type_url(&any.type_url);
        let at = ResourceType::ALL.iter().position(|it| Some(*it) == of);
        let mut input = vec![at.unwrap_or_default() as u8];
        input.extend(any.value);
        input
    };
    all.into_iter().map(input).collect()
}
