//! `VirtualService`: where the requests for some hosts go.

use crate::decode::{Fields, Schema, Sink};
use crate::host;
use crate::yaml::{Position, Value};

use super::ExportTo;
use super::http_route::{self, Action, HttpRoute, Rule};

/// The name of the virtual gateway of all sidecars.
pub(crate) const MESH: &str = "mesh";

/// A checked `VirtualService`: with its routes as they stand in the file, or with those of its delegates in place.
#[derive(Debug, Clone)]
pub(crate) struct VirtualService<R = Rule> {
    /// As written; short names are of the object's namespace. None: the object is a delegate.
    pub(crate) hosts: Vec<String>,
    /// `mesh`, `name` or `namespace/name`; never empty.
    pub(crate) gateways: Vec<String>,
    pub(crate) export_to: ExportTo,
    pub(crate) semantics: Semantics,
    pub(crate) http: Vec<R>,
}

/// Whose words the routes were written in: some things mean something else in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Semantics {
    Istio,
    /// A backend that does not exist is answered with 500.
    GatewayApi,
}

/// One whose delegates are in place, and whose names are full.
pub(crate) type Merged = VirtualService<HttpRoute>;

/// Whose requests an object is about: some things are allowed in one of them only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of workloads, and perhaps of gateways.
    Mesh,
    /// Those of gateways alone.
    Gateways,
    /// Those that other objects hand to it: it has no hosts.
    Delegate,
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
    let scope = if hosts.is_empty() {
        Scope::Delegate
    } else if gateways.is_empty() || gateways.iter().any(|g| g == MESH) {
        Scope::Mesh
    } else {
        Scope::Gateways
    };
    if scope == Scope::Delegate {
        check_delegate(&fields, sink);
    }
    check_hosts(&hosts, scope, sink);
    if routes.is_empty() && ["tls", "tcp"].iter().all(|key| fields.get(key).is_none()) {
        fields.lacks(
            "http",
            fields.place("http"),
            "spec must have http routes (or tls or tcp, which have no effect yet)",
            sink,
        );
    }
    let export_to = ExportTo::decode(&fields, sink);
    let http = routes
        .into_iter()
        .filter_map(|(i, item)| http_route::decode(item, i, scope, sink))
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
        semantics: Semantics::Istio,
        http,
    })
}

/// Without hosts it is a delegate, which has nothing of its own but HTTP routes.
fn check_delegate(fields: &Fields<'_>, sink: &mut Sink) {
    for key in ["gateways", "tls", "tcp"] {
        if fields.get(key).is_some() {
            sink.error(
                fields.place(key),
                format!("spec.{key} needs spec.hosts; without hosts the object is a delegate, which may have http and exportTo"),
            );
        }
    }
}

fn check_hosts(hosts: &[(String, Position)], scope: Scope, sink: &mut Sink) {
    let mut seen: Vec<String> = Vec::new();
    for (name, at) in hosts {
        let lower = name.to_ascii_lowercase();
        let covering = |other: &&String| host::intersection(other, &lower).is_some();
        if name == "*" && scope == Scope::Mesh {
            sink.error(*at, "spec.hosts: \"*\" is for gateways only; name the gateways in spec.gateways, without mesh");
        } else if let Err(reason) = host::check_wildcard(name) {
            sink.error(*at, format!("spec.hosts: {reason}"));
        } else if seen.contains(&lower) {
            sink.error(*at, format!("spec.hosts: {name:?} stands there twice"));
        } else if let Some(other) = seen.iter().find(covering) {
            let message = format!("spec.hosts: {name:?} and {other:?}: one covers the other");
            sink.error(*at, message);
        } else {
            seen.push(lower);
        }
    }
}

impl VirtualService {
    /// Writes short names in full: they are of the object's own namespace, also where another object takes the routes.
    pub(crate) fn resolve(&mut self, namespace: &str) {
        for rule in &mut self.http {
            let policy = match rule {
                Rule::Own(route) => {
                    if let Action::Forward(destinations) = &mut route.action {
                        destinations.iter_mut().for_each(|d| d.resolve(namespace));
                    }
                    &mut route.policy
                }
                Rule::Delegated(delegation) => &mut delegation.policy,
            };
            let copies = policy.mirrors.many.iter_mut().map(|(to, _)| to);
            policy
                .mirrors
                .one
                .iter_mut()
                .chain(copies)
                .for_each(|to| to.resolve(namespace));
            for name in policy.matches.iter_mut().flat_map(|m| &mut m.gateways) {
                *name = full_gateway(name, namespace);
            }
        }
        for name in &mut self.gateways {
            *name = full_gateway(name, namespace);
        }
    }
}

/// `mesh`, or `namespace/name`; the oldest form, `name.namespace.svc...`, is read too.
pub(crate) fn full_gateway(name: &str, namespace: &str) -> String {
    if name == MESH || name.contains('/') {
        return name.to_owned();
    }
    match name.split_once('.') {
        Some((name, rest)) => {
            let namespace = rest.split('.').next().unwrap_or(rest);
            format!("{namespace}/{name}")
        }
        None => format!("{namespace}/{name}"),
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
