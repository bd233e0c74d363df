//! `backendRefs`: where requests go, and where copies of them go.

use crate::decode::{Fields, Schema, Sink};
use crate::host;
use crate::yaml::Value;

use super::super::http_route::{Destination, Headers};
use super::{Backend, Scene, filters};

const BACKEND: Schema = Schema {
    served: &[
        "group",
        "kind",
        "name",
        "namespace",
        "port",
        "weight",
        "filters",
    ],
    unserved: &[],
};
const COPY: Schema = Schema {
    served: &["group", "kind", "name", "namespace", "port"],
    unserved: &[],
};

/// A rule names no more (`HTTPRouteRule.backendRefs`), so that the weights fit into what Envoy adds up.
const MOST: usize = 16;
const HEAVIEST: u32 = 1_000_000;

/// `backendRefs` of a rule; with a weight of 1 where none is said.
pub(super) fn decode(
    rule: &Fields<'_>,
    scene: &mut Scene<'_>,
    sink: &mut Sink,
) -> Vec<Destination> {
    let items = rule.list("backendRefs", sink);
    if items.len() > MOST {
        let path = rule.path_of("backendRefs");
        sink.error(
            rule.place("backendRefs"),
            format!("{path} may hold {MOST}, not {}", items.len()),
        );
        return Vec::new();
    }
    let mut out = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let path = format!("{}.backendRefs[{i}]", rule.path);
        let Some(fields) = Fields::open(item, path, BACKEND, sink) else {
            continue;
        };
        let weight = fields.integer("weight", 0, HEAVIEST, sink).unwrap_or(1);
        let own = filters::decode(&fields, filters::OF_BACKEND, scene, sink);
        if let Some(to) = reference(&fields, scene, sink) {
            out.push(Destination {
                weight,
                headers: own.headers,
                ..to
            });
        }
    }
    out
}

/// The backend of a mirror; nothing where it cannot be one.
pub(super) fn copy(
    value: &Value,
    path: String,
    scene: &mut Scene<'_>,
    sink: &mut Sink,
) -> Option<Destination> {
    let fields = Fields::open(value, path, COPY, sink)?;
    reference(&fields, scene, sink).filter(|to| !to.host.is_empty())
}

/// A reference to a service. One to anything else is kept without a host: such calls are answered with an error.
fn reference(fields: &Fields<'_>, scene: &mut Scene<'_>, sink: &mut Sink) -> Option<Destination> {
    let group = fields.string("group", sink).unwrap_or_default();
    let kind = fields.string("kind", sink);
    let kind = kind.as_deref().unwrap_or("Service");
    let namespace = fields.string("namespace", sink);
    let name = fields.string("name", sink).unwrap_or_default();
    let port = fields.port("port", sink);
    if name.is_empty() {
        sink.error(fields.at, format!("{}.name is missing", fields.path));
        return None;
    }
    let host = match (group.as_str(), kind) {
        ("", "Service") | ("multicluster.x-k8s.io", "ServiceImport") => {
            let namespace = namespace.as_deref().unwrap_or(scene.namespace);
            for (key, text) in [("name", name.as_str()), ("namespace", namespace)] {
                if let Err(reason) = host::check_label(text) {
                    let path = fields.path_of(key);
                    sink.error(fields.place(key), format!("{path} {text:?}: {reason}"));
                }
            }
            host::resolve(&name.to_ascii_lowercase(), namespace)
        }
        ("networking.istio.io", "Hostname") => {
            if let Err(reason) = host::check(&name) {
                let path = fields.path_of("name");
                sink.error(fields.place("name"), format!("{path}: {reason}"));
            }
            if namespace.is_some() {
                let path = fields.path_of("namespace");
                let message = format!("{path} cannot be said of a Hostname, which is full");
                sink.error(fields.place("namespace"), message);
            }
            name.to_ascii_lowercase()
        }
        _ => {
            sink.note(
                fields.at,
                format!(
                    "{}: a backend of kind {kind} of group {group:?} is not served, and calls to it fail; served are Service, ServiceImport and Hostname",
                    fields.path
                ),
            );
            return Some(destination(String::new(), port));
        }
    };
    if fields.get("port").is_none() {
        sink.error(fields.at, format!("{}.port is missing", fields.path));
    }
    let note = sink.later(fields.at, fields.path.clone());
    scene.backends.push(Backend {
        host: host.clone(),
        note,
    });
    Some(destination(host, port))
}

fn destination(host: String, port: Option<u32>) -> Destination {
    Destination {
        host,
        subset: String::new(),
        port,
        weight: 1,
        headers: None::<Headers>,
    }
}
