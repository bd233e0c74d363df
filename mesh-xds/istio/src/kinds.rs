//! The kinds of Istio as typed, checked specs, and what becomes of the other kinds.

pub(crate) mod authorization_policy;
pub(crate) mod connection_pool;
pub(crate) mod destination_rule;
pub(crate) mod extension_provider;
pub(crate) mod gateway;
pub(crate) mod gateway_api;
pub(crate) mod header;
pub(crate) mod http_match;
pub(crate) mod http_route;
pub(crate) mod kubernetes;
pub(crate) mod load_balancer;
pub(crate) mod locality;
pub(crate) mod mesh_config;
pub(crate) mod peer_authentication;
pub(crate) mod request_authentication;
pub(crate) mod server_tls;
pub(crate) mod service_entry;
pub(crate) mod sidecar;
pub(crate) mod tls_settings;
pub(crate) mod traffic_policy;
pub(crate) mod unserved;
pub(crate) mod virtual_service;
pub(crate) mod workload_entry;

use crate::decode::{Fields, Sink};
use crate::yaml::Value;
use header::Header;

/// What a document says, as far as this version serves it.
#[derive(Debug, Clone)]
pub(crate) enum Spec {
    ServiceEntry(service_entry::ServiceEntry),
    WorkloadEntry(workload_entry::Endpoint),
    DestinationRule(Box<destination_rule::DestinationRule>),
    VirtualService(virtual_service::VirtualService),
    Gateway(gateway::Gateway),
    MeshConfig(Box<mesh_config::MeshConfig>),
    Sidecar(sidecar::Sidecar),
    AuthorizationPolicy(authorization_policy::AuthorizationPolicy),
    PeerAuthentication(peer_authentication::PeerAuthentication),
    RequestAuthentication(request_authentication::RequestAuthentication),
    Kubernetes(kubernetes::Service),
    Endpoints(kubernetes::Endpoints),
    Route(Box<gateway_api::Route>),
    /// Accepted, without effect.
    Unserved,
}

/// Reads the spec of a document; its faults go to the sink, and nothing is returned where there is no spec to use.
pub(crate) fn decode(header: &Header, document: &Value, sink: &mut Sink) -> Option<Spec> {
    match unserved::classify(header, sink)? {
        unserved::Class::Unserved => return Some(Spec::Unserved),
        unserved::Class::Served => {}
    }
    match (header.group(), header.kind.as_str()) {
        ("", "Service") => {
            return kubernetes::service(header, document, sink).map(Spec::Kubernetes);
        }
        ("", "Endpoints") => {
            return kubernetes::endpoints(header, document, sink).map(Spec::Endpoints);
        }
        ("gateway.networking.k8s.io", _) => {
            let route = gateway_api::decode(header, document, sink);
            return route.map(|route| Spec::Route(Box::new(route)));
        }
        ("discovery.k8s.io", _) => {
            let slice = kubernetes::slice(header, document, sink).map(Spec::Endpoints);
            return slice.or(Some(Spec::Unserved));
        }
        ("security.istio.io", "AuthorizationPolicy") => {
            let policy = authorization_policy::decode(header, document, sink);
            return policy.map(Spec::AuthorizationPolicy);
        }
        ("security.istio.io", "PeerAuthentication") => {
            let peers = peer_authentication::decode(header, document, sink);
            return peers.map(Spec::PeerAuthentication);
        }
        ("security.istio.io", "RequestAuthentication") => {
            let tokens = request_authentication::decode(document.get("spec"), sink);
            return tokens.map(Spec::RequestAuthentication);
        }
        _ => {}
    }
    let Some(spec) = document.get("spec") else {
        sink.error(header.at, "spec is missing");
        return None;
    };
    match header.kind.as_str() {
        "ServiceEntry" => service_entry::decode(spec, sink).map(Spec::ServiceEntry),
        "WorkloadEntry" => {
            let mut endpoint =
                workload_entry::decode(spec, "spec", workload_entry::Addresses::Ips, sink)?;
            workload_entry::add_labels(&mut endpoint, document);
            Some(Spec::WorkloadEntry(endpoint))
        }
        "DestinationRule" => {
            destination_rule::decode(spec, sink).map(|spec| Spec::DestinationRule(Box::new(spec)))
        }
        "VirtualService" => virtual_service::decode(spec, sink).map(Spec::VirtualService),
        "Gateway" => gateway::decode(spec, sink).map(Spec::Gateway),
        "Sidecar" => sidecar::decode(spec, sink).map(Spec::Sidecar),
        "MeshConfig" => {
            mesh_config::decode(spec, "spec", sink).map(|mesh| Spec::MeshConfig(Box::new(mesh)))
        }
        _ => None,
    }
}

/// `exportTo` of an Istio object: who may see it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExportTo(Vec<String>);

impl ExportTo {
    pub(crate) fn decode(fields: &Fields<'_>, sink: &mut Sink) -> Self {
        Self::decode_from(fields, "exportTo", sink)
    }

    /// The same from an annotation: names with commas between them.
    pub(crate) fn of(text: &str) -> Self {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        Self(names.map(str::to_owned).collect())
    }

    /// The same from a field of another name.
    pub(crate) fn decode_from(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Self {
        let mut out = Vec::new();
        for (name, at) in fields.strings(key, sink) {
            if !matches!(name.as_str(), "*" | "." | "~") && crate::host::check_label(&name).is_err()
            {
                let path = fields.path_of(key);
                sink.error(
                    at,
                    format!("{path} may hold '*', '.', '~' or namespaces, not {name:?}"),
                );
            }
            out.push(name);
        }
        Self(out)
    }

    /// Its entries, as written.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether it is visible in its own namespace only.
    pub(crate) fn is_private(&self, own: &str) -> bool {
        matches!(self.0.as_slice(), [only] if only == "." || only == own)
    }

    /// Takes the mesh's default where it says nothing.
    pub(crate) fn or(&mut self, default: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&default.0);
        }
    }

    /// Whether an object of namespace `from` is visible in namespace `to`.
    pub(crate) fn visible(&self, from: &str, to: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|name| match name.as_str() {
                "*" => true,
                "." => from == to,
                "~" => false,
                name => name == to,
            })
    }
}
