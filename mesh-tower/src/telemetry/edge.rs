//! One edge of the mesh's graph, with the cells of Istio's request metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mesh_core::cluster::{Service, Workload};

use super::ended::Ended;
use super::histogram::{Histogram, Reading};

/// How many ways to end (code, flags, gRPC status) an edge tells apart. A peer can answer any code, and each is a
/// series; those that come later are counted together.
const WAYS: usize = 32;

/// What tells edges apart: all of their labels but this process's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EdgeLabels {
    pub(super) reporter: Reporter,
    /// Who is at the other end, if that is known.
    pub(super) peer: Option<Arc<Workload>>,
    pub(super) service: Arc<Service>,
    pub(super) security: ConnectionSecurity,
}

/// What the connection of a call to here has proven (`connection_security_policy`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ConnectionSecurity {
    /// Nothing: it is plaintext, or its client has shown no certificate. At the source nobody tells.
    None,
    /// Mutual TLS, with this id (`source_principal`); empty for a certificate that has none.
    Mutual(Arc<str>),
}

/// Which end of the edge this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reporter {
    Source,
    Destination,
}

/// An edge. It exists from the configuration on that names it; its cells are made at its first call.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(super) labels: Arc<EdgeLabels>,
    ways: OnceLock<Box<Ways>>,
}

#[derive(Debug, Default)]
struct Ways {
    /// What the histogram at the same place is for; 0 is none yet.
    keys: [AtomicU64; WAYS],
    histograms: [OnceLock<Box<Histogram>>; WAYS],
    /// All further ways.
    rest: OnceLock<Box<Histogram>>,
}

impl Edge {
    pub(super) const fn new(labels: Arc<EdgeLabels>) -> Self {
        Self {
            labels,
            ways: OnceLock::new(),
        }
    }

    /// Whether it leads to this workload of this service.
    pub(crate) fn leads_to(&self, service: &Service, workload: Option<&Arc<Workload>>) -> bool {
        *self.labels.service == *service && self.labels.peer.as_ref() == workload
    }

    pub(super) fn record(&self, ended: Ended, took: Duration) {
        self.ways
            .get_or_init(Box::default)
            .histogram(ended.key())
            .record(took);
    }

    /// What has ended on it; `None` is what was too various to be told apart.
    pub(super) fn read(&self) -> impl Iterator<Item = (Option<Ended>, Reading)> {
        self.ways.get().into_iter().flat_map(|ways| ways.read())
    }
}

impl Ways {
    fn histogram(&self, key: u64) -> &Histogram {
        for (held, histogram) in self.keys.iter().zip(&self.histograms) {
            let known = match held.load(Relaxed) {
                0 => match held.compare_exchange(0, key, Relaxed, Relaxed) {
                    Ok(_) => key,
                    Err(others) => others,
                },
                known => known,
            };
            if known == key {
                return histogram.get_or_init(Box::default);
            }
        }
        self.rest.get_or_init(Box::default)
    }

    fn read(&self) -> impl Iterator<Item = (Option<Ended>, Reading)> {
        let told = self.keys.iter().zip(&self.histograms);
        let told = told.filter_map(|(key, histogram)| {
            let reading = histogram.get()?.read();
            Some((Some(Ended::of_key(key.load(Relaxed))), reading))
        });
        let rest = self.rest.get().map(|histogram| (None, histogram.read()));
        told.chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One code more than there is room for, counted from four threads at once.
    #[test]
    fn no_call_is_lost_and_ways_are_bounded() {
        let edge = Edge::new(Arc::new(EdgeLabels {
            reporter: Reporter::Source,
            peer: None,
            service: Arc::default(),
            security: ConnectionSecurity::None,
        }));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for code in 0..50 * (WAYS as u16 + 4) {
                        let ended = Ended {
                            code: 200 + code % (WAYS as u16 + 4),
                            ..Ended::abandoned(false)
                        };
                        edge.record(ended, Duration::ZERO);
                    }
                });
            }
        });
        let read: Vec<_> = edge.read().collect();
        assert_eq!(read.len(), WAYS + 1);
        let counts = |told: bool| {
            let of = read
                .iter()
                .filter(move |(ended, _)| ended.is_some() == told);
            of.map(|(_, reading)| reading.count()).collect::<Vec<_>>()
        };
        assert_eq!(counts(true), [200; WAYS]);
        assert_eq!(counts(false), [800]);
    }
}
