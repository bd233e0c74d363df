//! The kinds of Istio as typed, checked specs, and what becomes of the other kinds.

pub(crate) mod destination_rule;
pub(crate) mod gateway;
pub(crate) mod header;
pub(crate) mod http_match;
pub(crate) mod http_route;
pub(crate) mod mesh_config;
pub(crate) mod service_entry;
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
    DestinationRule(destination_rule::DestinationRule),
    VirtualService(virtual_service::VirtualService),
    Gateway(gateway::Gateway),
    MeshConfig(mesh_config::MeshConfig),
    /// Accepted, without effect.
    Unserved,
}

/// Reads the spec of a document; its faults go to the sink, and nothing is returned where there is no spec to use.
pub(crate) fn decode(header: &Header, document: &Value, sink: &mut Sink) -> Option<Spec> {
    match unserved::classify(header, document, sink)? {
        unserved::Class::Unserved => return Some(Spec::Unserved),
        unserved::Class::Served => {}
    }
    let Some(spec) = document.get("spec") else {
        sink.error(header.at, "spec is missing");
        return None;
    };
    match header.kind.as_str() {
        "ServiceEntry" => service_entry::decode(spec, sink).map(Spec::ServiceEntry),
        "WorkloadEntry" => {
            workload_entry::decode(spec, "spec", workload_entry::Addresses::Ips, sink)
                .map(Spec::WorkloadEntry)
        }
        "DestinationRule" => destination_rule::decode(spec, sink).map(Spec::DestinationRule),
        "VirtualService" => virtual_service::decode(spec, sink).map(Spec::VirtualService),
        "Gateway" => gateway::decode(spec, sink).map(Spec::Gateway),
        "MeshConfig" => mesh_config::decode(spec, sink).map(Spec::MeshConfig),
        _ => None,
    }
}

/// `exportTo` of an Istio object: who may see it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExportTo(Vec<String>);

impl ExportTo {
    pub(crate) fn decode(fields: &Fields<'_>, sink: &mut Sink) -> Self {
        let mut out = Vec::new();
        for (name, at) in fields.strings("exportTo", sink) {
            if !matches!(name.as_str(), "*" | "." | "~") && crate::host::check_label(&name).is_err()
            {
                let path = fields.path_of("exportTo");
                sink.error(
                    at,
                    format!("{path} may hold '*', '.', '~' or namespaces, not {name:?}"),
                );
            }
            out.push(name);
        }
        Self(out)
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
