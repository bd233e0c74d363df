//! A reading of the cells.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::cells::Cells;
use crate::live::LiveCluster;

/// What a mesh has counted up to now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// The generation of the configuration.
    pub generation: u64,
    /// Calls that clients of this mesh have begun.
    pub requests: u64,
    /// Of those, how many run now.
    pub in_flight: u64,
    /// Calls that failed inside the mesh, by Envoy's response flag; only flags that occurred. A
    /// response that breaks off after it has begun counts when its reader finds out.
    pub errors: BTreeMap<&'static str, u64>,
    /// Faults that the configuration has injected.
    pub faults: FaultStats,
    /// Copies of requests that went to mirrors.
    pub mirrors: MirrorStats,
    /// Lines that the access log lost, because its writer was too slow or failed.
    pub access_log_dropped: u64,
    /// Connections that came in and were closed before anything of them was served, by reason; only reasons that occurred:
    /// `plaintext_refused` (`STRICT`), `tls_refused`, `handshake` (TLS did not come about), `no_rules` (there are none that can be
    /// obeyed), `rules_not_known` (none came within 15 s), `crowded` (1,024 others of its listener were being opened),
    /// `silent` (not a byte came), `socket`.
    pub closed: BTreeMap<&'static str, u64>,
    /// One edge for each cluster that the configuration reaches, with one for each of its endpoints.
    pub edges: Vec<EdgeStats>,
}

/// What faults of the configuration (`envoy.filters.http.fault`) have done to calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultStats {
    /// Calls that have one now (Envoy's `active_faults`), until their response begins.
    pub active: u64,
    /// Calls whose delay began (`delays_injected`).
    pub delayed: u64,
    /// Calls that were answered (`aborts_injected`).
    pub aborted: u64,
    /// Calls that were let go without their fault, for `max_active_faults` (`faults_overflow`).
    pub overflowed: u64,
}

/// What became of copies for mirrors. How they were answered is counted by the edges of their clusters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorStats {
    /// Copies begun.
    pub begun: u64,
    /// Copies that are on their way now, 256 at most.
    pub in_flight: u64,
    /// Copies that were not begun, since too many are on their way or the body cannot be copied; and those that were
    /// broken off, since more than 1 MiB of the body waited for the mirror.
    pub dropped: u64,
}

/// The requests from this process to one cluster, or to one endpoint of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EdgeStats {
    /// The cluster.
    pub cluster: Arc<str>,
    /// The endpoint; `None` for the cluster as a whole.
    pub endpoint: Option<SocketAddr>,
    /// Requests begun, each attempt counted.
    pub requests: u64,
    /// Requests that run now: a response counts until its body has been read.
    pub in_flight: u64,
    /// Responses by status class, 1xx first.
    pub classes: [u64; 5],
    /// Requests that ended without a whole response.
    pub failed: u64,
}

impl EdgeStats {
    fn read(cluster: &Arc<str>, endpoint: Option<SocketAddr>, cells: &Cells) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            endpoint,
            requests: cells.started(),
            in_flight: cells.in_flight(),
            classes: cells.classes(),
            failed: cells.failed(),
        }
    }

    /// The edge to a cluster, then those to its endpoints.
    pub(crate) fn of(cluster: &LiveCluster) -> impl Iterator<Item = Self> {
        let name = &cluster.model.name;
        let whole = Self::read(name, None, &cluster.cells);
        let endpoints = cluster.endpoints.iter();
        std::iter::once(whole).chain(
            endpoints
                .map(move |endpoint| Self::read(name, Some(endpoint.address), &endpoint.cells)),
        )
    }
}
