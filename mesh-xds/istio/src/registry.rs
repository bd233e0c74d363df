//! Services and rules by name and namespace: what the compiler looks things up in (istiod's push context).

mod attach;
mod delegates;
mod mtls;
mod own;
mod rules;
mod service;
mod unselected;
mod workloads;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::config::Options;
use crate::diagnostic::Diagnostic;
use crate::host;
use crate::kinds::Spec;
use crate::kinds::authorization_policy::AuthorizationPolicy;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::gateway::Gateway;
use crate::kinds::kubernetes;
use crate::kinds::mesh_config::MeshConfig;
use crate::kinds::peer_authentication::PeerAuthentication;
use crate::kinds::request_authentication::RequestAuthentication;
use crate::kinds::service_entry::{Resolution, ServiceEntry};
use crate::kinds::sidecar::Sidecar;
use crate::kinds::virtual_service::Merged;
use crate::kinds::workload_entry::Endpoint;
pub(crate) use mtls::{ISTIO, Modes, TLS_MODE};
pub use own::Own;
pub(crate) use own::OwnPort;
pub(crate) use service::{Instance, Service, ServicePort, Workload};
pub use unselected::Unselected;
use workloads::Workloads;

/// A spec with the name of its object.
#[derive(Debug)]
pub(crate) struct Named<T> {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) spec: T,
}

impl<T> Named<T> {
    fn new(name: String, namespace: String, spec: T) -> Self {
        Self {
            name,
            namespace,
            spec,
        }
    }
}

/// What services are put together from.
#[derive(Default)]
struct Parts {
    entries: Vec<Named<ServiceEntry>>,
    workloads: Workloads,
    /// Kubernetes' lists of endpoints, by host.
    listed: HashMap<String, Vec<Arc<Workload>>>,
    /// Hosts that stand for others.
    aliases: Vec<(String, String)>,
}

impl Parts {
    fn add(&mut self, name: String, namespace: String, spec: Spec) {
        match spec {
            Spec::ServiceEntry(spec) | Spec::Kubernetes(kubernetes::Service::Own(spec)) => {
                self.entries.push(Named::new(name, namespace, spec));
            }
            Spec::Kubernetes(kubernetes::Service::Alias(of)) => {
                self.aliases.push((host::resolve(&name, &namespace), of));
            }
            Spec::WorkloadEntry(endpoint) => self.workloads.add(Workload {
                name,
                namespace,
                endpoint,
            }),
            Spec::Endpoints(of) => {
                let host = host::resolve(&of.service, &namespace);
                let known = self.listed.entry(host).or_default();
                let endpoints = of.endpoints.into_iter();
                known.extend(endpoints.map(Workload::nameless).map(Arc::new));
            }
            _ => {}
        }
    }
}

/// Everything of a folder that has an effect.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// By host, then by namespace.
    services: BTreeMap<String, Vec<Service>>,
    /// By full host.
    rules: HashMap<String, Vec<Named<DestinationRule>>>,
    /// Those of Gateway API's routes, then the others, each in the order of namespace and name.
    pub(crate) virtual_services: Vec<Named<Merged>>,
    /// What only all objects together tell.
    pub(crate) notes: Vec<Diagnostic>,
    pub(crate) gateways: Vec<Named<Gateway>>,
    pub(crate) sidecars: Vec<Named<Sidecar>>,
    /// In the order of namespace and name.
    peers: Vec<Named<PeerAuthentication>>,
    /// In the order of namespace and name.
    policies: Vec<Named<AuthorizationPolicy>>,
    /// In the order of namespace and name.
    tokens: Vec<Named<RequestAuthentication>>,
    by_address: own::ByAddress,
    pub(crate) mesh: MeshConfig,
    /// What the mesh has besides the folder.
    pub(crate) options: Options,
}

impl Registry {
    pub(crate) fn build(
        specs: impl IntoIterator<Item = (String, String, Spec)>,
        options: Options,
    ) -> Self {
        let mut specs: Vec<_> = specs.into_iter().collect();
        // Without creation times, which files do not have, the order of names decides between rules.
        specs.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let mesh = specs.iter().find_map(|(_, _, spec)| match spec {
            Spec::MeshConfig(mesh) => Some((**mesh).clone()),
            _ => None,
        });
        let mut this = Self {
            mesh: mesh.unwrap_or_default(),
            options,
            ..Self::default()
        };
        let mut parts = Parts::default();
        let mut virtual_services = Vec::new();
        let mut routes = Vec::new();
        let mut parents = attach::Parents::default();
        for (namespace, name, spec) in specs {
            match spec {
                Spec::DestinationRule(mut spec) => {
                    spec.export_to.or(&this.mesh.export.destination_rules);
                    let host = host::resolve(&spec.host, &namespace);
                    let rules = this.rules.entry(host).or_default();
                    rules.push(Named::new(name, namespace, *spec));
                }
                Spec::VirtualService(mut spec) => {
                    spec.export_to.or(&this.mesh.export.virtual_services);
                    virtual_services.push(Named::new(name, namespace, spec));
                }
                Spec::Gateway(spec) => this.gateways.push(Named::new(name, namespace, spec)),
                Spec::Sidecar(spec) => this.sidecars.push(Named::new(name, namespace, spec)),
                Spec::AuthorizationPolicy(spec) => {
                    this.policies.push(Named::new(name, namespace, spec));
                }
                Spec::PeerAuthentication(spec) => {
                    this.peers.push(Named::new(name, namespace, spec));
                }
                Spec::RequestAuthentication(spec) => {
                    this.tokens.push(Named::new(name, namespace, spec));
                }
                Spec::Route(spec) => routes.push(Named::new(name, namespace, *spec)),
                of_services => {
                    parents.add(&name, &namespace, &of_services);
                    parts.add(name, namespace, of_services);
                }
            }
        }
        let export_to = &this.mesh.export.virtual_services;
        // Before the others: of several for one host the first counts.
        this.virtual_services = attach::attach(routes, &parents, export_to, &mut this.notes);
        let others = delegates::merge(virtual_services, &mut this.notes);
        this.virtual_services.extend(others);
        let served = |entry: &Named<ServiceEntry>| entry.spec.resolution != Resolution::DynamicDns;
        for mut entry in parts.entries.into_iter().filter(served) {
            entry.spec.export_to.or(&this.mesh.export.services);
            this.add_service(entry, &parts.workloads, &parts.listed);
        }
        this.add_aliases(&parts.aliases);
        if this.is_secured() {
            this.by_address = own::ByAddress::of(this.services.values().flatten());
        }
        this
    }

