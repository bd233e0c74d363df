//! `VirtualService`: where the requests for some hosts go.

use crate::decode::{Fields, Schema, Sink};
use crate::host;
use crate::yaml::{Position, Value};

use super::ExportTo;
use super::http_route::{self, HttpRoute};

/// The name of the virtual gateway of all sidecars.
pub(crate) const MESH: &str = "mesh";

/// A checked `VirtualService`.
#[derive(Debug, Clone)]
pub(crate) struct VirtualService {
    /// As written; short names are of the object's namespace.
    pub(crate) hosts: Vec<String>,
    /// `mesh`, `name` or `namespace/name`; never empty.
    pub(crate) gateways: Vec<String>,
    pub(crate) export_to: ExportTo,
    pub(crate) http: Vec<HttpRoute>,
}

const SPEC: Schema = Schema {
    served: &["hosts", "gateways", "http", "exportTo"],
    unserved: &["tls", "tcp"],
};

pub(crate) fn decode(spec: &Value, sink: &mut Sink) -> Option<VirtualService> {
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    let gateways = gateways(&fields, "gateways", sink);
    let hosts = fields.strings("hosts", sink);
    let routes: Vec<_> = fields.list("http", sink).iter().enumerate().collect();
    if hosts.is_empty() {
        sink.error(
            fields.place("hosts"),
            "spec.hosts must name at least one host",
        );
    }
    check_hosts(&hosts, &gateways, sink);
    if routes.is_empty() && ["tls", "tcp"].iter().all(|key| fields.get(key).is_none()) {
        sink.error(
            fields.place("http"),
            "spec must have http routes (or tls or tcp, which have no effect yet)",
        );
    }
    let export_to = ExportTo::decode(&fields, sink);
    let http = routes
        .into_iter()
        .filter_map(|(i, item)| http_route::decode(item, i, sink))
        .collect();
    let hosts = hosts
        .into_iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    let gateways = if gateways.is_empty() {
        vec![MESH.to_owned()]
    } else {
        gateways
    };
    Some(VirtualService {
        hosts,
        gateways,
        export_to,
        http,
    })
}

fn check_hosts(hosts: &[(String, Position)], gateways: &[String], sink: &mut Sink) {
    let in_mesh = gateways.is_empty() || gateways.iter().any(|g| g == MESH);
    let mut seen = std::collections::BTreeSet::new();
    for (name, at) in hosts {
        if name == "*" && in_mesh {
            sink.error(*at, "spec.hosts: \"*\" is for gateways only; name the gateways in spec.gateways, without mesh");
        } else if let Err(reason) = host::check_wildcard(name) {
            sink.error(*at, format!("spec.hosts: {reason}"));
        } else if !seen.insert(name.to_ascii_lowercase()) {
            sink.error(*at, format!("spec.hosts: {name:?} stands there twice"));
        }
    }
}

/// Names of gateways.
pub(super) fn gateways(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Vec<String> {
    let listed = fields.strings(key, sink);
    for (name, at) in &listed {
        let parts: Vec<&str> = name.split('/').collect();
        let good = matches!(parts[..], [_] | [_, _])
            && parts.iter().all(|part| {
                part.split('.')
                    .all(|label| host::check_label(label).is_ok())
            });
        if !good {
            let path = fields.path_of(key);
            sink.error(
                *at,
                format!("{path} may hold mesh, NAME or NAMESPACE/NAME, not {name:?}"),
            );
        }
    }
    listed.into_iter().map(|(name, _)| name).collect()
}
