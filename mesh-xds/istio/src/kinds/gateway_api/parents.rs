//! `parentRefs`: the services whose callers a route is for.

use crate::decode::{Fields, Schema, Sink};
use crate::diagnostic::Diagnostic;
use crate::host;

/// A checked `parentRef` of a service.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) target: Target,
    /// Of the service. Where it is the route's own, the route is for all callers, else for those of its namespace.
    pub(crate) namespace: String,
    pub(crate) port: Option<u32>,
    /// `sectionName`: a port by its name.
    pub(crate) section: Option<String>,
    /// For what is found out once all objects are known.
    pub(crate) note: Diagnostic,
}

/// What kind of object the parent is.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A `Service`: its host.
    Host(String),
    /// A `ServiceEntry`, by its name: all of its hosts.
    ServiceEntry(String),
}

const PARENT: Schema = Schema {
    served: &["group", "kind", "namespace", "name", "sectionName", "port"],
    unserved: &[],
};

/// `CommonRouteSpec.parentRefs` holds no more.
const MOST: usize = 32;

pub(super) fn decode(spec: &Fields<'_>, namespace: &str, sink: &mut Sink) -> Vec<Parent> {
    let items = spec.list("parentRefs", sink);
    if items.is_empty() {
        sink.note(
            spec.place("parentRefs"),
            "spec.parentRefs names no service: the route has no effect",
        );
    }
    if items.len() > MOST {
        sink.error(
            spec.place("parentRefs"),
            format!("spec.parentRefs may hold {MOST}, not {}", items.len()),
        );
        return Vec::new();
    }
    let mut out = Vec::new();
    for (i, item) in items.iter().enumerate() {
        if let Some(fields) = Fields::open(item, format!("spec.parentRefs[{i}]"), PARENT, sink) {
            out.extend(parent(&fields, namespace, sink));
        }
    }
    out
}

fn parent(fields: &Fields<'_>, own: &str, sink: &mut Sink) -> Option<Parent> {
    let group = fields.string("group", sink);
    let kind = fields.string("kind", sink);
    let group = group.as_deref().unwrap_or("gateway.networking.k8s.io");
    let kind = kind.as_deref().unwrap_or("Gateway");
    let name = fields.string("name", sink).unwrap_or_default();
    let namespace = fields.string("namespace", sink);
    let namespace = namespace.unwrap_or_else(|| own.to_owned());
    let (port, section) = (
        fields.port("port", sink),
        fields.string("sectionName", sink),
    );
    if name.is_empty() {
        sink.error(fields.at, format!("{}.name is missing", fields.path));
        return None;
    }
    let target = match (group, kind) {
        ("", "Service") => {
            for (key, text) in [("name", &name), ("namespace", &namespace)] {
                if let Err(reason) = host::check_label(text) {
                    let path = fields.path_of(key);
                    sink.error(fields.place(key), format!("{path} {text:?}: {reason}"));
                }
            }
            Target::Host(host::resolve(&name.to_ascii_lowercase(), &namespace))
        }
        ("networking.istio.io", "ServiceEntry") => Target::ServiceEntry(name),
        _ => {
            sink.note(
                fields.at,
                format!(
                    "{}: a parent of kind {kind} has no effect in this version; served are Service (group \"\") and ServiceEntry (group networking.istio.io)",
                    fields.path
                ),
            );
            return None;
        }
    };
    Some(Parent {
        target,
        namespace,
        port,
        section,
        note: sink.later(fields.at, fields.path.clone()),
    })
}
