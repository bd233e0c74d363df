//! Services and rules by name and namespace: what the compiler looks things up in (istiod's push context).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::decode::{Labels, selects};
use crate::host;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::gateway::Gateway;
use crate::kinds::mesh_config::MeshConfig;
use crate::kinds::service_entry::{Port, Protocol, Resolution, ServiceEntry};
use crate::kinds::virtual_service::VirtualService;
use crate::kinds::workload_entry::{Address, Endpoint};
use crate::kinds::{ExportTo, Spec};

/// Where rules for all namespaces live.
const ROOT_NAMESPACE: &str = "istio-system";

/// A spec with the name of its object.
#[derive(Debug)]
pub(crate) struct Named<T> {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) spec: T,
}

/// One host of the mesh in one namespace.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) host: String,
    pub(crate) namespace: String,
    pub(crate) ports: Vec<ServicePort>,
    /// How its addresses are found.
    pub(crate) resolution: Resolution,
    export_to: ExportTo,
}

/// A port of a service with the instances behind it.
#[derive(Debug)]
pub(crate) struct ServicePort {
    pub(crate) number: u32,
    pub(crate) protocol: Protocol,
    pub(crate) instances: Vec<Instance>,
}

/// An endpoint as one port of one service sees it.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) workload: Arc<Workload>,
    pub(crate) port: u32,
}

/// A workload with its name; inline endpoints have neither name nor namespace.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) endpoint: Endpoint,
}

impl Workload {
    /// An endpoint in the ServiceEntry itself: istiod names its workload by the entry and its place.
    fn inline(entry: &str, namespace: &str, (place, endpoint): (usize, Endpoint)) -> Self {
        Self {
            name: format!("{entry}-{place}"),
            namespace: namespace.to_owned(),
            endpoint,
        }
    }
}

/// The workloads of all namespaces, so that a selector need not look at each.
#[derive(Default)]
struct Workloads {
    by_namespace: HashMap<String, Vec<Arc<Workload>>>,
    /// By namespace, label and value.
    by_label: HashMap<(String, String, String), Vec<Arc<Workload>>>,
}

impl Workloads {
    fn add(&mut self, workload: Workload) {
        let workload = Arc::new(workload);
        for (key, value) in &workload.endpoint.labels {
            let label = (workload.namespace.clone(), key.clone(), value.clone());
            self.by_label
                .entry(label)
                .or_default()
                .push(Arc::clone(&workload));
        }
        self.by_namespace
            .entry(workload.namespace.clone())
            .or_default()
            .push(workload);
    }

    fn selected(&self, namespace: &str, selector: &Labels) -> Vec<Arc<Workload>> {
        let with = |(key, value): (&String, &String)| {
            let found = self
                .by_label
                .get(&(namespace.to_owned(), key.clone(), value.clone()));
            found.map_or(&[][..], Vec::as_slice)
        };
        let all = || {
            self.by_namespace
                .get(namespace)
                .map_or(&[][..], Vec::as_slice)
        };
        let candidates = selector
            .iter()
            .map(with)
            .min_by_key(|list| list.len())
            .unwrap_or_else(all);
        let fits = |workload: &&Arc<Workload>| selects(selector, &workload.endpoint.labels);
        candidates.iter().filter(fits).cloned().collect()
    }
}

