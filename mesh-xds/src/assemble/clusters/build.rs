//! A decoded cluster and its load assignment -> what calls are balanced over.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_core::cluster::{Cluster, Endpoint};
use mesh_core::lb::{LbConfig, Overprovisioning};

use crate::decode::cluster::{ClusterResource, LbRules};
use crate::decode::endpoints::EndpointsResource;

pub(super) fn passing_through(
    name: &Arc<str>,
    resource: &ClusterResource,
    callers_version: bool,
) -> Cluster {
    Cluster {
        discovery: mesh_core::cluster::Discovery::OriginalDestination {
            // The endpoint has no metadata: it is not in any load assignment.
            transport: resource.transport.of(&BTreeMap::new()),
            callers_version,
        },
        service: resource.service.clone(),
        ..Cluster::original_destination(
            Arc::clone(name),
            resource.protocol,
            resource.connect_timeout,
        )
    }
}

pub(super) fn cluster_of(
    name: &Arc<str>,
    resource: &ClusterResource,
    sent: Option<&EndpointsResource>,
) -> Cluster {
    let endpoints: Vec<Endpoint> = sent
        .into_iter()
        .flat_map(|sent| &sent.endpoints)
        .map(|endpoint| Endpoint {
            address: endpoint.address,
            weight: endpoint.weight,
            priority: endpoint.priority,
            locality: endpoint.locality.clone(),
            health: endpoint.health,
            transport: resource.transport.of(&endpoint.socket_match),
            workload: endpoint.workload.clone(),
        })
        .collect();
    let cluster = Cluster::new(
        Arc::clone(name),
        resource.protocol,
        resource.connect_timeout,
        lb_of(&resource.lb, sent),
        endpoints,
    );
    Cluster {
        service: resource.service.clone(),
        ..cluster
    }
}

/// What the cluster and its assignment say about balancing.
fn lb_of(rules: &LbRules, sent: Option<&EndpointsResource>) -> LbConfig {
    LbConfig {
        policy: rules.policy,
        overprovisioning: sent.map_or_else(Overprovisioning::default, |sent| sent.overprovisioning),
        panic: rules.panic,
        locality_weights: sent
            .filter(|_| rules.locality_weighted)
            .map(|sent| sent.locality_weights.clone()),
    }
}
