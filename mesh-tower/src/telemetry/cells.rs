//! Counters that the request path owns: made at publish, updated without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;

use super::edge::Edge;

/// The requests of one edge: of a cluster, or of one of its endpoints. A cache line of its own keeps
/// edges from slowing each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Cells {
    started: AtomicU64,
    in_flight: AtomicU64,
    /// Ended, by class: 1xx to 5xx.
    classes: [AtomicU64; 5],
    /// Ended without a response.
    failed: AtomicU64,
    /// Where errors are counted by flag; the cells of a cluster know, for responses that break off, and those of a mesh.
    errors: Option<Arc<Errors>>,
    /// Of an endpoint: the edge that leads there.
    edge: Option<Arc<Edge>>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    Answered(StatusCode),
    Failed,
}

impl Cells {
    /// Cells of which errors are counted by flag as well: a cluster's, and those of a whole mesh.
    pub(crate) fn with_errors(errors: Arc<Errors>) -> Self {
        Self {
            errors: Some(errors),
            ..Self::default()
        }
    }

    /// Cells of an endpoint, at the end of this edge.
    pub(crate) fn of_endpoint(edge: Arc<Edge>) -> Self {
        Self {
            edge: Some(edge),
            ..Self::default()
        }
    }

    pub(crate) const fn edge(&self) -> Option<&Arc<Edge>> {
        self.edge.as_ref()
    }

    /// A call failed, or a response broke off after it had begun.
    pub(crate) fn failed_with(&self, flags: &str) {
        if let Some(errors) = &self.errors {
            errors.count(flags);
        }
    }

    pub(crate) fn start(&self) {
        self.started.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        self.in_flight.fetch_sub(1, Relaxed);
        let class = match outcome {
            Outcome::Answered(status) => self
                .classes
                .get(usize::from(status.as_u16() / 100).wrapping_sub(1)),
            Outcome::Failed => None,
        };
        class.unwrap_or(&self.failed).fetch_add(1, Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    pub(crate) fn classes(&self) -> [u64; 5] {
        self.classes.each_ref().map(|class| class.load(Relaxed))
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }
}

/// Calls that ended inside the mesh, by flag.
#[derive(Debug, Default)]
pub(crate) struct Errors([AtomicU64; FLAGS.len()]);

/// Every flag that an error can carry.
const FLAGS: [&str; 13] = [
    "DPE", "NFCF", "NR", "NC", "UH", "UO", "UF", "UC", "DR", "UPE", "UT", "SI", "DT",
];

impl Errors {
    pub(crate) fn count(&self, flags: &str) {
        if let Some(at) = FLAGS.iter().position(|flag| *flag == flags) {
            self.0[at].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FLAGS
            .into_iter()
            .zip(self.0.each_ref().map(|count| count.load(Relaxed)))
    }
}
