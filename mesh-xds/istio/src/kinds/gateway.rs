//! `Gateway`: which hosts a router serves on which ports.

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::host;
use crate::yaml::Value;

use super::service_entry::Protocol;

/// A checked `Gateway`.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) selector: Labels,
    /// HTTP servers only.
    pub(crate) servers: Vec<Server>,
}

/// A port of a gateway and the hosts on it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) port: u32,
    /// The address that it listens on; empty where it is not said.
    pub(crate) bind: String,
    pub(crate) hosts: Vec<ServerHost>,
}

/// `[namespace/]host`: the namespace limits whose `VirtualService`s may bind.
#[derive(Debug, Clone)]
pub(crate) struct ServerHost {
    /// `*`, `.` or a name.
    pub(crate) namespace: String,
    pub(crate) host: String,
}

const SPEC: Schema = Schema {
    served: &["selector", "servers"],
    unserved: &[],
};
const SERVER: Schema = Schema {
    served: &["port", "hosts", "tls", "name", "bind"],
    unserved: &["defaultEndpoint"],
};
const PORT: Schema = Schema {
    served: &["number", "name", "protocol"],
    unserved: &["targetPort"],
};

pub(crate) fn decode(spec: &Value, sink: &mut Sink) -> Option<Gateway> {
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    let selector = fields.labels("selector", sink);
    let items = fields.list("servers", sink);
    if items.is_empty() {
        sink.error(
            fields.place("servers"),
            "spec.servers must hold at least one server",
        );
    }
    let mut servers = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let Some(fields) = Fields::open(item, format!("spec.servers[{i}]"), SERVER, sink) else {
            continue;
        };
        fields.string("name", sink);
        let hosts = hosts(&fields, sink);
        let port = port(&fields, sink);
        if fields.get("tls").is_some() {
            sink.refuse(fields.place("tls"), &fields.path_of("tls"), "TLS");
        }
        let bind = fields.string("bind", sink).unwrap_or_default();
        servers.extend(port.map(|port| Server { port, bind, hosts }));
    }
    Some(Gateway { selector, servers })
}

/// The number of an HTTP port.
fn port(server: &Fields<'_>, sink: &mut Sink) -> Option<u32> {
    let Some(value) = server.get("port") else {
        sink.error(server.at, format!("{}.port is missing", server.path));
        return None;
    };
    let fields = Fields::open(value, server.path_of("port"), PORT, sink)?;
    fields.string("name", sink);
    let number = fields.port("number", sink);
    for key in ["number", "protocol", "name"] {
        if fields.get(key).is_none() {
            sink.error(fields.at, format!("{} is missing", fields.path_of(key)));
        }
    }
    let at = fields.place("protocol");
    match Protocol::decode(&fields, sink) {
        (Protocol::Http | Protocol::Http2, _) => number,
        (_, text) if text == "HTTPS" || text == "TLS" => {
            sink.refuse(at, &format!("{} {text}", fields.path_of("protocol")), "TLS");
            None
        }
        (Protocol::Opaque, text) if !text.is_empty() => {
            sink.note(
                at,
                format!(
                    "{} {text}: the server is left out; HTTP is served",
                    fields.path_of("protocol")
                ),
            );
            None
        }
        _ => None,
    }
}

fn hosts(server: &Fields<'_>, sink: &mut Sink) -> Vec<ServerHost> {
    let listed = server.strings("hosts", sink);
    if listed.is_empty() {
        sink.error(
            server.place("hosts"),
            format!("{}.hosts must name at least one host", server.path),
        );
    }
    let mut hosts = Vec::new();
    for (text, at) in listed {
        let (namespace, name) = text.split_once('/').unwrap_or(("*", &text));
        if let Err(reason) = host::check_wildcard(name) {
            sink.error(at, format!("{}: {reason}", server.path_of("hosts")));
        }
        if !matches!(namespace, "*" | ".") && host::check_label(namespace).is_err() {
            let path = server.path_of("hosts");
            sink.error(
                at,
                format!("{path}: before '/' stands '*', '.' or a namespace, not {namespace:?}"),
            );
        }
        hosts.push(ServerHost {
            namespace: namespace.to_owned(),
            host: name.to_ascii_lowercase(),
        });
    }
    hosts
}
