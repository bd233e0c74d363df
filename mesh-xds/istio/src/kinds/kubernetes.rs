//! `Service`, `Endpoints` and `EndpointSlice` of Kubernetes, as istiod's registry reads them.
//!
//! Their fields are Kubernetes' business: those that mean nothing here are passed over without a word.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::decode::{Fields, Labels, Sink};
use crate::host;
use crate::yaml::{Data, Value};

use super::ExportTo;
use super::header::Header;
use super::service_entry::{Port, Protocol, Resolution, ServiceEntry};
use super::workload_entry::{Address, Endpoint, Locality};

/// A checked `Service`.
#[derive(Debug, Clone)]
pub(crate) enum Service {
    /// With ports and endpoints of its own.
    Own(ServiceEntry),
    /// `ExternalName`: another name of this host.
    Alias(String),
}

/// The endpoints of a service by its name, from `Endpoints` or an `EndpointSlice`.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    pub(crate) service: String,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Ports on which a server speaks first, so that nothing can be detected: TCP where nothing is said.
const SERVER_FIRST: &[u32] = &[22, 25, 53, 853, 3306, 27017];

pub(crate) fn service(header: &Header, document: &Value, sink: &mut Sink) -> Option<Service> {
    let spec = document.get("spec");
    let Some(spec) = spec else {
        sink.error(header.at, "spec is missing");
        return None;
    };
    let fields = Fields::open_loose(spec, "spec", sink)?;
    if fields.string("type", sink).as_deref() == Some("ExternalName") {
        let name = fields.string("externalName", sink).unwrap_or_default();
        if let Err(reason) = host::check(&name) {
            sink.error(
                fields.place("externalName"),
                format!("spec.externalName: {reason}"),
            );
        }
        return Some(Service::Alias(name.to_ascii_lowercase()));
    }
    let cluster_ip = fields.string("clusterIP", sink).unwrap_or_default();
    let headless = cluster_ip == "None";
    let mut addresses: Vec<String> = fields
        .strings("clusterIPs", sink)
        .into_iter()
        .map(|(ip, _)| ip)
        .collect();
    if addresses.is_empty() {
        addresses.push(cluster_ip);
    }
    addresses.retain(|ip| !ip.is_empty() && ip != "None");
    let mut ports = Vec::new();
    for (i, item) in fields.list("ports", sink).iter().enumerate() {
        ports.extend(port(item, i, sink));
    }
    // Without one nothing is selected: endpoints are listed elsewhere.
    let selector = fields.labels("selector", sink);
    Some(Service::Own(ServiceEntry {
        hosts: vec![host::resolve(&header.name, &header.namespace)],
        ports,
        resolution: if headless {
            Resolution::None
        } else {
            Resolution::Static
        },
        endpoints: Vec::new(),
        selector: Some(selector).filter(|labels| !labels.is_empty()),
        export_to: export_to(document),
        addresses,
        headless,
        external: false,
        sans: Vec::new(),
    }))
}

/// The annotation `networking.istio.io/exportTo`.
fn export_to(document: &Value) -> ExportTo {
    let annotations = document.get("metadata").and_then(|m| m.get("annotations"));
    let text = annotations.and_then(|a| a.get("networking.istio.io/exportTo"));
    ExportTo::of(text.and_then(Value::as_str).unwrap_or_default())
}

fn port(item: &Value, at: usize, sink: &mut Sink) -> Option<Port> {
    let fields = Fields::open_loose(item, &format!("spec.ports[{at}]"), sink)?;
    if fields.get("port").is_none() {
        sink.error(fields.at, format!("{} is missing", fields.path_of("port")));
    }
    let number = fields.port("port", sink)?;
    let name = fields.string("name", sink).unwrap_or_default();
    let transport = fields.string("protocol", sink).unwrap_or_default();
    let said = fields.string("appProtocol", sink);
    let protocol = match transport.as_str() {
        "UDP" => Protocol::Opaque,
        _ => protocol(said.as_deref().unwrap_or(&name), number),
    };
    if protocol == Protocol::Unset {
        let path = &fields.path;
        sink.note(
            fields.place("name"),
            format!("{path} says no protocol: write appProtocol, or a name such as http, http-web or grpc"),
        );
    }
    let by_name = fields
        .get("targetPort")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let target = match by_name {
        Some(_) => None,
        None => fields.port("targetPort", sink),
    };
    Some(Port {
        number,
        name,
        protocol,
        target,
        target_name: by_name,
    })
}

