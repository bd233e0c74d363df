//! From the registry to the resources of one node, in the names and shapes of istiod's sidecar dialect.

mod cluster;
mod endpoints;
mod gateway;
mod matcher;
mod proto;
mod route;
mod sidecar;

use std::collections::BTreeMap;

use mesh_xds::{Node, NodeType, ResourceType, Resources};

use crate::decode::Labels;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::service_entry::Resolution;
use crate::registry::{Named, Registry, Service};

/// The configuration as one node sees it.
pub(crate) struct View<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) namespace: &'a str,
    pub(crate) labels: &'a Labels,
    pub(crate) services: Vec<&'a Service>,
}

/// A cluster's name, and that of its load assignment.
pub(crate) fn cluster_name(port: u32, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// Everything that istiod would send to this node.
pub(crate) fn resources(registry: &Registry, node: &Node) -> Resources {
    let namespace = node.namespace.as_str();
    let services = registry.services(namespace).collect();
    let view = View {
        registry,
        namespace,
        labels: &node.labels,
        services,
    };
    let mut out = Resources::default();
    for cluster in [cluster::black_hole(), cluster::passthrough()] {
        out.clusters.insert(
            cluster.name.clone(),
            proto::pack(ResourceType::Cluster, &cluster),
        );
    }
    for service in &view.services {
        let rules = registry.rules(service, namespace, view.labels);
        for port in &service.ports {
            for (subset, labels) in subsets(&rules) {
                let name = cluster_name(port.number, subset, &service.host);
                let packed = cluster::outbound(&name, service, port, (subset, labels), &rules);
                out.clusters.insert(name.clone(), packed);
                if service.resolution != Resolution::Static {
                    continue;
                }
                let assignment = endpoints::assignment(&name, port, labels);
                out.endpoints
                    .insert(name, proto::pack(ResourceType::Endpoints, &assignment));
            }
        }
    }
    let routes = match node.node_type {
        NodeType::Sidecar => sidecar::routes(&view),
        NodeType::Router => gateway::routes(&view),
    };
    for route in routes {
        out.routes
            .insert(route.name.clone(), proto::pack(ResourceType::Route, &route));
    }
    out
}

/// The whole service (no name, no labels), then the subsets of its rules; of two with one name the first counts.
fn subsets<'a>(rules: &[&'a Named<DestinationRule>]) -> BTreeMap<&'a str, Option<&'a Labels>> {
    let mut out = BTreeMap::from([("", None)]);
    for subset in rules.iter().flat_map(|rule| &rule.spec.subsets) {
        out.entry(&subset.name).or_insert(Some(&subset.labels));
    }
    out
}
