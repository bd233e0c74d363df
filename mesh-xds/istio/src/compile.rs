//! From the registry to the resources of one node, in the names and shapes of istiod's two dialects.

mod authz;
mod cluster;
mod endpoints;
mod gateway;
mod grpc;
mod hash;
mod inbound;
mod jwt;
mod locality;
mod manager;
mod matcher;
mod policy;
mod proto;
mod route;
mod scope;
mod sidecar;
mod tls;

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::cluster::v3::cluster::DiscoveryType;
use envoy_types::pb::google::protobuf::Any;
use mesh_xds::{Dialect, Node, NodeType, ResourceType, Resources};

use crate::decode::Labels;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::mesh_config::OutboundPolicy;
use crate::kinds::service_entry::Resolution;
use crate::registry::{Named, Registry, Service, ServicePort};

use locality::Place;
use scope::Scope;

/// The configuration as one node sees it.
pub(crate) struct View<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) namespace: &'a str,
    pub(crate) labels: &'a Labels,
    pub(crate) place: Place<'a>,
    pub(crate) services: Vec<&'a Service>,
    pub(crate) scope: Option<Scope<'a>>,
    /// What becomes of calls to hosts that the node does not know.
    pub(crate) outbound: OutboundPolicy,
}

impl<'a> View<'a> {
    fn new(registry: &'a Registry, node: &'a Node) -> Self {
        let (scope, services) = match Scope::of(registry, node) {
            Some((scope, services)) => (Some(scope), services),
            None => (None, registry.services(&node.namespace).collect()),
        };
        let outbound = scope::chosen(registry, node).and_then(|sidecar| sidecar.outbound);
        Self {
            registry,
            scope,
            services,
            outbound: outbound.unwrap_or(registry.mesh.outbound),
            namespace: &node.namespace,
            labels: &node.labels,
            place: Place::of(node),
        }
    }

    /// The ports of a service that the node knows.
    pub(crate) fn ports<'s>(&self, service: &'s Service) -> impl Iterator<Item = &'s ServicePort> {
        let known = |port: &&ServicePort| {
            let scope = self.scope.as_ref();
            scope.is_none_or(|scope| scope.has_port(service, port.number))
        };
        service.ports.iter().filter(known)
    }

    /// The service of a full host name.
    pub(crate) fn service(&self, host: &str) -> Option<&'a Service> {
        self.registry.service(host, self.namespace)
    }

    /// The rules for calls to a service, most important first.
    pub(crate) fn rules(&self, service: &Service) -> Vec<&'a Named<DestinationRule>> {
        self.registry.rules(service, self.namespace, self.labels)
    }
}

/// The endpoints of a service that a cluster is for.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    /// Empty for all of them.
    pub(crate) subset: &'a str,
    /// Those that they have.
    pub(crate) labels: Option<&'a Labels>,
}

/// A cluster's name, and that of its load assignment.
pub(crate) fn cluster_name(port: u32, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// Everything that istiod would send to this node.
pub(crate) fn resources(registry: &Registry, node: &Node) -> Resources {
    let view = View::new(registry, node);
    let dialect = node.dialect();
    let mut out = Resources::default();
    if dialect == Dialect::Sidecar {
        let mesh = &registry.mesh;
        // A gateway passes nothing on that it has no route for.
        let passthrough = (node.node_type == NodeType::Sidecar).then(|| cluster::passthrough(mesh));
        for cluster in [cluster::black_hole(mesh)].into_iter().chain(passthrough) {
            out.clusters.insert(
                cluster.name.clone(),
                proto::pack(ResourceType::Cluster, &cluster),
            );
        }
    }
    for service in &view.services {
        clusters(&view, dialect, service, &mut out);
    }
    out.listeners = listeners(registry, node);
    let routes = match (dialect, node.node_type) {
        (Dialect::Grpc, _) => grpc::routes(&view),
        (Dialect::Sidecar, NodeType::Sidecar) => sidecar::routes(&view),
        (Dialect::Sidecar, NodeType::Router) => gateway::routes(&view),
    };
    for route in routes {
        out.routes
            .insert(route.name.clone(), proto::pack_routes(route));
    }
    out
}

/// The clusters of a service, and the endpoints of those that ask for them.
fn clusters(view: &View<'_>, dialect: Dialect, service: &Service, out: &mut Resources) {
    let rules = view.rules(service);
    let identities = match view.registry.options.has_certificates() {
        true => view.registry.identities(service),
        false => Vec::new(),
    };
    for port in view.ports(service) {
        for (subset, labels) in subsets(&rules) {
            let name = cluster_name(port.number, subset, &service.host);
            let policy = cluster::effective(port.number, subset, &rules);
            let part = Part { subset, labels };
            let eds = cluster::discovery(service, policy) == DiscoveryType::Eds;
            let packed = match dialect {
                Dialect::Sidecar => {
                    let to = cluster::To {
                        service,
                        port,
                        part,
                        rules: &rules,
                        identities: &identities,
                    };
                    cluster::outbound(view, &name, &to, policy)
                }
                Dialect::Grpc => {
                    let cluster = grpc::cluster(&name, policy);
                    Some(proto::pack(ResourceType::Cluster, &cluster))
                }
            };
            let Some(packed) = packed else { continue };
            out.clusters.insert(name.clone(), packed);
            let assignment = match (dialect, service.resolution) {
                (Dialect::Sidecar, _) if !eds => continue,
                (_, Resolution::Static | Resolution::None) => {
                    endpoints::assignment(view, &name, port, part, (policy, &rules))
                }
                // gRPC takes addresses only, and istiod sends it no other clusters than these.
                _ => endpoints::nobody(&name),
            };
            let packed = proto::pack_endpoints(assignment);
            out.endpoints.insert(name, packed);
        }
    }
}

/// The listeners of a node: gRPC's dialect begins with them; a sidecar is told by one what its servers take, a router by
/// one for each port what it serves there.
pub(crate) fn listeners(registry: &Registry, node: &Node) -> BTreeMap<String, Any> {
    match (node.dialect(), node.node_type) {
        (Dialect::Grpc, _) => {
            let mut listeners = grpc::listeners(&View::new(registry, node));
            listeners.extend(grpc::inbound::listeners(registry, node));
            let packed = listeners.iter().map(|l| (l.name.clone(), proto::any(l)));
            packed.collect()
        }
        // Where nothing is said of servers they are told nothing.
        (Dialect::Sidecar, NodeType::Sidecar) if registry.is_secured() => {
            let listener = inbound::listener(registry, node);
            BTreeMap::from([(inbound::NAME.to_owned(), proto::any(&listener))])
        }
        (Dialect::Sidecar, NodeType::Sidecar) => BTreeMap::new(),
        (Dialect::Sidecar, NodeType::Router) => {
            let listeners = gateway::listeners(registry, node);
            let packed = listeners.iter().map(|l| (l.name.clone(), proto::any(l)));
            packed.collect()
        }
    }
}

/// The whole service (no name, no labels), then the subsets of its rules; of two with one name the first counts.
fn subsets<'a>(rules: &[&'a Named<DestinationRule>]) -> BTreeMap<&'a str, Option<&'a Labels>> {
    let mut out = BTreeMap::from([("", None)]);
    for subset in rules.iter().flat_map(|rule| &rule.spec.subsets) {
        out.entry(&subset.name).or_insert(Some(&subset.labels));
    }
    out
}
