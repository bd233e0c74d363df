//! What a `Sidecar` leaves of the mesh for one node (istiod's sidecar scope).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mesh_xds::{Node, NodeType};

use crate::host;
use crate::kinds::http_route::Action;
use crate::kinds::sidecar::{Egress, Import, Sidecar};
use crate::kinds::virtual_service::{MESH, Merged};
use crate::registry::{Named, Registry, Service};

/// The services of a node, where a `Sidecar` says which.
pub(crate) struct Scope<'a> {
    sidecar: &'a Sidecar,
    namespace: &'a str,
    /// By host: the ports with clusters; nothing for all.
    ports: HashMap<&'a str, Option<BTreeSet<u32>>>,
}

impl<'a> Scope<'a> {
    /// The scope that holds for a node, with its services; nothing where no `Sidecar` limits it.
    pub(super) fn of(registry: &'a Registry, node: &'a Node) -> Option<(Self, Vec<&'a Service>)> {
        let sidecar = chosen(registry, node)?;
        if sidecar.egress.is_empty() {
            return None;
        }
        let mut this = Self {
            sidecar,
            namespace: &node.namespace,
            ports: HashMap::new(),
        };
        let mut found: BTreeMap<&str, &Service> = BTreeMap::new();
        for service in registry.all_services(&node.namespace) {
            for entry in &sidecar.egress {
                if !this.imports(entry, service) {
                    continue;
                }
                let known = found.entry(&service.host).or_insert(service);
                // Of two services of one host that of the node's own namespace counts.
                if service.namespace == node.namespace && known.namespace != node.namespace {
                    *known = service;
                    this.ports.remove(service.host.as_str());
                }
                if known.namespace == service.namespace {
                    this.add_port(&service.host, entry.port);
                }
            }
        }
        for rule in &registry.virtual_services {
            if this.has_rule(rule) {
                this.add_destinations(registry, rule, &mut found);
            }
        }
        Some((this, found.into_values().collect()))
    }

    /// Where the routes of a rule go to is known too, whether it was imported or not.
    fn add_destinations(
        &mut self,
        registry: &'a Registry,
        rule: &Named<Merged>,
        found: &mut BTreeMap<&'a str, &'a Service>,
    ) {
        let visible = rule.spec.export_to.visible(&rule.namespace, self.namespace);
        if !visible || !rule.spec.gateways.iter().any(|gateway| gateway == MESH) {
            return;
        }
        for route in &rule.spec.http {
            let Action::Forward(destinations) = &route.action else {
                continue;
            };
            for to in destinations {
                let Some(service) = registry.service(&to.host, self.namespace) else {
                    continue;
                };
                found.entry(&service.host).or_insert(service);
                self.add_port(&service.host, to.port);
            }
        }
    }

    fn add_port(&mut self, host: &'a str, port: Option<u32>) {
        let ports = self
            .ports
            .entry(host)
            .or_insert_with(|| Some(BTreeSet::new()));
        match port {
            Some(port) => {
                if let Some(ports) = ports {
                    ports.insert(port);
                }
            }
            None => *ports = None,
        }
    }

    fn names(&self, import: &Import, namespace: &str) -> bool {
        match import.namespace.as_str() {
            "*" => true,
            "." => namespace == self.namespace,
            // Also `~`, which is no namespace.
            name => namespace == name,
        }
    }

    fn imports(&self, entry: &Egress, service: &Service) -> bool {
        let mut hosts = entry.hosts.iter();
        hosts.any(|import| {
            self.names(import, &service.namespace) && host::covers(&import.host, &service.host)
        })
    }

    /// Whether a service has clusters for a port.
    pub(super) fn has_port(&self, service: &Service, port: u32) -> bool {
        match self.ports.get(service.host.as_str()) {
            Some(Some(ports)) => ports.contains(&port),
            Some(None) => true,
            None => false,
        }
    }

    /// Whether a service stands in the route tables of a port: in those of the port's own entry, else of the entry for
    /// all other ports.
    pub(super) fn routes(&self, service: &Service, port: u32) -> bool {
        let entry = |port: Option<u32>| self.sidecar.egress.iter().find(|e| e.port == port);
        entry(Some(port))
            .or_else(|| entry(None))
            .is_some_and(|entry| self.imports(entry, service))
    }

    /// Whether a rule is for a host that is imported from the rule's namespace.
    pub(super) fn has_rule(&self, rule: &Named<Merged>) -> bool {
        let mut imports = self.sidecar.egress.iter().flat_map(|entry| &entry.hosts);
        imports.any(|import| {
            let mut hosts = rule.spec.hosts.iter();
            self.names(import, &rule.namespace)
                && hosts.any(|name| {
                    let name = host::resolve(name, &rule.namespace);
                    host::intersection(&import.host, &name).is_some()
                })
        })
    }
}

/// The `Sidecar` for a node: one of its namespace that selects it, one for all of its namespace, or the root
/// namespace's for all.
pub(super) fn chosen<'a>(registry: &'a Registry, node: &Node) -> Option<&'a Sidecar> {
    if node.node_type != NodeType::Sidecar {
        return None;
    }
    let of = |namespace: &str, selected: bool| {
        let fits = |sidecar: &&Named<Sidecar>| {
            let selector = sidecar.spec.selector.as_ref();
            sidecar.namespace == namespace
                && match selector {
                    Some(selector) => selected && crate::decode::selects(selector, &node.labels),
                    None => !selected,
                }
        };
        registry.sidecars.iter().find(fits).map(|found| &found.spec)
    };
    of(&node.namespace, true)
        .or_else(|| of(&node.namespace, false))
        .or_else(|| of(&registry.mesh.root_namespace, false))
}
