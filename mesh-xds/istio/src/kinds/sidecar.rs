//! `Sidecar`: which services the workloads of a namespace know of.

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::host;
use crate::yaml::Value;

use super::mesh_config::{self, OutboundPolicy};

/// A checked `Sidecar`.
#[derive(Debug, Clone)]
pub(crate) struct Sidecar {
    /// The workloads that it is for; nothing for all of its namespace.
    pub(crate) selector: Option<Labels>,
    /// Nothing listed is everything known.
    pub(crate) egress: Vec<Egress>,
    /// The mesh's where it says nothing.
    pub(crate) outbound: Option<OutboundPolicy>,
}

/// An entry of `egress`.
#[derive(Debug, Clone)]
pub(crate) struct Egress {
    /// For calls to this port only; the entry without one is for all other ports.
    pub(crate) port: Option<u32>,
    pub(crate) hosts: Vec<Import>,
}

/// `namespace/host`.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    /// `*`, `.`, `~` (nobody) or a name.
    pub(crate) namespace: String,
    pub(crate) host: String,
}

const SPEC: Schema = Schema {
    served: &["workloadSelector", "egress", "outboundTrafficPolicy"],
    unserved: &["ingress", "inboundConnectionPool"],
};
const SELECTOR: Schema = Schema {
    served: &["labels"],
    unserved: &[],
};
const EGRESS: Schema = Schema {
    served: &["port", "hosts"],
    unserved: &["bind", "captureMode"],
};
const PORT: Schema = Schema {
    served: &["number", "protocol", "name"],
    unserved: &["targetPort"],
};

pub(crate) fn decode(spec: &Value, sink: &mut Sink) -> Option<Sidecar> {
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    let selector = fields.sub("workloadSelector", SELECTOR, sink);
    let selector = selector.map(|selector| selector.labels("labels", sink));
    let mut egress: Vec<Egress> = Vec::new();
    let items = fields.list("egress", sink);
    for (i, item) in items.iter().enumerate() {
        let Some(entry) = Fields::open(item, format!("spec.egress[{i}]"), EGRESS, sink) else {
            continue;
        };
        let port = port(&entry, sink);
        if port.is_none() && entry.get("port").is_none() && i + 1 < items.len() {
            let message = format!("{} has no port: it must be the last", entry.path);
            sink.error(entry.at, message);
        }
        if port.is_some() && egress.iter().any(|other| other.port == port) {
            let message = format!(
                "{}: there is another entry for this port",
                entry.path_of("port")
            );
            sink.error(entry.place("port"), message);
        }
        let hosts = hosts(&entry, sink);
        egress.push(Egress { port, hosts });
    }
    Some(Sidecar {
        selector: selector.filter(|labels| !labels.is_empty()),
        egress,
        outbound: mesh_config::outbound(&fields, OutboundPolicy::RegistryOnly, sink),
    })
}

/// The port of an entry. One that says `HTTP_PROXY` is for all ports.
fn port(entry: &Fields<'_>, sink: &mut Sink) -> Option<u32> {
    let fields = entry.sub("port", PORT, sink)?;
    fields.string("name", sink);
    let proxy = fields.string("protocol", sink);
    let number = fields.port("number", sink);
    if fields.get("number").is_none() {
        sink.error(
            fields.at,
            format!("{} is missing", fields.path_of("number")),
        );
    }
    number.filter(|_| proxy.as_deref() != Some("HTTP_PROXY"))
}

fn hosts(entry: &Fields<'_>, sink: &mut Sink) -> Vec<Import> {
    let listed = entry.strings("hosts", sink);
    let path = entry.path_of("hosts");
    if listed.is_empty() {
        entry.lacks(
            "hosts",
            entry.place("hosts"),
            format!("{path} must name at least one host"),
            sink,
        );
    }
    let mut hosts = Vec::new();
    for (text, at) in listed {
        let Some((namespace, name)) = text.split_once('/') else {
            sink.error(at, format!("{path}: {text:?} must be namespace/host, such as ./* or */reviews.default.svc.cluster.local"));
            continue;
        };
        if !matches!(namespace, "*" | "." | "~") && host::check_label(namespace).is_err() {
            sink.error(
                at,
                format!(
                    "{path}: before '/' stands '*', '.', '~' or a namespace, not {namespace:?}"
                ),
            );
        }
        if let Err(reason) = host::check_wildcard(name) {
            sink.error(at, format!("{path}: {reason}"));
        }
        hosts.push(Import {
            namespace: namespace.to_owned(),
            host: name.to_ascii_lowercase(),
        });
    }
    hosts
}
