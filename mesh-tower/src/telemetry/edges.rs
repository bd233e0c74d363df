//! The edges of one mesh, found again by their labels: a counter must not fall when one of a workload's endpoints
//! leaves, so endpoints of one workload share theirs, and it outlives them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_core::cluster::{Cluster, IstioName, Service, Workload};
use mesh_core::istiod::{ALLOW_ANY, BLACK_HOLE, BLOCK_ALL, PASSTHROUGH};
use mesh_core::request::split_port;

use super::edge::{ConnectionSecurity, Edge, EdgeLabels, Reporter};

/// From how many edges on those that no configuration names any more are forgotten. A scrape is as long as all edges.
const MOST: usize = 4096;

#[derive(Debug)]
pub(crate) struct Edges {
    own: Arc<Workload>,
    known: Mutex<Known>,
    /// Calls from here that reach nobody known.
    nowhere: Arc<Edge>,
    /// Calls from here that may not leave the mesh.
    black_hole: Arc<Edge>,
    /// Calls to here from whoever does not say who he is.
    inbound: Arc<Edge>,
}

#[derive(Debug)]
struct Known {
    edges: HashMap<Arc<EdgeLabels>, Arc<Edge>>,
    /// At how many they are looked at again.
    sweep_at: usize,
}

impl Edges {
    pub(crate) fn new(own: Workload) -> Self {
        let service = Service {
            host: Arc::clone(&own.canonical_service),
            name: Arc::clone(&own.canonical_service),
            namespace: Arc::clone(&own.namespace),
        };
        let edge = |reporter, service| {
            let labels = EdgeLabels {
                reporter,
                peer: None,
                service: Arc::new(service),
                security: ConnectionSecurity::None,
            };
            Arc::new(Edge::new(Arc::new(labels)))
        };
        let nowhere = edge(Reporter::Source, Service::default());
        let black_hole = edge(Reporter::Source, named(BLACK_HOLE));
        let inbound = edge(Reporter::Destination, service);
        let all = [&nowhere, &black_hole, &inbound];
        let edges = all.map(|edge| (Arc::clone(&edge.labels), Arc::clone(edge)));
        Self {
            own: Arc::new(own),
            known: Mutex::new(Known {
                edges: edges.into(),
                sweep_at: MOST,
            }),
            nowhere,
            black_hole,
            inbound,
        }
    }

    /// This process's own workload.
    pub(super) const fn own(&self) -> &Arc<Workload> {
        &self.own
    }

    pub(crate) const fn nowhere(&self) -> &Arc<Edge> {
        &self.nowhere
    }

    pub(crate) const fn inbound(&self) -> &Arc<Edge> {
        &self.inbound
    }

    /// The edge of calls to here by a peer whose certificate says that it is `id`.
    pub(crate) fn proven(&self, id: &str) -> Arc<Edge> {
        self.get(EdgeLabels {
            security: ConnectionSecurity::Mutual(id.into()),
            ..EdgeLabels::clone(&self.inbound.labels)
        })
    }

    /// The edge from here to a service, or to one of its workloads.
    pub(crate) fn to(&self, service: &Arc<Service>, workload: Option<&Arc<Workload>>) -> Arc<Edge> {
        self.get(EdgeLabels {
            reporter: Reporter::Source,
            peer: workload.map(Arc::clone),
            service: Arc::clone(service),
            security: ConnectionSecurity::None,
        })
    }

    /// The edge to a host outside of the mesh.
    pub(crate) fn outside(&self, host: &str) -> Arc<Edge> {
        let service = Service {
            host: host.into(),
            ..named(PASSTHROUGH)
        };
        self.to(&Arc::new(service), None)
    }

    /// The edge of what a virtual host answers itself, or has no cluster for. What istiod sends for hosts that the
    /// mesh does not know is named as Istio's own statistics name it.
    pub(crate) fn of_virtual_host(&self, name: &str) -> Arc<Edge> {
        let service = match name {
            BLOCK_ALL => return Arc::clone(&self.black_hole),
            ALLOW_ANY => named(PASSTHROUGH),
            _ => Service::of_host(split_port(name).0),
        };
        self.to(&Arc::new(service), None)
    }

    pub(crate) const fn black_hole(&self) -> &Arc<Edge> {
        &self.black_hole
    }

    fn get(&self, labels: EdgeLabels) -> Arc<Edge> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(edge) = known.edges.get(&labels) {
            return Arc::clone(edge);
        }
        if known.edges.len() >= known.sweep_at {
            known.edges.retain(|_, edge| Arc::strong_count(edge) > 1);
            known.sweep_at = MOST.max(known.edges.len() * 2);
        }
        let edge = Arc::new(Edge::new(Arc::new(labels)));
        known
            .edges
            .insert(Arc::clone(&edge.labels), Arc::clone(&edge));
        edge
    }

    pub(super) fn all(&self) -> Vec<Arc<Edge>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.edges.values().map(Arc::clone).collect()
    }
}

/// What a cluster stands for: what its metadata says, else its name.
pub(crate) fn service_of(cluster: &Cluster) -> Cow<'_, Arc<Service>> {
    match (&cluster.service, IstioName::parse(&cluster.name)) {
        (Some(service), _) => Cow::Borrowed(service),
        (None, Some(name)) => Cow::Owned(Arc::new(Service::of_host(name.host))),
        (None, None) => Cow::Owned(Arc::new(named(&cluster.name))),
    }
}

/// A service of which no more is known than what it is called.
fn named(name: &str) -> Service {
    Service {
        name: name.into(),
        ..Service::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever goes through all hosts of the world leaves no more behind than there may be.
    #[test]
    fn edges_are_found_again_and_those_that_nobody_holds_are_forgotten() {
        let edges = Edges::new(Workload::default());
        let held = edges.outside("held.example.com");
        for at in 0..3 * MOST {
            drop(edges.outside(&format!("{at}.example.com")));
            assert!(edges.all().len() <= MOST + 1);
        }
        assert!(Arc::ptr_eq(&held, &edges.outside("held.example.com")));
        assert!(edges.all().iter().any(|edge| Arc::ptr_eq(edge, &held)));
    }
}