    /// `ExternalName`s become further names of the services that they stand for, through each other too; one that
    /// stands for no service of the mesh has no routes.
    fn add_aliases(&mut self, aliases: &[(String, String)]) {
        // Of one name the first counts.
        let known: HashMap<&str, &str> = aliases
            .iter()
            .rev()
            .map(|(name, of)| (&**name, &**of))
            .collect();
        for (name, first) in aliases {
            let (mut target, mut seen) = (first.as_str(), HashSet::new());
            while let Some(of) = known.get(target).filter(|_| seen.insert(target)) {
                target = of;
            }
            for service in self.services.get_mut(target).into_iter().flatten() {
                service.aliases.push(name.clone());
            }
        }
    }

    fn add_service(
        &mut self,
        entry: Named<ServiceEntry>,
        workloads: &Workloads,
        listed: &HashMap<String, Vec<Arc<Workload>>>,
    ) {
        let Named {
            name,
            namespace,
            mut spec,
        } = entry;
        let endpoints = std::mem::take(&mut spec.endpoints);
        let named = matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        let itself = named && spec.selector.is_none() && endpoints.is_empty();
        let members: Vec<Arc<Workload>> = match &spec.selector {
            Some(selector) => workloads.selected(&namespace, selector),
            None => endpoints
                .into_iter()
                .enumerate()
                .map(|endpoint| Workload::inline(&name, &namespace, endpoint))
                .map(Arc::new)
                .collect(),
        };
        for host in &spec.hosts {
            let of_host = self.services.entry(host.clone()).or_default();
            let at = of_host
                .iter()
                .position(|s| s.namespace == namespace)
                .unwrap_or_else(|| {
                    of_host.push(Service::of(host, &namespace, &spec));
                    of_host.len() - 1
                });
            let own = itself.then(|| Workload {
                name: name.clone(),
                namespace: namespace.clone(),
                endpoint: Endpoint::at(host),
            });
            let own: Vec<_> = own.into_iter().map(Arc::new).collect();
            for port in &spec.ports {
                of_host[at].add_port(port, if itself { &own } else { &members });
                // Listed endpoints count only for the ports that they name.
                let listed = listed.get(host).map_or(&[][..], Vec::as_slice).iter();
                let named = listed.filter(|w| w.endpoint.ports.contains_key(&port.name));
                of_host[at].add_port(port, &named.cloned().collect::<Vec<_>>());
            }
        }
    }

    /// The services that a namespace sees: one per host, its own before those of others.
    pub(crate) fn services<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Service> {
        self.services
            .values()
            .filter_map(move |list| visible(list, namespace))
    }

    /// All services that a namespace may see, those of one host one after the other.
    pub(crate) fn all_services<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Service> {
        let seen = move |s: &&Service| s.export_to.visible(&s.namespace, namespace);
        self.services.values().flatten().filter(seen)
    }

    /// The host of a service that the mesh's own configuration names, whoever sees it: with its namespace and a slash before
    /// it, or alone where no other namespace has one of that name.
    pub(crate) fn sole_host(&self, named: &str) -> Option<&str> {
        let (namespace, host) = match named.split_once('/') {
            Some((namespace, host)) => (Some(namespace), host),
            None => (None, named),
        };
        let all = self.services.get(host)?;
        let of = |service: &&Service| namespace.is_none_or(|it| it == service.namespace);
        let mut found = all.iter().filter(of);
        let first = found.next()?;
        let is_sole = found.all(|other| other.namespace == first.namespace);
        is_sole.then_some(&first.host)
    }

    /// The service of a full host name, as a namespace sees it.
    pub(crate) fn service(&self, host: &str, namespace: &str) -> Option<&Service> {
        visible(self.services.get(host)?, namespace)
    }
}

fn visible<'a>(list: &'a [Service], namespace: &str) -> Option<&'a Service> {
    let seen = |s: &&Service| s.export_to.visible(&s.namespace, namespace);
    list.iter()
        .filter(|s| s.namespace == namespace)
        .find(seen)
        .or_else(|| list.iter().find(seen))
}
