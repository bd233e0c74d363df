//! A reading of the edges, with Istio's labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_core::cluster::Workload;

use super::edge::{ConnectionSecurity, EdgeLabels, Reporter};
use super::edges::Edges;
use super::ended::{Ended, Protocol};
use super::histogram::Reading;

/// The labels of Istio's request metrics, all of them on every series.
pub(super) const LABELS: [&str; 25] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "source_app",
    "source_version",
    "source_cluster",
    "source_principal",
    "destination_workload",
    "destination_workload_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_principal",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];

/// Their values, in the same order.
pub(super) type Values = [Arc<str>; LABELS.len()];

/// All series. Edges whose labels read the same are one.
pub(super) fn read(edges: &Edges) -> BTreeMap<Values, Reading> {
    let mut series: BTreeMap<Values, Reading> = BTreeMap::new();
    for edge in edges.all() {
        for (ended, reading) in edge.read() {
            let values = values(edges.own(), &edge.labels, ended);
            series.entry(values).or_default().add(&reading);
        }
    }
    series
}

fn values(own: &Arc<Workload>, edge: &EdgeLabels, ended: Option<Ended>) -> Values {
    let stranger = Arc::default();
    let peer = edge.peer.as_ref().unwrap_or(&stranger);
    let (reporter, source, destination) = match edge.reporter {
        Reporter::Source => ("source", own, peer),
        Reporter::Destination => ("destination", peer, own),
    };
    let (security, principal) = match (&edge.security, edge.reporter) {
        // Istio's value at the source, whatever the connection is.
        (_, Reporter::Source) => ("unknown", ""),
        (ConnectionSecurity::None, Reporter::Destination) => ("none", ""),
        (ConnectionSecurity::Mutual(id), Reporter::Destination) => ("mutual_tls", &**id),
    };
    let [s0, s1, s2, s3, s4, s5, s6] = of_workload(source);
    let [d0, d1, d2, d3, d4, d5, d6] = of_workload(destination);
    let service = &edge.service;
    let [code, status, flags, protocol] = of_end(ended);
    // What we show ourselves tells no edges apart.
    let nobody = known("", "unknown");
    [
        reporter.into(),
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        known(principal, "unknown"),
        d0,
        d1,
        d2,
        d3,
        d4,
        d5,
        d6,
        nobody,
        known(&service.host, "unknown"),
        known(&service.name, "unknown"),
        known(&service.namespace, "unknown"),
        protocol,
        code,
        status,
        flags,
        security.into(),
    ]
}

fn of_workload(workload: &Workload) -> [Arc<str>; 7] {
    [
        known(&workload.name, "unknown"),
        known(&workload.namespace, "unknown"),
        known(&workload.canonical_service, "unknown"),
        known(&workload.canonical_revision, "latest"),
        known(&workload.app, "unknown"),
        known(&workload.version, "unknown"),
        known(&workload.cluster, "unknown"),
    ]
}

/// Code, gRPC status, flags and protocol. What was too various to be told apart is not known.
fn of_end(ended: Option<Ended>) -> [Arc<str>; 4] {
    let Some(ended) = ended else {
        return ["unknown"; 4].map(Arc::from);
    };
    let status = match ended.protocol {
        Protocol::Grpc(Some(status)) => status.to_string(),
        Protocol::Grpc(None) | Protocol::Http => String::new(),
    };
    [
        ended.code.to_string().into(),
        status.into(),
        ended.flags.to_string().into(),
        ended.protocol.name().into(),
    ]
}

fn known(text: &str, otherwise: &str) -> Arc<str> {
    if text.is_empty() { otherwise } else { text }.into()
}
