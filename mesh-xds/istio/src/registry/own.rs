//! What lies at a node's own address: the services that it is a server of, and the labels that policies select it by.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_xds::Node;

use crate::decode::{Labels, selects};
use crate::kinds::authorization_policy::AuthorizationPolicy;
use crate::kinds::request_authentication::JwtRule;
use crate::kinds::service_entry::Protocol;
use crate::kinds::workload_entry::Address;

use super::{Named, Registry, Service, Workload};

/// The workload at a node's address, as far as its inbound listener depends on it: nodes that are alike in the rest and
/// in this have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Own {
    /// Of the workload that is registered there; the node's where none is.
    pub(crate) labels: Labels,
    /// By the port on which it listens.
    pub(crate) ports: BTreeMap<u32, OwnPort>,
}

/// A port of a service, as its server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OwnPort {
    pub(crate) host: Arc<str>,
    /// The service's number for it.
    pub(crate) number: u32,
    pub(crate) protocol: Protocol,
}

/// One port of one service at an address.
#[derive(Debug)]
struct Place {
    workload: Arc<Workload>,
    target: u32,
    port: OwnPort,
}

/// Endpoints by their addresses.
#[derive(Debug, Default)]
pub(super) struct ByAddress(HashMap<IpAddr, Vec<Place>>);

impl ByAddress {
    pub(super) fn of<'a>(services: impl Iterator<Item = &'a Service>) -> Self {
        let mut out: HashMap<IpAddr, Vec<Place>> = HashMap::new();
        for service in services {
            let host: Arc<str> = service.host.as_str().into();
            for port in &service.ports {
                for instance in &port.instances {
                    if let Address::Ip(ip) = instance.workload.endpoint.address {
                        out.entry(ip).or_default().push(Place {
                            workload: Arc::clone(&instance.workload),
                            target: instance.port,
                            port: OwnPort {
                                host: Arc::clone(&host),
                                number: port.number,
                                protocol: port.protocol,
                            },
                        });
                    }
                }
            }
        }
        Self(out)
    }
}

impl Registry {
    /// Whether anything is said of what servers take.
    pub(crate) fn is_secured(&self) -> bool {
        self.options.has_certificates()
            || !self.peers.is_empty()
            || !self.policies.is_empty()
            || !self.tokens.is_empty()
    }

    /// The policies for a workload: those of the root namespace and of its own that select it.
    pub(crate) fn policies<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a Named<AuthorizationPolicy>> {
        let root = self.mesh.root_namespace.as_str();
        self.policies.iter().filter(move |policy| {
            let of = policy.namespace.as_str();
            (of == root || of == namespace) && selects(&policy.spec.selector, labels)
        })
    }

    /// The issuers whose tokens a workload believes, by the objects of the root namespace and of its own that select it.
    pub(crate) fn jwt_rules<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a JwtRule> {
        let root = self.mesh.root_namespace.as_str();
        let of = self.tokens.iter().filter(move |tokens| {
            let of = tokens.namespace.as_str();
            (of == root || of == namespace) && selects(&tokens.spec.selector, labels)
        });
        of.flat_map(|tokens| &tokens.spec.rules)
    }

    /// The workload at a node's address. Where several share it, the node's name says which, else its labels.
    pub(crate) fn own(&self, node: &Node) -> Own {
        let at = self
            .by_address
            .0
            .get(&node.ip)
            .map_or(&[][..], Vec::as_slice);
        // What another namespace says of an address makes nobody's policies another's.
        let ours = |place: &&Place| {
            place.workload.name.is_empty() || place.workload.namespace == node.namespace
        };
        let at: Vec<&Place> = at.iter().filter(ours).collect();
        let is_named = |place: &&&Place| {
            place.workload.name == node.name && place.workload.namespace == node.namespace
        };
        let is_alike = |place: &&&Place| selects(&place.workload.endpoint.labels, &node.labels);
        let chosen: Vec<&Place> = if at.iter().any(|place| is_named(&place)) {
            at.iter().filter(is_named).copied().collect()
        } else if is_one(&at) {
            at
        } else {
            at.iter().filter(is_alike).copied().collect()
        };
        let labels = chosen.iter().map(|place| &place.workload.endpoint.labels);
        let labels = labels.into_iter().find(|labels| !labels.is_empty());
        let mut ports = BTreeMap::new();
        for place in &chosen {
            // Of two services on one port the first counts.
            ports
                .entry(place.target)
                .or_insert_with(|| place.port.clone());
        }
        Own {
            labels: labels.unwrap_or(&node.labels).clone(),
            ports,
        }
    }
}

/// Whether all are of one workload; those that Kubernetes lists have no names, and are the pod's whose address it is.
fn is_one(places: &[&Place]) -> bool {
    let name = |place: &&Place| {
        (
            place.workload.name.clone(),
            place.workload.namespace.clone(),
        )
    };
    let mut names = places.iter().map(name).filter(|(name, _)| !name.is_empty());
    let first = names.next();
    names.all(|other| Some(other) == first)
}
