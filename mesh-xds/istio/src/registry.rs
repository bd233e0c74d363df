//! Services and rules by name and namespace: what the compiler looks things up in (istiod's push context).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::decode::{Labels, selects};
use crate::host;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::gateway::Gateway;
use crate::kinds::kubernetes;
use crate::kinds::mesh_config::MeshConfig;
use crate::kinds::service_entry::{Port, Protocol, Resolution, ServiceEntry};
use crate::kinds::sidecar::Sidecar;
use crate::kinds::virtual_service::VirtualService;
use crate::kinds::workload_entry::{Address, Endpoint};
use crate::kinds::{ExportTo, Spec};

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
    /// Addresses under which it is called.
    pub(crate) addresses: Vec<String>,
    /// Whether names below its own are its endpoints.
    pub(crate) headless: bool,
    /// Other hosts that stand for it (`ExternalName`).
    pub(crate) aliases: Vec<String>,
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
    fn nameless(endpoint: Endpoint) -> Self {
        let (name, namespace) = (String::new(), String::new());
        Self {
            name,
            namespace,
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
            let ports = &workload.endpoint.ports;
            let by_target = || ports.get(port.target_name.as_ref()?);
            let own = ports.get(&port.name).or_else(by_target).copied();
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
    pub(crate) sidecars: Vec<Named<Sidecar>>,
    pub(crate) mesh: MeshConfig,
}

impl Registry {
    pub(crate) fn build(specs: impl IntoIterator<Item = (String, String, Spec)>) -> Self {
        let mut specs: Vec<_> = specs.into_iter().collect();
        // Without creation times, which files do not have, the order of names decides between rules.
        specs.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let mut this = Self::default();
        let mesh = specs.iter().find_map(|(_, _, spec)| match spec {
            Spec::MeshConfig(mesh) => Some(mesh.clone()),
            _ => None,
        });
        this.mesh = mesh.unwrap_or_default();
        let export = this.mesh.export.clone();
        let (mut entries, mut aliases, mut listed) = (Vec::new(), Vec::new(), HashMap::new());
        let mut workloads = Workloads::default();
        for (namespace, name, spec) in specs {
            match spec {
                Spec::ServiceEntry(mut spec) => {
                    spec.export_to.or(&export.services);
                    entries.push(Named {
                        name,
                        namespace,
                        spec,
                    });
                }
                Spec::WorkloadEntry(endpoint) => workloads.add(Workload {
                    name,
                    namespace,
                    endpoint,
                }),
                Spec::DestinationRule(mut spec) => {
                    spec.export_to.or(&export.destination_rules);
                    let host = host::resolve(&spec.host, &namespace);
                    this.rules.entry(host).or_default().push(Named {
                        name,
                        namespace,
                        spec,
                    });
                }
                Spec::VirtualService(mut spec) => {
                    spec.export_to.or(&export.virtual_services);
                    this.virtual_services.push(Named {
                        name,
                        namespace,
                        spec,
                    });
                }
                Spec::Gateway(spec) => this.gateways.push(Named {
                    name,
                    namespace,
                    spec,
                }),
                Spec::Sidecar(spec) => this.sidecars.push(Named {
                    name,
                    namespace,
                    spec,
                }),
                Spec::Kubernetes(kubernetes::Service::Own(mut spec)) => {
                    spec.export_to.or(&export.services);
                    entries.push(Named {
                        name,
                        namespace,
                        spec,
                    });
                }
                Spec::Kubernetes(kubernetes::Service::Alias(of)) => {
                    aliases.push((host::resolve(&name, &namespace), of));
                }
                Spec::Endpoints(of) => {
                    let host = host::resolve(&of.service, &namespace);
                    let known: &mut Vec<_> = listed.entry(host).or_default();
                    known.extend(
                        of.endpoints
                            .into_iter()
                            .map(Workload::nameless)
                            .map(Arc::new),
                    );
                }
                Spec::MeshConfig(_) | Spec::Unserved => {}
            }
        }
        let served = |entry: &Named<ServiceEntry>| entry.spec.resolution != Resolution::DynamicDns;
        for entry in entries.into_iter().filter(served) {
            this.add_service(entry, &workloads, &listed);
        }
        this.add_aliases(&aliases);
        this
    }

    /// `ExternalName`s become further names of the services that they stand for, through each other too; one that
    /// stands for no service of the mesh has no routes.
    fn add_aliases(&mut self, aliases: &[(String, String)]) {
        for (name, first) in aliases {
            let mut target = first;
            for _ in aliases {
                let next = aliases.iter().find(|(name, _)| name == target);
                let Some((_, of)) = next else { break };
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
            spec,
        } = entry;
        let ServiceEntry {
            hosts,
            ports,
            endpoints,
            selector,
            export_to,
            resolution,
            addresses,
            headless,
        } = spec;
        let named = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        let itself = named && selector.is_none() && endpoints.is_empty();
        let members: Vec<Arc<Workload>> = match &selector {
            Some(selector) => workloads.selected(&namespace, selector),
            None => endpoints
                .into_iter()
                .map(Workload::nameless)
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
                        addresses: addresses.clone(),
                        headless,
                        aliases: Vec::new(),
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
                // Listed endpoints count only for the ports that they name.
                let listed = listed.get(&host).map_or(&[][..], Vec::as_slice).iter();
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

    /// The service of a full host name, as a namespace sees it.
    pub(crate) fn service(&self, host: &str, namespace: &str) -> Option<&Service> {
        visible(self.services.get(host)?, namespace)
    }

    /// The rules for a service that hold for a client, merged: in their order, the first policy and the first subset
    /// of a name count.
    ///
    /// Looked for in the client's namespace, then among what the service's exports, then the root namespace; of the
    /// first that has any, those of the most specific host.
    pub(crate) fn rules(
        &self,
        service: &Service,
        namespace: &str,
        labels: &Labels,
    ) -> Vec<&Named<DestinationRule>> {
        let root = self.mesh.root_namespace.as_str();
        let host = service.host.as_str();
        // In the root namespace lie the rules for everyone: its own workloads take first what is for them alone.
        let of_own = |rule: &Named<DestinationRule>| {
            rule.namespace == namespace
                && match namespace == root {
                    true => self.is_private(rule),
                    false => {
                        rule.spec.selector.is_some()
                            || rule.spec.export_to.visible(namespace, namespace)
                    }
                }
        };
        if let Some(found) = self.most_specific(host, of_own) {
            return consolidated(&found, labels);
        }
        for owner in [service.namespace.as_str(), root] {
            let exported =
                |rule: &Named<DestinationRule>| rule.namespace == owner && !self.is_private(rule);
            let mut found = self.most_specific(host, exported).unwrap_or_default();
            found.retain(|rule| rule.spec.export_to.visible(owner, namespace));
            if !found.is_empty() {
                return consolidated(&found, labels);
            }
        }
        Vec::new()
    }

    /// Whether a rule is for its own namespace only. One that names its clients always is.
    fn is_private(&self, rule: &Named<DestinationRule>) -> bool {
        rule.spec.selector.is_some() || rule.spec.export_to.is_private(&rule.namespace)
    }

    fn most_specific(
        &self,
        host: &str,
        wanted: impl Fn(&Named<DestinationRule>) -> bool,
    ) -> Option<Vec<&Named<DestinationRule>>> {
        patterns(host).into_iter().find_map(|pattern| {
            let rules = self.rules.get(&pattern)?.iter();
            let found: Vec<_> = rules.filter(|rule| wanted(rule)).collect();
            (!found.is_empty()).then_some(found)
        })
    }
}

/// Of the rules for one host those that are one rule for a client: one that names it, else those for everyone.
///
/// Rules are one where they are exported alike and name the same clients. A rule that is exported further than another
/// adds to it as well, and so does one for everyone to one that names its clients (istiod's merge).
fn consolidated<'a>(
    rules: &[&'a Named<DestinationRule>],
    labels: &Labels,
) -> Vec<&'a Named<DestinationRule>> {
    let mut sorted = rules.to_vec();
    sorted.sort_by_key(|rule| rule.spec.selector.is_none());
    let mut merged: Vec<Vec<&Named<DestinationRule>>> = Vec::new();
    for rule in sorted {
        let mut alone = true;
        for known in &mut merged {
            let (first, selector) = (known[0], &rule.spec.selector);
            let equal = rule.exports() == first.exports();
            let wider = !first.exports().is_empty() && first.exports().is_subset(&rule.exports());
            let other = first.spec.selector.is_some() && selector.is_some();
            if !(equal || wider) || (other && first.spec.selector != *selector) {
                continue;
            }
            alone &= !(equal && first.spec.selector == *selector);
            known.push(rule);
        }
        if alone {
            merged.push(vec![rule]);
        }
    }
    let names_it = |list: &&Vec<&Named<DestinationRule>>| {
        let selector = list[0].spec.selector.as_ref();
        selector.is_some_and(|selector| selects(selector, labels))
    };
    let for_all = |list: &&Vec<&Named<DestinationRule>>| list[0].spec.selector.is_none();
    let chosen = merged.iter().find(names_it);
    // Of several that are exported differently istiod takes the last.
    let chosen = chosen.or_else(|| merged.iter().rfind(for_all));
    chosen.cloned().unwrap_or_default()
}

impl Named<DestinationRule> {
    /// One that names its clients is not exported, whatever it says.
    fn exports(&self) -> BTreeSet<&str> {
        match &self.spec.selector {
            Some(_) => BTreeSet::from(["."]),
            None => self.spec.export_to.names().collect(),
        }
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