/// By `appProtocol`, or what a port's name has before its first `-`.
pub(crate) fn protocol(said: &str, number: u32) -> Protocol {
    match said {
        "kubernetes.io/h2c" => return Protocol::Http2,
        "kubernetes.io/ws" => return Protocol::Http,
        "kubernetes.io/wss" => return Protocol::Opaque,
        _ => {}
    }
    if said
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case("grpc-web"))
    {
        return Protocol::Http2;
    }
    let prefix = said.split('-').next().unwrap_or_default();
    let other = if SERVER_FIRST.contains(&number) {
        Protocol::Opaque
    } else {
        Protocol::Unset
    };
    Protocol::parse(prefix).unwrap_or(other)
}

/// `Endpoints`: those that are ready, of the service of the same name.
pub(crate) fn endpoints(header: &Header, document: &Value, sink: &mut Sink) -> Option<Endpoints> {
    let top = Fields::open_loose(document, "the document", sink)?;
    let mut out = Vec::new();
    for (i, item) in top.list("subsets", sink).iter().enumerate() {
        let Some(subset) = Fields::open_loose(item, &format!("subsets[{i}]"), sink) else {
            continue;
        };
        let ports = ports(&subset, sink);
        for (j, address) in subset.list("addresses", sink).iter().enumerate() {
            let path = format!("{}.addresses[{j}]", subset.path);
            let Some(address) = Fields::open_loose(address, &path, sink) else {
                continue;
            };
            let ip = address.string("ip", sink).unwrap_or_default();
            out.extend(endpoint(&ip, &ports, "", &address, sink));
        }
    }
    Some(Endpoints {
        service: header.name.clone(),
        endpoints: out,
    })
}

/// `EndpointSlice` (`discovery.k8s.io/v1`): those that are ready, of the service that a label names.
pub(crate) fn slice(header: &Header, document: &Value, sink: &mut Sink) -> Option<Endpoints> {
    let top = Fields::open_loose(document, "the document", sink)?;
    let labels = document.get("metadata").and_then(|m| m.get("labels"));
    let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
    let Some(service) = service.and_then(Value::as_str) else {
        sink.note(
            header.at,
            "the slice has no label kubernetes.io/service-name: it belongs to no service, and is left out",
        );
        return None;
    };
    let ports = ports(&top, sink);
    let mut out = Vec::new();
    for (i, item) in top.list("endpoints", sink).iter().enumerate() {
        let Some(fields) = Fields::open_loose(item, &format!("endpoints[{i}]"), sink) else {
            continue;
        };
        let conditions = fields.get("conditions");
        let ready = conditions
            .and_then(|c| c.get("ready"))
            .map(|ready| &ready.data);
        if ready == Some(&Data::Bool(false)) {
            continue;
        }
        let zone = fields.string("zone", sink).unwrap_or_default();
        for (address, _) in fields.strings("addresses", sink) {
            out.extend(endpoint(&address, &ports, &zone, &fields, sink));
        }
    }
    Some(Endpoints {
        service: service.to_owned(),
        endpoints: out,
    })
}

/// Numbers by the names of the service's ports; the only port of a service may have none.
fn ports(fields: &Fields<'_>, sink: &mut Sink) -> BTreeMap<String, u32> {
    let mut out = BTreeMap::new();
    for (i, item) in fields.list("ports", sink).iter().enumerate() {
        let path = format!("{}[{i}]", fields.path_of("ports"));
        if let Some(port) = Fields::open_loose(item, &path, sink) {
            let name = port.string("name", sink).unwrap_or_default();
            out.extend(port.port("port", sink).map(|number| (name, number)));
        }
    }
    out
}

fn endpoint(
    address: &str,
    ports: &BTreeMap<String, u32>,
    zone: &str,
    fields: &Fields<'_>,
    sink: &mut Sink,
) -> Option<Endpoint> {
    let Ok(ip) = address.parse::<IpAddr>() else {
        let message = format!("{}: {address:?} is no IP address", fields.path);
        sink.error(fields.at, message);
        return None;
    };
    Some(Endpoint {
        address: Address::Ip(ip),
        ports: ports.clone(),
        labels: Labels::new(),
        locality: Locality {
            zone: zone.to_owned(),
            ..Locality::default()
        },
        weight: 1,
        network: String::new(),
        service_account: None,
    })
}
