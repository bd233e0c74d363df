//! `envoy.config.endpoint.v3.ClusterLoadAssignment`.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{
    HealthStatus, SocketAddress, address, socket_address,
};
use envoy_types::pb::envoy::config::endpoint::v3::{self as pb, lb_endpoint::HostIdentifier};
use mesh_core::cluster::{Health, Workload};
use mesh_core::lb::Overprovisioning;
use mesh_core::lb::locality::{Locality, LocalityWeights};

use super::cluster::labels;
use super::{Invalid, message};

/// Envoy's bound of `LocalityLbEndpoints.priority`.
const LOWEST_PRIORITY: u32 = 128;

/// The endpoints of a cluster, as they were sent: at addresses, or at names to look up.
#[derive(Debug, PartialEq)]
pub(crate) struct EndpointsResource<A = SocketAddr> {
    pub(crate) endpoints: Vec<EndpointResource<A>>,
    /// They count only if the cluster says so.
    pub(crate) locality_weights: LocalityWeights,
    pub(crate) overprovisioning: Overprovisioning,
}

impl<A> Default for EndpointsResource<A> {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            locality_weights: LocalityWeights::default(),
            overprovisioning: Overprovisioning::default(),
        }
    }
}

/// One endpoint, before its cluster has said how it must be reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EndpointResource<A = SocketAddr> {
    pub(crate) address: A,
    pub(crate) weight: u32,
    pub(crate) priority: u32,
    pub(crate) locality: Option<Arc<Locality>>,
    pub(crate) health: Health,
    pub(crate) socket_match: BTreeMap<String, String>,
    pub(crate) workload: Option<Arc<Workload>>,
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(Arc<str>, EndpointsResource), (Arc<str>, Invalid)> {
    let assignment: pb::ClusterLoadAssignment =
        message(bytes).map_err(|error| ("".into(), error))?;
    let name: Arc<str> = assignment.cluster_name.as_str().into();
    if name.is_empty() {
        return Err((name, Invalid::new("cluster_name", "is empty")));
    }
    match from_proto(&assignment, socket_addr) {
        Ok(endpoints) => Ok((name, endpoints)),
        Err(error) => Err((name, error)),
    }
}

/// Reads the endpoints, each address by `read`.
pub(crate) fn from_proto<A: Clone + Eq + Hash>(
    assignment: &pb::ClusterLoadAssignment,
    read: fn(&SocketAddress) -> Result<A, Invalid>,
) -> Result<EndpointsResource<A>, Invalid> {
    let mut resource = EndpointsResource {
        overprovisioning: overprovisioning(assignment).map_err(|e| e.within("policy"))?,
        ..EndpointsResource::default()
    };
    let mut seen = HashSet::new();
    for (at, group) in assignment.endpoints.iter().enumerate() {
        let within = format!("endpoints[{at}]");
        if group.priority > LOWEST_PRIORITY {
            let reason = format_args!("{} is above {LOWEST_PRIORITY}", group.priority);
            return Err(Invalid::new("priority", reason).within(within));
        }
        let locality = locality(group);
        if let Some(weight) = locality_weight(group).map_err(|e| e.within(&within))? {
            let weights = &mut resource.locality_weights;
            weights.insert(group.priority, locality.clone(), weight);
        }
        for (index, endpoint) in group.lb_endpoints.iter().enumerate() {
            let endpoint = one(endpoint, read, group.priority, locality.clone())
                .map_err(|e| e.within(format_args!("{within}.lb_endpoints[{index}]")))?;
            // The same address twice would be picked twice as often, yet it is one process.
            if seen.insert(endpoint.address.clone()) {
                resource.endpoints.push(endpoint);
            }
        }
    }
    Ok(resource)
}

fn overprovisioning(assignment: &pb::ClusterLoadAssignment) -> Result<Overprovisioning, Invalid> {
    let policy = assignment.policy.as_ref();
    match policy.and_then(|policy| policy.overprovisioning_factor) {
        None => Ok(Overprovisioning::default()),
        Some(factor) if factor.value == 0 => Err(Invalid::new(
            "overprovisioning_factor",
            "must be at least 1 (percent)",
        )),
        Some(factor) => Ok(Overprovisioning::Envoy {
            factor: factor.value,
        }),
    }
}

/// `{}` and none at all are the same place.
fn locality(group: &pb::LocalityLbEndpoints) -> Option<Arc<Locality>> {
    let sent = group.locality.as_ref()?;
    let locality = Locality {
        region: sent.region.as_str().into(),
        zone: sent.zone.as_str().into(),
        sub_zone: sent.sub_zone.as_str().into(),
    };
    (locality != Locality::default()).then(|| Arc::new(locality))
}

/// Envoy takes a weight only together with a `locality`, which may be empty.
fn locality_weight(group: &pb::LocalityLbEndpoints) -> Result<Option<u32>, Invalid> {
    match group.load_balancing_weight {
        Some(weight) if weight.value == 0 => {
            Err(Invalid::new("load_balancing_weight", "must be at least 1"))
        }
        Some(weight) if group.locality.is_some() => Ok(Some(weight.value)),
        _ => Ok(None),
    }
}

fn one<A>(
    endpoint: &pb::LbEndpoint,
    read: fn(&SocketAddress) -> Result<A, Invalid>,
    priority: u32,
    locality: Option<Arc<Locality>>,
) -> Result<EndpointResource<A>, Invalid> {
    let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else {
        return Err(Invalid::new("endpoint", "is missing"));
    };
    let address = match host.address.as_ref().and_then(|a| a.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) => read(socket)?,
        Some(_) => return Err(Invalid::new("endpoint.address", "is not a socket address")),
        None => return Err(Invalid::new("endpoint.address", "is missing")),
    };
    let weight = endpoint
        .load_balancing_weight
        .map_or(1, |weight| weight.value);
    if weight == 0 {
        return Err(Invalid::new("load_balancing_weight", "must be at least 1"));
    }
    let metadata = |filter: &str| endpoint.metadata.as_ref()?.filter_metadata.get(filter);
    let socket_match = metadata("envoy.transport_socket_match").map(labels);
    let workload = metadata("istio").and_then(|istio| labels(istio).remove("workload"));
    Ok(EndpointResource {
        address,
        weight,
        priority,
        locality,
        health: health(endpoint.health_status),
        socket_match: socket_match.unwrap_or_default(),
        workload: workload
            .and_then(|text| Workload::parse(&text))
            .map(Arc::new),
    })
}

/// Envoy takes a status that it does not know for healthy.
fn health(status: i32) -> Health {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) | Err(_) => Health::Healthy,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Draining) => Health::Draining,
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => Health::Unhealthy,
    }
}

pub(crate) fn socket_addr(socket: &SocketAddress) -> Result<SocketAddr, Invalid> {
    let ip: IpAddr = socket.address.parse().map_err(|_| {
        Invalid::new(
            "endpoint.address",
            format_args!("{:?} is not an IP address", socket.address),
        )
    })?;
    Ok(SocketAddr::new(ip, port(socket)?))
}

pub(crate) fn port(socket: &SocketAddress) -> Result<u16, Invalid> {
    let invalid = |reason: fmt::Arguments<'_>| Invalid::new("endpoint.address", reason);
    match socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => {
            u16::try_from(port).map_err(|_| invalid(format_args!("port {port} is above 65535")))
        }
        _ => Err(invalid(format_args!("has no port number"))),
    }
}