impl Service {
    fn add_port(&mut self, port: &Port, members: &[Arc<Workload>]) {
        let (most, names) = match self.resolution {
            // Of several entries for one host the first says how addresses are found. What does not fit would make
            // clients refuse the whole cluster.
            Resolution::Static => (usize::MAX, false),
            Resolution::DnsRoundRobin => (1, true),
            Resolution::Dns | Resolution::DynamicDns | Resolution::None => (usize::MAX, true),
        };
        let fits = |workload: &&Arc<Workload>| {
            names || matches!(workload.endpoint.address, Address::Ip(_))
        };
        let instances = members.iter().filter(fits).map(|workload| {
            let own = workload.endpoint.ports.get(&port.name).copied();
            let number = own.or(port.target).unwrap_or(port.number);
            Instance {
                workload: Arc::clone(workload),
                port: number,
            }
        });
        match self.ports.iter_mut().find(|p| p.number == port.number) {
            // Two entries for one host and port: their endpoints add up.
            Some(known) => {
                let room = most - known.instances.len().min(most);
                known.instances.extend(instances.take(room));
            }
            None => {
                let (number, protocol) = (port.number, port.protocol);
                let instances = instances.take(most).collect();
                self.ports.push(ServicePort {
                    number,
                    protocol,
                    instances,
                });
            }
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
    /// In the order of namespace and name.
    pub(crate) virtual_services: Vec<Named<VirtualService>>,
    pub(crate) gateways: Vec<Named<Gateway>>,
    pub(crate) mesh: MeshConfig,
}

impl Registry {
    pub(crate) fn build(specs: impl IntoIterator<Item = (String, String, Spec)>) -> Self {
        let mut specs: Vec<_> = specs.into_iter().collect();
        // Without creation times, which files do not have, the order of names decides between rules.
        specs.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let mut this = Self::default();
        let mut entries = Vec::new();
        let mut workloads = Workloads::default();
        for (namespace, name, spec) in specs {
            match spec {
                Spec::ServiceEntry(spec) => entries.push(Named {
                    name,
                    namespace,
                    spec,
                }),
                Spec::WorkloadEntry(endpoint) => workloads.add(Workload {
                    name,
                    namespace,
                    endpoint,
                }),
                Spec::DestinationRule(spec) => {
                    let host = host::resolve(&spec.host, &namespace);
                    this.rules.entry(host).or_default().push(Named {
                        name,
                        namespace,
                        spec,
                    });
                }
                Spec::VirtualService(spec) => this.virtual_services.push(Named {
                    name,
                    namespace,
                    spec,
                }),
                Spec::Gateway(spec) => this.gateways.push(Named {
                    name,
                    namespace,
                    spec,
                }),
                Spec::MeshConfig(spec) => this.mesh = spec,
                Spec::Unserved => {}
            }
        }
        let served = |entry: &Named<ServiceEntry>| entry.spec.resolution != Resolution::DynamicDns;
        for entry in entries.into_iter().filter(served) {
            this.add_service(entry, &workloads);
        }
        this
    }

    fn add_service(&mut self, entry: Named<ServiceEntry>, workloads: &Workloads) {
        let Named {
            name,
            namespace,
            spec,
        } = entry;
        let ServiceEntry {
            hosts,
            ports,
            endpoints,
            selector,
            export_to,
            resolution,
        } = spec;
        let named = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        let itself = named && selector.is_none() && endpoints.is_empty();
        let members: Vec<Arc<Workload>> = match &selector {
            Some(selector) => workloads.selected(&namespace, selector),
            None => endpoints
                .into_iter()
                .enumerate()
                .map(|endpoint| Workload::inline(&name, &namespace, endpoint))
                .map(Arc::new)
                .collect(),
        };
        for host in hosts {
            let of_host = self.services.entry(host.clone()).or_default();
            let at = of_host
                .iter()
                .position(|s| s.namespace == namespace)
                .unwrap_or_else(|| {
                    let export_to = export_to.clone();
                    of_host.push(Service {
                        host: host.clone(),
                        namespace: namespace.clone(),
                        ports: Vec::new(),
                        resolution,
                        export_to,
                    });
                    of_host.len() - 1
                });
            let own = itself.then(|| Workload {
                name: name.clone(),
                namespace: namespace.clone(),
                endpoint: Endpoint::at(&host),
            });
            let own: Vec<_> = own.into_iter().map(Arc::new).collect();
            for port in &ports {
                of_host[at].add_port(port, if itself { &own } else { &members });
            }
        }
    }

    /// The services that a namespace sees: one per host, its own before those of others.
    pub(crate) fn services<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Service> {
        self.services
            .values()
            .filter_map(move |list| visible(list, namespace))
    }

    /// The service of a full host name, as a namespace sees it.
    pub(crate) fn service(&self, host: &str, namespace: &str) -> Option<&Service> {
        visible(self.services.get(host)?, namespace)
    }

    /// The rules for a service that hold for a client, most important first: those of the client's namespace,
    /// then of the service's, then of the root namespace; in each, those of the most specific host.
    pub(crate) fn rules(
        &self,
        service: &Service,
        namespace: &str,
        labels: &Labels,
    ) -> Vec<&Named<DestinationRule>> {
        let candidates = [namespace, service.namespace.as_str(), ROOT_NAMESPACE];
        for owner in candidates {
            for pattern in patterns(&service.host) {
                let Some(rules) = self.rules.get(&pattern) else {
                    continue;
                };
                let matching = rules.iter().filter(|rule| {
                    rule.namespace == owner
                        && rule.spec.export_to.visible(owner, namespace)
                        // A rule for some clients only is looked at in their own namespace only.
                        && rule.spec.selector.as_ref().is_none_or(|s| owner == namespace && selects(s, labels))
                });
                let mut found: Vec<_> = matching.collect();
                // A rule that names its clients stands alone, before those for everyone.
                if let Some(chosen) = found.iter().position(|rule| rule.spec.selector.is_some()) {
                    found = vec![found[chosen]];
                }
                if !found.is_empty() {
                    return found;
                }
            }
        }
        Vec::new()
    }
}

fn visible<'a>(list: &'a [Service], namespace: &str) -> Option<&'a Service> {
    let seen = |s: &&Service| s.export_to.visible(&s.namespace, namespace);
    list.iter()
        .filter(|s| s.namespace == namespace)
        .find(seen)
        .or_else(|| list.iter().find(seen))
}

/// The host itself, then the wildcards that cover it, the narrowest first.
fn patterns(host: &str) -> Vec<String> {
    let mut patterns = vec![host.to_owned()];
    let mut rest = host.strip_prefix("*.").map_or(host, |suffix| suffix);
    while let Some((_, suffix)) = rest.split_once('.') {
        patterns.push(format!("*.{suffix}"));
        rest = suffix;
    }
    patterns.push("*".to_owned());
    patterns
}
