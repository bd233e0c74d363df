//! `ServiceEntry`: a service by its hosts and ports, with endpoints of its own or a selector of workloads.

use std::collections::BTreeSet;

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::host;
use crate::yaml::Value;

use super::ExportTo;
use super::workload_entry::{self, Addresses, Endpoint};

/// A checked `ServiceEntry`.
#[derive(Debug, Clone)]
pub(crate) struct ServiceEntry {
    pub(crate) hosts: Vec<String>,
    pub(crate) ports: Vec<Port>,
    pub(crate) resolution: Resolution,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) selector: Option<Labels>,
    pub(crate) export_to: ExportTo,
    /// Addresses under which callers know it, besides its hosts.
    pub(crate) addresses: Vec<String>,
    /// A Kubernetes service without an address: its endpoints have names below its own.
    pub(crate) headless: bool,
    /// `location`: whether it is no part of the mesh.
    pub(crate) external: bool,
    /// `subjectAltNames`: names that its servers may prove.
    pub(crate) sans: Vec<String>,
}

/// How the addresses of a service are found (`resolution`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// `STATIC`: they are listed, or selected by labels.
    Static,
    /// `NONE`: the caller's own; clients dial what they asked for.
    None,
    /// `DNS`: whoever calls looks the names up; all their addresses are endpoints.
    Dns,
    /// `DNS_ROUND_ROBIN`: the same, and each name is one endpoint.
    DnsRoundRobin,
    /// `DYNAMIC_DNS`, which is not served: the service is left out.
    DynamicDns,
}

/// A port of a service.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) target: Option<u32>,
    /// The name that endpoints give to the target (Kubernetes).
    pub(crate) target_name: Option<String>,
}

/// What is spoken on a port, as far as routing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http,
    /// HTTP2, GRPC and GRPC-WEB: HTTP/2 to the endpoints.
    Http2,
    /// Not said: istiod has the proxy detect it.
    Unset,
    /// TCP, TLS and others: no HTTP routes.
    Opaque,
}

const PROTOCOLS: &str =
    "HTTP, HTTP2, GRPC, GRPC-WEB, HTTP_PROXY, HTTPS, TLS, TCP, UDP, MONGO, REDIS, MYSQL";

impl Protocol {
    /// Istio reads protocols in any case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "HTTP" | "HTTP_PROXY" => Self::Http,
            "HTTP2" | "GRPC" | "GRPC-WEB" => Self::Http2,
            "HTTPS" | "TLS" | "TCP" | "UDP" | "MONGO" | "REDIS" | "MYSQL" | "HBONE" => Self::Opaque,
            _ => return None,
        })
    }

    /// Reads the field `protocol` of a port.
    pub(crate) fn decode(fields: &Fields<'_>, sink: &mut Sink) -> (Self, String) {
        let Some(text) = fields.string("protocol", sink) else {
            let path = fields.path_of("protocol");
            let at = fields.place("protocol");
            sink.note(
                at,
                format!("{path} is not set: the port is called in the protocol of each caller; write HTTP, HTTP2 or GRPC"),
            );
            return (Self::Unset, String::new());
        };
        let protocol = Self::parse(&text).unwrap_or_else(|| {
            let path = fields.path_of("protocol");
            sink.error(
                fields.place("protocol"),
                format!("{path} must be one of {PROTOCOLS}, not {text:?}"),
            );
            Self::Opaque
        });
        if matches!(protocol, Self::Opaque) && Self::parse(&text).is_some() {
            let path = fields.path_of("protocol");
            sink.note(
                fields.place("protocol"),
                format!("{path} {text}: the port gets no HTTP routes"),
            );
        }
        (protocol, text.to_ascii_uppercase())
    }
}

