//! A response -> the assembler: each resource on its own, so that one bad one spoils no other (gRPC A46).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use mesh_core::snapshot::Missing;

use crate::assemble::Assembler;
use crate::decode::{self, Invalid, Rejected, cluster, endpoints, route};
use crate::resource::{ResourceType, Resources};

/// Hands the resources of one response over; returns those that were rejected.
pub(super) fn accept(
    assembler: &mut Assembler,
    resource_type: ResourceType,
    version: &Arc<str>,
    resources: Vec<Any>,
) -> Vec<Rejected> {
    let mut rejected = Vec::new();
    let mut reject = |name: Arc<str>, reason: Invalid| {
        let version = Arc::clone(version);
        rejected.push(Rejected {
            resource_type,
            name,
            version,
            reason,
        });
    };
    let mut names = HashSet::new();
    let mut all_clusters = BTreeMap::new();
    for any in resources {
        let bytes = match decode::unwrapped(any, resource_type) {
            Ok(bytes) => bytes,
            Err(reason) => {
                reject("".into(), reason);
                continue;
            }
        };
        let name = match one(assembler, resource_type, version, bytes, &mut all_clusters) {
            Ok(name) => name,
            Err((name, reason)) => {
                reject(name, reason);
                continue;
            }
        };
        if !names.insert(Arc::clone(&name)) {
            reject(name, Invalid::new("", "appears twice in one response"));
        }
    }
    if resource_type == ResourceType::Cluster {
        let unreadable = rejected.iter().any(|rejected| rejected.name.is_empty());
        assembler.set_clusters(version, all_clusters, unreadable);
        rejected.extend(assembler.take_cluster_faults());
    }
    for rejected in &rejected {
        refuse(assembler, rejected);
    }
    rejected
}

/// Lets calls that wait for a resource know that it came and why it cannot be used. Where there is a
/// last good version, that one stays.
fn refuse(assembler: &mut Assembler, rejected: &Rejected) {
    let fault: Arc<str> = rejected.to_string().into();
    match (rejected.resource_type, rejected.name.parse()) {
        (ResourceType::Endpoints, _) => assembler.endpoints_refused(&rejected.name, fault),
        (ResourceType::Route, Ok(table)) => {
            assembler.table_absent(table, Missing::NotReceived(fault))
        }
        _ => {}
    }
}

/// Returns the resource's name.
fn one(
    assembler: &mut Assembler,
    resource_type: ResourceType,
    version: &Arc<str>,
    bytes: Vec<u8>,
    all_clusters: &mut BTreeMap<Arc<str>, Vec<u8>>,
) -> Result<Arc<str>, (Arc<str>, Invalid)> {
    match resource_type {
        ResourceType::Cluster => {
            let name = cluster::name(&bytes).map_err(|reason| ("".into(), reason))?;
            all_clusters.insert(Arc::clone(&name), bytes);
            Ok(name)
        }
        ResourceType::Endpoints => {
            let (name, decoded) = endpoints::decode(&bytes)?;
            assembler.set_endpoints(Arc::clone(&name), decoded);
            Ok(name)
        }
        ResourceType::Route => {
            let decoded = route::decode(&bytes)?;
            let name = Arc::clone(&decoded.name);
            assembler.set_route(version, decoded);
            Ok(name)
        }
    }
}

/// Hands over a whole set that came from no stream: what it does not hold does not exist.
pub(super) fn accept_all(
    assembler: &mut Assembler,
    version: &Arc<str>,
    resources: &Resources,
) -> Vec<Rejected> {
    assembler.is_whole();
    let mut rejected = Vec::new();
    // Routes decide which load assignments are looked at.
    for resource_type in [
        ResourceType::Cluster,
        ResourceType::Route,
        ResourceType::Endpoints,
    ] {
        let wanted = |name: &str| {
            resource_type != ResourceType::Route
                || name.parse().is_ok_and(|key| assembler.is_wanted(key))
        };
        let all = resources
            .of(resource_type)
            .iter()
            .filter(|(name, _)| wanted(name));
        let all = all.map(|(_, any)| any.clone()).collect();
        rejected.extend(accept(assembler, resource_type, version, all));
    }
    let absent = |name: &&Arc<str>| !resources.endpoints.contains_key(&***name);
    let names = assembler.endpoint_names();
    for name in names.iter().filter(absent).cloned() {
        assembler.endpoints_absent(name);
    }
    let unknown: Vec<_> = assembler
        .wanted()
        .filter(|key| !resources.routes.contains_key(&key.to_string()))
        .collect();
    for key in unknown {
        assembler.table_gone(
            key,
            format!("no HTTP service of the configuration listens on {key}; check the port in the URL (80 if there is none), and that the ServiceEntry gives that port the protocol HTTP, HTTP2 or GRPC").into(),
        );
    }
    rejected
}
