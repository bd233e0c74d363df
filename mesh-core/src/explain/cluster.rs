//! Which endpoints of a cluster get requests, and why the others do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;

use super::{ClusterSeen, EndpointSeen, Refusal};
use crate::cluster::{Cluster, Discovery, Endpoint, Health, IstioName};
use crate::lb::priority::{Hosts, PriorityLoad, loads};
use crate::lb::{InPanic, LbPolicy, Overprovisioning};

/// A cluster by its name; `None` is one that the control plane does not have, and is answered with `not_found`.
pub fn cluster(name: &Arc<str>, model: Option<&Cluster>, not_found: StatusCode) -> ClusterSeen {
    let subset = IstioName::parse(name).and_then(|name| name.subset);
    let mut seen = ClusterSeen {
        name: Arc::clone(name),
        subset: subset.map(Into::into),
        policy: String::new(),
        endpoints: Vec::new(),
        is_outside: false,
        refusal: None,
    };
    let Some(model) = model else {
        let reason = "there is no such cluster; check the host, the port and the subset of the route's destination, and that a DestinationRule defines the subset";
        seen.refusal = Some(Refusal::new(not_found, "NC", reason));
        return seen;
    };
    seen.policy = policy(model.lb.policy);
    seen.endpoints = endpoints(model);
    if let Some(fault) = &model.fault {
        seen.refusal = Some(Refusal::new(not_found, "NC", Arc::clone(fault)));
    } else if let Discovery::OriginalDestination { transport, .. } = &model.discovery {
        seen.is_outside = true;
        seen.refusal = transport
            .no_plaintext()
            .map(|reason| unavailable("UF", reason));
    } else {
        seen.refusal = no_endpoint(model);
    }
    seen
}

/// Why none of a cluster's endpoints can be called.
fn no_endpoint(model: &Cluster) -> Option<Refusal> {
    let eligible = model.balancer.eligible_endpoints();
    if eligible.is_empty() {
        let reason = match (model.endpoints.len(), &model.unresolved) {
            (0, Some(why)) => format!("the cluster has no endpoints: {why}"),
            (0, None) => "the cluster has no endpoints; check that a workload carries the labels that the service and the subset select".to_owned(),
            (all, _) => format!("none of the cluster's {all} endpoints is healthy"),
        };
        return Some(unavailable("UH", reason));
    }
    // Each call fails that picks one which cannot be reached.
    let mut reasons = eligible.iter().map(|at| {
        let endpoint = model.endpoints.get(*at as usize)?;
        endpoint.transport.refusal()
    });
    let first = reasons.next().flatten()?;
    let all = reasons.all(|reason| reason.is_some());
    all.then(|| unavailable("UF", first))
}

fn unavailable(flags: &'static str, reason: impl Into<Arc<str>>) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, flags, reason)
}

fn endpoints(model: &Cluster) -> Vec<EndpointSeen> {
    let eligible = model.balancer.eligible_endpoints();
    let loads = loads_of(model);
    let mut picked = vec![false; model.endpoints.len()];
    for at in eligible {
        if let Some(picked) = picked.get_mut(*at as usize) {
            *picked = true;
        }
    }
    let all = model.endpoints.iter().zip(picked);
    all.map(|(endpoint, picked)| EndpointSeen {
        address: endpoint.address,
        health: endpoint.health,
        locality: locality(endpoint),
        priority: endpoint.priority,
        weight: endpoint.weight,
        passed_over: match picked {
            true => endpoint.transport.refusal(),
            false => Some(why_not(model, endpoint, &loads)),
        },
    })
    .collect()
}

/// What each priority takes.
fn loads_of(model: &Cluster) -> BTreeMap<u32, PriorityLoad> {
    let mut hosts: BTreeMap<u32, Hosts> = BTreeMap::new();
    for endpoint in &model.endpoints {
        let hosts = hosts.entry(endpoint.priority).or_default();
        hosts.total += 1;
        match endpoint.health {
            Health::Healthy => hosts.healthy += 1,
            Health::Degraded => hosts.degraded += 1,
            Health::Draining => hosts.draining += 1,
            Health::Unhealthy => {}
        }
    }
    let counts: Vec<_> = hosts.values().copied().collect();
    let loads = loads(&counts, model.lb.overprovisioning, model.lb.panic);
    hosts.into_keys().zip(loads).collect()
}

fn why_not(model: &Cluster, endpoint: &Endpoint, loads: &BTreeMap<u32, PriorityLoad>) -> String {
    let priority = endpoint.priority;
    let load = loads.get(&priority).copied().unwrap_or_default();
    let takes = |load: &PriorityLoad| load.healthy > 0 || load.degraded > 0;
    match endpoint.health {
        Health::Degraded if model.lb.overprovisioning == Overprovisioning::Strict => {
            "it is degraded, and gRPC's rules do not use those".to_owned()
        }
        Health::Healthy | Health::Degraded if !takes(&load) => {
            let others = match loads.values().any(takes) {
                true => "another one takes all",
                false => "none does",
            };
            format!("priority {priority} takes no traffic, {others}")
        }
        _ if load.panic && model.lb.panic.then == InPanic::NoEndpoint => {
            format!("priority {priority} panics, and the cluster fails its traffic then")
        }
        Health::Unhealthy => "it is unhealthy".to_owned(),
        Health::Draining => "it is draining".to_owned(),
        Health::Degraded if load.degraded == 0 => {
            "it is degraded, and the healthy ones take all".to_owned()
        }
        Health::Healthy if load.healthy == 0 => "degraded endpoints take all".to_owned(),
        Health::Healthy | Health::Degraded => {
            "its locality has no weight in its priority".to_owned()
        }
    }
}

fn locality(endpoint: &Endpoint) -> Option<String> {
    let locality = endpoint.locality.as_deref()?;
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let known: Vec<&str> = parts
        .into_iter()
        .map(|part| &**part)
        .filter(|part| !part.is_empty())
        .collect();
    Some(known.join("/"))
}

fn policy(policy: LbPolicy) -> String {
    match policy {
        LbPolicy::RoundRobin => "ROUND_ROBIN".to_owned(),
        LbPolicy::Random => "RANDOM".to_owned(),
        LbPolicy::LeastRequest { choices } => format!("LEAST_REQUEST of {choices}"),
    }
}