const SPEC: Schema = Schema {
    served: &[
        "hosts",
        "ports",
        "location",
        "resolution",
        "endpoints",
        "workloadSelector",
        "exportTo",
        "addresses",
        "subjectAltNames",
    ],
    unserved: &[],
};
const PORT: Schema = Schema {
    served: &["number", "name", "protocol", "targetPort"],
    unserved: &[],
};
const SELECTOR: Schema = Schema {
    served: &["labels"],
    unserved: &[],
};

pub(crate) fn decode(spec: &Value, sink: &mut Sink) -> Option<ServiceEntry> {
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    let hosts = hosts(&fields, sink);
    let ports = ports(&fields, sink);
    let location = fields.word("location", &["MESH_EXTERNAL", "MESH_INTERNAL"], sink);
    let resolutions = &["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"];
    let resolution = fields
        .word("resolution", resolutions, sink)
        .unwrap_or("NONE");
    let is_static = resolution == "STATIC";
    if resolution == "DYNAMIC_DNS" {
        let at = fields.place("resolution");
        sink.note(
            at,
            format!(
                "spec.resolution {resolution}: the service is left out; STATIC, DNS, DNS_ROUND_ROBIN and NONE are served"
            ),
        );
    }
    let selector = fields.get("workloadSelector").and_then(|v| {
        let selector = Fields::open(v, "spec.workloadSelector", SELECTOR, sink)?;
        Some(selector.labels("labels", sink))
    });
    let resolution = match resolution {
        "STATIC" => Resolution::Static,
        "DNS" => Resolution::Dns,
        "DNS_ROUND_ROBIN" => Resolution::DnsRoundRobin,
        "DYNAMIC_DNS" => Resolution::DynamicDns,
        _ => Resolution::None,
    };
    let endpoints = endpoints(&fields, resolution, sink);
    let listed = fields.get("endpoints").is_some();
    if selector.is_some() && listed {
        let at = fields.place("endpoints");
        sink.error(
            at,
            "spec may have endpoints or a workloadSelector, not both",
        );
    } else if is_static && selector.is_none() && !listed {
        sink.error(
            fields.place("resolution"),
            "resolution STATIC needs spec.endpoints or spec.workloadSelector",
        );
    }
    check_names(&fields, resolution, &hosts, endpoints.len(), sink);
    let export_to = ExportTo::decode(&fields, sink);
    Some(ServiceEntry {
        hosts,
        ports,
        resolution,
        endpoints,
        selector,
        export_to,
        addresses: addresses(&fields, sink),
        headless: false,
        external: location != Some("MESH_INTERNAL"),
        sans: sans(&fields, sink),
    })
}

/// They count where calls are secured.
fn sans(fields: &Fields<'_>, sink: &mut Sink) -> Vec<String> {
    if fields.get("subjectAltNames").is_some() && !sink.options.has_certificates() {
        let message = "spec.subjectAltNames has no effect in this version";
        sink.note(fields.place("subjectAltNames"), message);
    }
    let names = fields.strings("subjectAltNames", sink);
    names.into_iter().map(|(name, _)| name).collect()
}

fn hosts(fields: &Fields<'_>, sink: &mut Sink) -> Vec<String> {
    let hosts = fields.strings("hosts", sink);
    if hosts.is_empty() {
        fields.lacks(
            "hosts",
            fields.place("hosts"),
            "spec.hosts must name at least one host",
            sink,
        );
    }
    for (name, at) in &hosts {
        if name == "*" {
            sink.error(
                *at,
                "spec.hosts: a service cannot be called \"*\"; give a name or *.SUFFIX",
            );
        } else if let Err(reason) = host::check_wildcard(name) {
            sink.error(*at, format!("spec.hosts: {reason}"));
        }
    }
    hosts
        .into_iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect()
}

