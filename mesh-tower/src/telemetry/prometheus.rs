//! The text that Prometheus scrapes, format 0.0.4.

use std::fmt::{self, Write};

use super::edges::Edges;
use super::histogram::{BOUNDS, Reading};
use super::series::{LABELS, Values, read};
use crate::mesh::Mesh;

pub(super) const REQUESTS: &str = "istio_requests_total";
pub(super) const REQUESTS_HELP: &str = "Requests that have ended.";
pub(super) const DURATION: &str = "istio_request_duration_milliseconds";
pub(super) const DURATION_HELP: &str = "From the request to the end of its response.";

impl Mesh {
    /// Istio's request metrics of this mesh, in the text format of Prometheus (0.0.4; send it as
    /// `text/plain; version=0.0.4`): `istio_requests_total`, `istio_request_duration_milliseconds` in Envoy's default
    /// buckets, and `istio_build`. [`Builder::admin`](crate::Builder::admin) serves it.
    ///
    /// A call of a client counts when its response has been read to its end, with `reporter="source"`; a request
    /// behind [`Mesh::inbound`] with `reporter="destination"`. Every series has all of Istio's labels, `unknown` where
    /// a value is not known:
    /// * `source_*` of a client, and `destination_*` of a server, are the [`Node`](crate::Node)'s workload.
    /// * `destination_*` of a client are what the control plane says of the endpoint (metadata `istio.workload`; it
    ///   tells no `app` and no `version`), and `destination_service*` what it says of the cluster (`istio.services`),
    ///   else what the cluster's name says. Hosts that the mesh does not know are `PassthroughCluster`, and
    ///   `BlackHoleCluster` where they may not be called.
    /// * Who calls a server is what the certificate of the connection says: `source_principal` is its SPIFFE id, and
    ///   `connection_security_policy` is `mutual_tls`, else `none`. The other `source_*` are `unknown`. Its
    ///   `destination_service` is its own canonical service.
    /// * `response_code` of a call that failed inside of the mesh is what a sidecar would have answered
    ///   ([`Error::status`](crate::Error::status); to gRPC 200, with the status in `grpc_response_status`), and
    ///   `response_flags` says why. A caller that drops a call is `DC`, with code 0 if no response had begun.
    ///
    /// An edge tells 32 ways to end apart; further ones are counted with `unknown` in those labels. Edges that no
    /// configuration names are forgotten when there are more than 4096.
    ///
    /// With a provider of certificates ([`Builder::certificates`](crate::Builder::certificates)) there are also
    /// `istio_agent_cert_expiry_seconds{resource_name="default"}`, how many seconds the workload's certificate holds yet
    /// (less than 0 when it has expired; absent before there is one), and `mesh_certificate_refused`, 1 while what the
    /// provider last had is not taken.
    pub fn prometheus(&self) -> String {
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "TLS adds to it"))]
        let mut text = text(&self.shared.edges);
        #[cfg(feature = "tls")]
        if self.shared.store.is_fed() {
            // A String takes whatever it is given.
            let _ = certificate(&mut text, &self.shared.store);
        }
        text
    }
}

/// By the name under which Istio's agent tells it.
#[cfg(feature = "tls")]
fn certificate(text: &mut String, store: &crate::tls::Store) -> fmt::Result {
    if let Some(left) = store.seconds_left() {
        text.push_str("# HELP istio_agent_cert_expiry_seconds How long the workload's certificate holds yet.\n# TYPE istio_agent_cert_expiry_seconds gauge\n");
        writeln!(
            text,
            "istio_agent_cert_expiry_seconds{{resource_name=\"default\"}} {left}"
        )?;
    }
    let refused = u8::from(store.refusal().is_some());
    text.push_str("# HELP mesh_certificate_refused Whether what the provider of certificates last had is not taken.\n# TYPE mesh_certificate_refused gauge\n");
    writeln!(text, "mesh_certificate_refused {refused}")
}

fn text(edges: &Edges) -> String {
    let mut text = String::new();
    // A String takes whatever it is given.
    let _ = write(&mut text, edges);
    text
}

fn write(text: &mut String, edges: &Edges) -> fmt::Result {
    let series = read(edges);
    let series: Vec<_> = series
        .iter()
        .map(|(values, reading)| (labels(values), reading))
        .collect();
    writeln!(
        text,
        "# HELP {REQUESTS} {REQUESTS_HELP}\n# TYPE {REQUESTS} counter"
    )?;
    for (labels, reading) in &series {
        writeln!(text, "{REQUESTS}{{{labels}}} {}", reading.count())?;
    }
    writeln!(
        text,
        "# HELP {DURATION} {DURATION_HELP}\n# TYPE {DURATION} histogram"
    )?;
    for (labels, reading) in &series {
        histogram(text, labels, reading)?;
    }
    text.push_str("# HELP istio_build What serves these metrics.\n# TYPE istio_build gauge\n");
    let version = env!("CARGO_PKG_VERSION");
    writeln!(
        text,
        "istio_build{{component=\"proxy\",tag=\"mesh-tower-{version}\"}} 1"
    )
}

fn histogram(text: &mut String, labels: &str, reading: &Reading) -> fmt::Result {
    let mut below = 0;
    for (bound, count) in BOUNDS.iter().chain(&["+Inf"]).zip(reading.buckets) {
        below += count;
        writeln!(text, "{DURATION}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
    }
    writeln!(
        text,
        "{DURATION}_sum{{{labels}}} {}",
        reading.milliseconds()
    )?;
    writeln!(text, "{DURATION}_count{{{labels}}} {below}")
}

fn labels(values: &Values) -> String {
    let mut text = String::new();
    for (name, value) in LABELS.iter().zip(values) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(&mut text, value);
        text.push('"');
    }
    text
}

/// A backslash, a quote and a line feed would end the value.
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}
