//! `envoy.config.endpoint.v3.ClusterLoadAssignment`.

mod grpc;
mod ignored;
mod policy;

use std::collections::{BTreeMap, HashMap, HashSet};
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
use super::ignored::Ignored;
use super::{Faults, Invalid, message};
use crate::dialect::Dialect;

/// Envoy's bound of `LocalityLbEndpoints.priority`.
const LOWEST_PRIORITY: u32 = 128;

/// The endpoints of a cluster, as they were sent: at addresses, or at names to look up.
#[derive(Debug, PartialEq)]
pub(crate) struct EndpointsResource<A = SocketAddr> {
    pub(crate) endpoints: Vec<EndpointResource<A>>,
    /// They count only if the cluster says so.
    pub(crate) locality_weights: LocalityWeights,
    pub(crate) overprovisioning: Overprovisioning,
    /// What is in it and has no effect here, in words, each kind once. Of a cluster's own endpoints the
    /// cluster tells it.
    pub(crate) ignored: Vec<Box<str>>,
}

impl<A> Default for EndpointsResource<A> {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            locality_weights: LocalityWeights::default(),
            overprovisioning: Overprovisioning::default(),
            ignored: Vec::new(),
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

pub(crate) fn decode(
    bytes: &[u8],
    dialect: Dialect,
) -> Result<(Arc<str>, EndpointsResource), (Arc<str>, Invalid)> {
    let assignment: pb::ClusterLoadAssignment =
        message(bytes).map_err(|error| ("".into(), error))?;
    let name: Arc<str> = assignment.cluster_name.as_str().into();
    if name.is_empty() {
        return Err((name, Invalid::new("cluster_name", "is empty")));
    }
    let mut ignored = Ignored::default();
    ignored.unknown_fields(&assignment, bytes);
    let mut faults = Faults::default();
    let endpoints = faults.take(from_proto(&assignment, socket_addr, &mut ignored));
    if dialect == Dialect::Grpc {
        faults.take(grpc::check(&assignment));
    }
    match faults.or(endpoints) {
        Ok(endpoints) => Ok((
            name,
            EndpointsResource {
                ignored: ignored.kinds(),
                ..endpoints
            },
        )),
        Err(error) => Err((name, error)),
    }
}

/// Reads the endpoints, each address by `read`.
pub(crate) fn from_proto<A: Clone + Eq + Hash>(
    assignment: &pb::ClusterLoadAssignment,
    read: fn(&SocketAddress) -> Result<A, Invalid>,
    ignored: &mut Ignored,
) -> Result<EndpointsResource<A>, Invalid> {
    let mut faults = Faults::default();
    if assignment.cluster_name.is_empty() {
        faults.add(Invalid::new("cluster_name", "is empty"));
    }
    if let Some(policy) = &assignment.policy {
        ignored.assignment_policy(policy);
    }
    let policy = faults.take(policy::decode(assignment).map_err(|e| e.within("policy")));
    let mut resource = EndpointsResource {
        overprovisioning: policy.unwrap_or_default(),
        ..EndpointsResource::default()
    };
    let mut seen = HashSet::new();
    let mut sums = Sums::default();
    for (at, group) in assignment.endpoints.iter().enumerate() {
        let within = |e: Invalid| e.within(format_args!("endpoints[{at}]"));
        ignored.group(group);
        faults.take(sums.add(group).map_err(within));
        let locality = locality(group);
        if let Some(Some(weight)) = faults.take(locality_weight(group).map_err(within)) {
            resource
                .locality_weights
                .insert(group.priority, locality.clone(), weight);
        }
        for (index, endpoint) in group.lb_endpoints.iter().enumerate() {
            ignored.lb_endpoint(endpoint);
            let endpoint = one(endpoint, read, group.priority, locality.clone())
                .map_err(|e| within(e.within(format_args!("lb_endpoints[{index}]"))));
            // The same address twice would be picked twice as often, yet it is one process.
            if let Some(endpoint) = faults.take(endpoint)
                && seen.insert(endpoint.address.clone())
            {
                resource.endpoints.push(endpoint);
            }
        }
    }
    faults.or(Some(resource))
}

/// The weights of the localities so far, by priority.
#[derive(Default)]
struct Sums(HashMap<u32, u64>);

impl Sums {
    /// Envoy counts weights in 32 bits: those of a priority's localities together, and those of a locality's
    /// endpoints.
    fn add(&mut self, group: &pb::LocalityLbEndpoints) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        if group.priority > LOWEST_PRIORITY {
            let reason = format_args!("{} is above {LOWEST_PRIORITY}", group.priority);
            faults.add(Invalid::new("priority", reason));
        }
        let all = group.lb_endpoints.iter();
        let weights = all.map(|one| u64::from(one.load_balancing_weight.map_or(1, |w| w.value)));
        if weights.sum::<u64>() > u32::MAX.into() {
            let reason = "the weights of its endpoints are more than 4294967295 together";
            faults.add(Invalid::new("lb_endpoints", reason));
        }
        if let Some(weight) = group.load_balancing_weight
            && !group.lb_endpoints.is_empty()
        {
            let sum = self.0.entry(group.priority).or_default();
            let before = *sum;
            *sum += u64::from(weight.value);
            let most = u64::from(u32::MAX);
            if *sum > most && before <= most {
                let reason = format_args!(
                    "the weights of the localities of priority {} are more than 4294967295 together",
                    group.priority
                );
                faults.add(Invalid::new("load_balancing_weight", reason));
            }
        }
        faults.or(Some(()))
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
    let mut faults = Faults::default();
    let address = match host.address.as_ref().and_then(|a| a.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) => {
            read(socket).map_err(|e| e.within("endpoint.address.socket_address"))
        }
        Some(_) => Err(Invalid::new("endpoint.address", "is not a socket address")),
        None => Err(Invalid::new("endpoint.address", "is missing")),
    };
    let address = faults.take(address);
    let checked = host.health_check_config.as_ref();
    if let Some(port) = checked.map(|config| config.port_value)
        && port > u16::MAX.into()
    {
        let path = "endpoint.health_check_config.port_value";
        faults.add(Invalid::new(path, format_args!("{port} is above 65535")));
    }
    let weight = endpoint
        .load_balancing_weight
        .map_or(1, |weight| weight.value);
    if weight == 0 {
        faults.add(Invalid::new("load_balancing_weight", "must be at least 1"));
    }
    let address = faults.or(address)?;
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
    let mut faults = Faults::default();
    let ip = socket.address.parse().map_err(|_| {
        Invalid::new(
            "address",
            format_args!("{:?} is not an IP address", socket.address),
        )
    });
    let ip: Option<IpAddr> = faults.take(ip);
    let port = faults.take(port(socket));
    faults.or(ip.zip(port)).map(SocketAddr::from)
}

pub(crate) fn port(socket: &SocketAddress) -> Result<u16, Invalid> {
    match socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => u16::try_from(port)
            .map_err(|_| Invalid::new("port_value", format_args!("{port} is above 65535"))),
        _ => Err(Invalid::new("port_specifier", "has no port number")),
    }
}
