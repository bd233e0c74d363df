//! `PeerAuthentication`: whether the servers of a workload take plaintext.

use std::collections::BTreeMap;

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::yaml::Value;

use super::header::Header;

/// A checked `PeerAuthentication`.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerAuthentication {
    /// The workloads that it is for; empty for all of its namespace, or of the mesh in the root namespace.
    pub(crate) selector: Labels,
    /// What holds for all ports; nothing where it is inherited (`UNSET`).
    pub(crate) mode: Option<Mode>,
    /// By the port of the workload. `UNSET` is what holds for all ports of this workload.
    pub(crate) ports: BTreeMap<u32, Option<Mode>>,
}

/// What a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mode {
    /// Plaintext only.
    Disable,
    /// Plaintext, and mutual TLS.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

const SPEC: Schema = Schema {
    served: &["selector", "mtls", "portLevelMtls"],
    unserved: &[],
};
const SELECTOR: Schema = Schema {
    served: &["matchLabels"],
    unserved: &[],
};
const MTLS: Schema = Schema {
    served: &["mode"],
    unserved: &[],
};

/// Reads the document; without a spec it says nothing.
pub(crate) fn decode(
    header: &Header,
    document: &Value,
    sink: &mut Sink,
) -> Option<PeerAuthentication> {
    let faults = sink.errors.len();
    let peers = spec(document.get("spec"), sink);
    // One that is refused is not without effect.
    if !sink.options.has_certificates() && sink.errors.len() == faults {
        let message = format!(
            "the kind {} has no effect where the mesh has no certificates",
            header.kind
        );
        sink.note(header.at, message);
    }
    peers
}

fn spec(spec: Option<&Value>, sink: &mut Sink) -> Option<PeerAuthentication> {
    let Some(spec) = spec else {
        return Some(PeerAuthentication::default());
    };
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    let selector = selector(&fields, sink);
    let mode = fields
        .get("mtls")
        .and_then(|value| mode(value, "spec.mtls".to_owned(), sink));
    let mut ports = BTreeMap::new();
    for entry in fields.entries("portLevelMtls", sink) {
        let path = format!("spec.portLevelMtls.{}", entry.key);
        let number = entry.key.parse().ok().filter(|port| *port > 0);
        let Some(number) = number.map(|port: u16| u32::from(port)) else {
            let message = format!("{path}: a port is a number from 1 to 65535");
            sink.error(entry.at, message);
            continue;
        };
        ports.insert(number, self::mode(&entry.value, path, sink));
    }
    if selector.is_empty() && !ports.is_empty() && sink.options.has_certificates() {
        let message = "spec.portLevelMtls counts only for workloads that spec.selector names";
        sink.error(fields.place("portLevelMtls"), message);
    }
    Some(PeerAuthentication {
        selector,
        mode,
        ports,
    })
}

/// The labels of a `WorkloadSelector` of Istio's security kinds; empty where everyone is meant.
pub(super) fn selector(fields: &Fields<'_>, sink: &mut Sink) -> Labels {
    let selector = fields.sub("selector", SELECTOR, sink);
    selector
        .map(|selector| selector.labels("matchLabels", sink))
        .unwrap_or_default()
}

/// What a `MutualTLS` says; refused where workloads have no certificates for it.
fn mode(mtls: &Value, path: String, sink: &mut Sink) -> Option<Mode> {
    let fields = Fields::open(mtls, path, MTLS, sink)?;
    match fields.word("mode", &["UNSET", "DISABLE", "PERMISSIVE", "STRICT"], sink)? {
        "DISABLE" => Some(Mode::Disable),
        "PERMISSIVE" => Some(Mode::Permissive),
        "STRICT" => {
            if !sink.options.has_certificates() {
                let what = format!("{} STRICT", fields.path_of("mode"));
                sink.refuse_uncertified(fields.place("mode"), &what, "mutual TLS");
            }
            Some(Mode::Strict)
        }
        _ => None,
    }
}
