//! `envoy.config.endpoint.v3.ClusterLoadAssignment`.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{
    HealthStatus, SocketAddress, address, socket_address,
};
use envoy_types::pb::envoy::config::endpoint::v3::{self as pb, lb_endpoint::HostIdentifier};
use mesh_core::cluster::Health;

use super::cluster::labels;
use super::{Invalid, message};

/// The endpoints of a cluster, as they were sent.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct EndpointsResource {
    pub(crate) endpoints: Vec<EndpointResource>,
}

/// One endpoint, before its cluster has said how it must be reached.
#[derive(Debug, PartialEq)]
pub(crate) struct EndpointResource {
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    pub(crate) priority: u32,
    pub(crate) health: Health,
    pub(crate) socket_match: BTreeMap<String, String>,
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(Arc<str>, EndpointsResource), (Arc<str>, Invalid)> {
    let assignment: pb::ClusterLoadAssignment =
        message(bytes).map_err(|error| ("".into(), error))?;
    let name: Arc<str> = assignment.cluster_name.as_str().into();
    if name.is_empty() {
        return Err((name, Invalid::new("cluster_name", "is empty")));
    }
    match from_proto(&assignment) {
        Ok(endpoints) => Ok((name, endpoints)),
        Err(error) => Err((name, error)),
    }
}

pub(crate) fn from_proto(
    assignment: &pb::ClusterLoadAssignment,
) -> Result<EndpointsResource, Invalid> {
    let mut endpoints = Vec::new();
    let mut seen = HashSet::new();
    for (at, locality) in assignment.endpoints.iter().enumerate() {
        for (index, endpoint) in locality.lb_endpoints.iter().enumerate() {
            let endpoint = one(endpoint, locality.priority)
                .map_err(|e| e.within(format_args!("endpoints[{at}].lb_endpoints[{index}]")))?;
            // The same address twice would be picked twice as often, yet it is one process.
            if seen.insert(endpoint.address) {
                endpoints.push(endpoint);
            }
        }
    }
    Ok(EndpointsResource { endpoints })
}

fn one(endpoint: &pb::LbEndpoint, priority: u32) -> Result<EndpointResource, Invalid> {
    let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else {
        return Err(Invalid::new("endpoint", "is missing"));
    };
    let address = match host.address.as_ref().and_then(|a| a.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) => socket_addr(socket)?,
        Some(_) => return Err(Invalid::new("endpoint.address", "is not a socket address")),
        None => return Err(Invalid::new("endpoint.address", "is missing")),
    };
    let weight = endpoint
        .load_balancing_weight
        .map_or(1, |weight| weight.value);
    if weight == 0 {
        return Err(Invalid::new("load_balancing_weight", "must be at least 1"));
    }
    let health = match HealthStatus::try_from(endpoint.health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => Health::Healthy,
        _ => Health::Unhealthy,
    };
    let metadata = endpoint
        .metadata
        .as_ref()
        .and_then(|m| m.filter_metadata.get("envoy.transport_socket_match"));
    let socket_match = metadata.map(labels).unwrap_or_default();
    Ok(EndpointResource {
        address,
        weight,
        priority,
        health,
        socket_match,
    })
}

fn socket_addr(socket: &SocketAddress) -> Result<SocketAddr, Invalid> {
    let ip: IpAddr = socket.address.parse().map_err(|_| {
        Invalid::new(
            "endpoint.address",
            format_args!("{:?} is not an IP address", socket.address),
        )
    })?;
    let port = match socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => {
            u16::try_from(port).map_err(|_| {
                Invalid::new(
                    "endpoint.address",
                    format_args!("port {port} is above 65535"),
                )
            })?
        }
        _ => return Err(Invalid::new("endpoint.address", "has no port number")),
    };
    Ok(SocketAddr::new(ip, port))
}
