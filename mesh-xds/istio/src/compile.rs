//! From the registry to the resources of one node, in the names and shapes of istiod's two dialects.

mod cluster;
mod dialect;
mod endpoints;
mod gateway;
mod grpc;
mod matcher;
mod proto;
mod route;
mod sidecar;

use std::collections::BTreeMap;

use envoy_types::pb::google::protobuf::Any;
use mesh_xds::{Node, NodeType, ResourceType, Resources};

use crate::decode::Labels;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::service_entry::Resolution;
use crate::registry::{Named, Registry, Service};

pub use dialect::Dialect;

/// The configuration as one node sees it.
pub(crate) struct View<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) namespace: &'a str,
    pub(crate) labels: &'a Labels,
    pub(crate) services: Vec<&'a Service>,
    pub(crate) node_type: NodeType,
}

impl<'a> View<'a> {
    fn new(registry: &'a Registry, node: &'a Node) -> Self {
        Self {
            registry,
            namespace: &node.namespace,
            labels: &node.labels,
            services: registry.services(&node.namespace).collect(),
            node_type: node.node_type,
        }
    }
}

/// A cluster's name, and that of its load assignment.
pub(crate) fn cluster_name(port: u32, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// Everything that istiod would send to this node.
pub(crate) fn resources(registry: &Registry, node: &Node) -> Resources {
    let view = View::new(registry, node);
    let dialect = Dialect::of(node);
    let mut out = Resources::default();
    if dialect == Dialect::Sidecar {
        // A gateway passes nothing on that it has no route for.
        let passthrough = (node.node_type == NodeType::Sidecar).then(cluster::passthrough);
        for cluster in [cluster::black_hole()].into_iter().chain(passthrough) {
            out.clusters.insert(
                cluster.name.clone(),
                proto::pack(ResourceType::Cluster, &cluster),
            );
        }
    }
    for service in &view.services {
        let rules = registry.rules(service, view.namespace, view.labels);
        for port in &service.ports {
            for (subset, labels) in subsets(&rules) {
                let name = cluster_name(port.number, subset, &service.host);
                let packed = match dialect {
                    Dialect::Sidecar => {
                        cluster::outbound(&name, service, port, (subset, labels), &rules)
                    }
                    Dialect::Grpc => {
                        let balancer = cluster::balancer(port.number, subset, &rules);
                        proto::pack(ResourceType::Cluster, &grpc::cluster(&name, balancer))
                    }
                };
                out.clusters.insert(name.clone(), packed);
                let is_static = service.resolution == Resolution::Static;
                if dialect == Dialect::Sidecar && !is_static {
                    continue;
                }
                let assignment = match is_static {
                    true => endpoints::assignment(&name, port, labels),
                    // gRPC takes addresses only, and istiod sends it no other clusters than these.
                    false => endpoints::nobody(&name),
                };
                out.endpoints
                    .insert(name, proto::pack(ResourceType::Endpoints, &assignment));
            }
        }
    }
    let routes = match (dialect, node.node_type) {
        (Dialect::Grpc, _) => grpc::routes(&view),
        (Dialect::Sidecar, NodeType::Sidecar) => sidecar::routes(&view),
        (Dialect::Sidecar, NodeType::Router) => gateway::routes(&view),
    };
    for route in routes {
        out.routes
            .insert(route.name.clone(), proto::pack(ResourceType::Route, &route));
    }
    out
}

/// The listeners of a node: only those of gRPC's dialect begin with them.
pub(crate) fn listeners(registry: &Registry, node: &Node) -> BTreeMap<String, Any> {
    if Dialect::of(node) == Dialect::Sidecar {
        return BTreeMap::new();
    }
    let listeners = grpc::listeners(&View::new(registry, node));
    listeners
        .iter()
        .map(|listener| (listener.name.clone(), proto::any(listener)))
        .collect()
}

/// The whole service (no name, no labels), then the subsets of its rules; of two with one name the first counts.
fn subsets<'a>(rules: &[&'a Named<DestinationRule>]) -> BTreeMap<&'a str, Option<&'a Labels>> {
    let mut out = BTreeMap::from([("", None)]);
    for subset in rules.iter().flat_map(|rule| &rule.spec.subsets) {
        out.entry(&subset.name).or_insert(Some(&subset.labels));
    }
    out
}
