//! What gRPC refuses of a load assignment, and Envoy serves (gRPC A27): the rules of its dialect alone.
//!
//! Localities without a weight are assigned no load by gRPC, which looks at nothing in them.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::{Address, HealthStatus, Locality, address};
use envoy_types::pb::envoy::config::endpoint::v3::{self as pb, lb_endpoint::HostIdentifier};

use super::Invalid;
use crate::decode::Faults;

/// What gRPC does not read as "not there".
const READ: [HealthStatus; 3] = [
    HealthStatus::Unknown,
    HealthStatus::Healthy,
    HealthStatus::Draining,
];

pub(super) fn check(assignment: &pb::ClusterLoadAssignment) -> Result<(), Invalid> {
    let weighted = |group: &pb::LocalityLbEndpoints| {
        let weight = group.load_balancing_weight;
        weight.is_some_and(|weight| weight.value > 0)
    };
    let groups = (0_usize..).zip(&assignment.endpoints);
    let groups: Vec<_> = groups.filter(|(_, group)| weighted(group)).collect();
    let mut faults = Faults::default();
    let mut localities = HashSet::new();
    let mut addresses = HashSet::new();
    for (at, group) in &groups {
        let within = |error: Invalid| error.within(format_args!("endpoints[{at}]"));
        match &group.locality {
            None => faults.add(within(Invalid::new("locality", "is missing"))),
            Some(locality) if localities.insert((group.priority, key(locality))) => {}
            Some(_) => {
                let reason = format_args!("is there twice in priority {}", group.priority);
                faults.add(within(Invalid::new("locality", reason)));
            }
        }
        faults.take(unique(group, &mut addresses).map_err(within));
    }
    faults.take(without_gap(&groups));
    faults.or(Some(()))
}

fn key(locality: &Locality) -> (&str, &str, &str) {
    (&locality.region, &locality.zone, &locality.sub_zone)
}

/// No address stands twice anywhere in a load assignment, among those that gRPC reads: endpoints of another health
/// are left out before.
fn unique(group: &pb::LocalityLbEndpoints, seen: &mut HashSet<SocketAddr>) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    for (at, endpoint) in group.lb_endpoints.iter().enumerate() {
        let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else {
            continue;
        };
        if !READ.map(i32::from).contains(&endpoint.health_status) {
            continue;
        }
        // What is no address is told elsewhere.
        if let Some(address) = host.address.as_ref().and_then(socket)
            && !seen.insert(address)
        {
            let path = format!("lb_endpoints[{at}].endpoint.address");
            faults.add(Invalid::new(path, format_args!("{address} is there twice")));
        }
    }
    faults.or(Some(()))
}

fn socket(address: &Address) -> Option<SocketAddr> {
    match address.address.as_ref()? {
        address::Address::SocketAddress(socket) => super::socket_addr(socket).ok(),
        _ => None,
    }
}

/// Priorities count from 0.
fn without_gap(groups: &[(usize, &pb::LocalityLbEndpoints)]) -> Result<(), Invalid> {
    let priorities: BTreeSet<u32> = groups.iter().map(|(_, group)| group.priority).collect();
    let Some((missing, after)) = (0..).zip(&priorities).find(|(due, there)| due != *there) else {
        return Ok(());
    };
    let first = groups.iter().find(|(_, group)| group.priority == *after);
    let at = first.map_or(0, |(at, _)| *at);
    Err(Invalid::new(
        format!("endpoints[{at}].priority"),
        format_args!("is {after}, and no locality that has a weight is of priority {missing}"),
    ))
}