/// Those by which a service can be called; those of networks (`10.0.0.0/8`) are checked and left out.
fn addresses(fields: &Fields<'_>, sink: &mut Sink) -> Vec<String> {
    let mut out = Vec::new();
    for (text, at) in fields.strings("addresses", sink) {
        let (ip, length) = text.split_once('/').unwrap_or((&text, "0"));
        match ip.parse::<std::net::IpAddr>() {
            Ok(ip)
                if length
                    .parse()
                    .is_ok_and(|n: u8| n <= if ip.is_ipv4() { 32 } else { 128 }) =>
            {
                if !text.contains('/') {
                    out.push(text);
                }
            }
            _ => {
                let message = format!(
                    "spec.addresses: {text:?} is no IP address and no network such as 10.0.0.0/8"
                );
                sink.error(at, message);
            }
        }
    }
    out
}

fn ports(fields: &Fields<'_>, sink: &mut Sink) -> Vec<Port> {
    let (mut numbers, mut names, mut ports) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let items = fields.list("ports", sink);
    if items.is_empty() {
        fields.lacks(
            "ports",
            fields.place("ports"),
            "spec.ports must hold at least one port",
            sink,
        );
    }
    for (i, item) in items.iter().enumerate() {
        let Some(port) = Fields::open(item, format!("spec.ports[{i}]"), PORT, sink) else {
            continue;
        };
        let (number, name) = (
            port.port("number", sink),
            port.string("name", sink).unwrap_or_default(),
        );
        let (protocol, _) = Protocol::decode(&port, sink);
        let target = port.port("targetPort", sink);
        for key in ["number", "name"] {
            if port.get(key).is_none() {
                port.lacks(
                    key,
                    port.at,
                    format!("{} is missing", port.path_of(key)),
                    sink,
                );
            }
        }
        let Some(number) = number else { continue };
        if !numbers.insert(number) {
            sink.error(
                port.place("number"),
                format!(
                    "{}: the number {number} is taken by another port",
                    port.path
                ),
            );
        }
        if !name.is_empty() && !names.insert(name.clone()) {
            sink.error(
                port.place("name"),
                format!("{}: the name {name:?} is taken by another port", port.path),
            );
        }
        ports.push(Port {
            number,
            name,
            protocol,
            target,
            target_name: None,
        });
    }
    ports
}

/// What Istio demands of services whose names are looked up.
fn check_names(
    fields: &Fields<'_>,
    resolution: Resolution,
    hosts: &[String],
    endpoints: usize,
    sink: &mut Sink,
) {
    let named = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    let itself = fields.get("endpoints").is_none() && fields.get("workloadSelector").is_none();
    if named
        && itself
        && let Some(wild) = hosts.iter().find(|host| host.starts_with('*'))
    {
        let at = fields.place("hosts");
        sink.error(
            at,
            format!("spec.hosts: {wild:?} cannot be looked up; resolution DNS needs spec.endpoints for it"),
        );
    }
    let given = !fields.list("endpoints", sink).is_empty();
    // A word that is none was told already.
    let said = fields.get("resolution").and_then(Value::as_str);
    if matches!(said, None | Some("NONE")) && given {
        sink.error(
            fields.place("endpoints"),
            "spec.endpoints: resolution NONE takes none, callers go to the address that they asked for; did you mean STATIC or DNS?",
        );
    }
    if resolution == Resolution::DnsRoundRobin && endpoints > 1 {
        let at = fields.place("endpoints");
        sink.error(
            at,
            "spec.endpoints: resolution DNS_ROUND_ROBIN takes one at most",
        );
    }
}

fn endpoints(fields: &Fields<'_>, resolution: Resolution, sink: &mut Sink) -> Vec<Endpoint> {
    let addresses = match resolution {
        Resolution::Static => Addresses::Ips,
        Resolution::Dns | Resolution::DnsRoundRobin => Addresses::Names,
        Resolution::None | Resolution::DynamicDns => return Vec::new(),
    };
    let mut endpoints = Vec::new();
    for (i, item) in fields.list("endpoints", sink).iter().enumerate() {
        let path = format!("spec.endpoints[{i}]");
        endpoints.extend(workload_entry::decode(item, &path, addresses, sink));
    }
    endpoints
}
