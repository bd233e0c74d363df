//! `Gateway`: which hosts a router serves on which ports.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::host;
use crate::yaml::Value;

use super::server_tls::{self, ServerTls, Settings};
use super::service_entry::Protocol;

/// A checked `Gateway`.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) selector: Labels,
    /// Those of HTTP, with TLS around it or without.
    pub(crate) servers: Vec<Server>,
}

/// A port of a gateway and the hosts on it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// `name`, under which Envoy counts; empty where it is not said.
    pub(crate) name: String,
    pub(crate) port: u32,
    /// `port.name`
    pub(crate) port_name: String,
    /// The address that it listens on; empty where it is not said.
    pub(crate) bind: String,
    pub(crate) hosts: Vec<ServerHost>,
    /// Whether a request that came in plaintext is sent to `https` (`tls.httpsRedirect`).
    pub(crate) redirects: bool,
    /// Nothing for plaintext.
    pub(crate) tls: Option<ServerTls>,
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
        fields.lacks(
            "servers",
            fields.place("servers"),
            "spec.servers must hold at least one server",
            sink,
        );
    }
    let mut servers = Vec::new();
    let mut port_names = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let Some(fields) = Fields::open(item, format!("spec.servers[{i}]"), SERVER, sink) else {
            continue;
        };
        let Some(server) = server(&fields, sink) else {
            continue;
        };
        if !port_names.insert(server.port_name.clone()) {
            let name = &server.port_name;
            let message = format!("spec.servers[{i}].port.name: {name:?} stands there twice");
            sink.error(fields.place("port"), message);
        }
        servers.push(server);
    }
    Some(Gateway { selector, servers })
}

fn server(fields: &Fields<'_>, sink: &mut Sink) -> Option<Server> {
    let name = fields.string("name", sink).unwrap_or_default();
    let hosts = hosts(fields, sink);
    let port = port(fields, sink);
    let bind = fields.string("bind", sink).unwrap_or_default();
    if !bind.is_empty() && bind.parse::<IpAddr>().is_err() {
        let message = format!(
            "{} must be an IP address, not {bind:?}",
            fields.path_of("bind")
        );
        sink.error(fields.place("bind"), message);
    }
    let port = port?;
    let Settings { redirects, tls } = match port.speaks {
        Speaks::Http => server_tls::of_plaintext(fields, sink),
        // Without terms there is no server: an error was told.
        Speaks::Https => {
            let settings = server_tls::of_https(fields, sink);
            settings.tls.as_ref()?;
            settings
        }
    };
    Some(Server {
        name,
        port: port.number,
        port_name: port.name,
        bind,
        hosts,
        redirects,
        tls,
    })
}

/// What is served on a port.
enum Speaks {
    Http,
    Https,
}

/// The port of a server.
struct Port {
    number: u32,
    name: String,
    speaks: Speaks,
}

/// Nothing where it is wrong, or not of HTTP.
fn port(server: &Fields<'_>, sink: &mut Sink) -> Option<Port> {
    let Some(value) = server.get("port") else {
        server.lacks(
            "port",
            server.at,
            format!("{}.port is missing", server.path),
            sink,
        );
        return None;
    };
    let fields = Fields::open(value, server.path_of("port"), PORT, sink)?;
    let name = fields.string("name", sink);
    let number = fields.port("number", sink);
    for key in ["number", "protocol", "name"] {
        if fields.get(key).is_none() {
            fields.lacks(
                key,
                fields.at,
                format!("{} is missing", fields.path_of(key)),
                sink,
            );
        }
    }
    let speaks = speaks(&fields, sink);
    Some(Port {
        number: number?,
        name: name?,
        speaks: speaks?,
    })
}

fn speaks(port: &Fields<'_>, sink: &mut Sink) -> Option<Speaks> {
    let (at, path) = (port.place("protocol"), port.path_of("protocol"));
    let said = port.get("protocol").and_then(Value::as_str);
    if said.is_some_and(|text| text.eq_ignore_ascii_case("HTTPS")) {
        return Some(Speaks::Https);
    }
    match Protocol::decode(port, sink) {
        (Protocol::Http | Protocol::Http2, _) => Some(Speaks::Http),
        (_, text) if text == "TLS" => {
            let message = format!(
                "{path} TLS is not served: what is within is routed as HTTP only; write HTTPS"
            );
            sink.error(at, message);
            None
        }
        (Protocol::Opaque, text) if !text.is_empty() => {
            let message = format!("{path} {text}: the server is left out; HTTP is served");
            sink.note(at, message);
            None
        }
        _ => None,
    }
}

fn hosts(server: &Fields<'_>, sink: &mut Sink) -> Vec<ServerHost> {
    let listed = server.strings("hosts", sink);
    if listed.is_empty() {
        server.lacks(
            "hosts",
            server.place("hosts"),
            format!("{}.hosts must name at least one host", server.path),
            sink,
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
