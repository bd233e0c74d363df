//! A service: its ports, and the workloads behind them.

use std::sync::Arc;

use crate::kinds::ExportTo;
use crate::kinds::service_entry::{Port, Protocol, Resolution, ServiceEntry};
use crate::kinds::workload_entry::{Address, Endpoint};

/// One host of the mesh in one namespace.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) host: String,
    pub(crate) namespace: String,
    pub(crate) ports: Vec<ServicePort>,
    /// How its addresses are found.
    pub(crate) resolution: Resolution,
    pub(super) export_to: ExportTo,
    /// Addresses under which it is called.
    pub(crate) addresses: Vec<String>,
    /// Whether names below its own are its endpoints.
    pub(crate) headless: bool,
    /// Whether it is no part of the mesh (`MESH_EXTERNAL`).
    pub(crate) external: bool,
    /// Other hosts that stand for it (`ExternalName`).
    pub(crate) aliases: Vec<String>,
    /// Names that its servers may prove besides those of their service accounts (`subjectAltNames`).
    pub(crate) sans: Vec<String>,
}

/// A port of a service with the instances behind it.
#[derive(Debug)]
pub(crate) struct ServicePort {
    pub(crate) number: u32,
    /// What its endpoints are known by.
    pub(super) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) instances: Vec<Instance>,
}

/// An endpoint as one port of one service sees it.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) workload: Arc<Workload>,
    pub(crate) port: u32,
}

/// A workload with its name; those that Kubernetes lists have neither name nor namespace.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) endpoint: Endpoint,
}

impl Workload {
    /// An endpoint that Kubernetes lists.
    pub(super) fn nameless(endpoint: Endpoint) -> Self {
        let (name, namespace) = (String::new(), String::new());
        Self {
            name,
            namespace,
            endpoint,
        }
    }

    /// An endpoint in the ServiceEntry itself: istiod names its workload by the entry and its place.
    pub(super) fn inline(
        entry: &str,
        namespace: &str,
        (place, endpoint): (usize, Endpoint),
    ) -> Self {
        Self {
            name: format!("{entry}-{place}"),
            namespace: namespace.to_owned(),
            endpoint,
        }
    }
}

impl Service {
    /// One of an entry's hosts, without ports.
    pub(super) fn of(host: &str, namespace: &str, entry: &ServiceEntry) -> Self {
        Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            ports: Vec::new(),
            resolution: entry.resolution,
            export_to: entry.export_to.clone(),
            addresses: entry.addresses.clone(),
            headless: entry.headless,
            external: entry.external,
            aliases: Vec::new(),
            sans: entry.sans.clone(),
        }
    }

    /// istiod finds the endpoints of all entries of a host by the names of their ports: those of one name have them
    /// in common, whatever their numbers are.
    pub(super) fn add_port(&mut self, port: &Port, members: &[Arc<Workload>]) {
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
        let instances: Vec<_> = instances.collect();
        if !self.ports.iter().any(|p| p.number == port.number) {
            let alike = self.ports.iter().find(|p| p.name == port.name);
            let instances = alike.map(|p| p.instances.clone());
            self.ports.push(ServicePort {
                number: port.number,
                name: port.name.clone(),
                protocol: port.protocol,
                instances: instances.unwrap_or_default(),
            });
        }
        for known in self.ports.iter_mut().filter(|p| p.name == port.name) {
            let room = most.saturating_sub(known.instances.len());
            let more = instances.iter().take(room).cloned();
            known.instances.extend(more);
        }
    }
}
