//! The innermost service: picks an endpoint of the chosen cluster and sends one attempt to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use mesh_core::cluster::{Cluster, Discovery, Protocol};
use tower_service::Service;

use super::answer::{aborted, answer};
use super::limit::Trail;
use super::seam::{Answered, Attempt, Destination, Goal};
use crate::body::Body;
use crate::error::{Error, Kind, Place};
use crate::live::LiveCluster;
use crate::mesh::Shared;
use crate::pool::{Counted, EndpointPool, Failed, Sending, refused};

/// Sends attempts.
#[derive(Debug, Clone)]
pub struct Dispatch {
    shared: Arc<Shared>,
}

impl Dispatch {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Service<Attempt> for Dispatch {
    type Response = Answered;
    type Error = Failed;
    type Future = Sending;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        // The destination is not known before the request is, so there is nothing to wait for.
        Poll::Ready(Ok(()))
    }

    #[cfg(not(feature = "otel"))]
    fn call(&mut self, attempt: Attempt) -> Self::Future {
        self.send(attempt)
    }

    #[cfg(feature = "otel")]
    fn call(&mut self, mut attempt: Attempt) -> Self::Future {
        match attempt.tried(&self.shared) {
            None => self.send(attempt),
            Some(tried) => tried.over(self.send(attempt)),
        }
    }
}

impl Dispatch {
    fn send(&self, attempt: Attempt) -> Sending {
        let Destination { goal, place } = attempt.destination;
        match goal {
            Goal::Cluster(cluster) => {
                let picked = pick(&cluster, attempt.avoid, attempt.trail, place, &self.shared);
                match picked {
                    Ok((pool, counted, place)) => pool.send(attempt.request, counted, place),
                    Err(error) => refused(error),
                }
            }
            Goal::Outside(cluster, to) => {
                let cells = (Arc::clone(&cluster.cells), Some(Arc::clone(&to.cells)));
                let counted = Counted::start(cells.0, cells.1, attempt.trail);
                let protocol = version_outside(&cluster.model);
                to.send(attempt.request, protocol, counted, place)
            }
            // Decided for foreign clients only.
            Goal::Beyond(..) => refused(Error::new(Kind::Unsupported, place, "no host is known")),
            Goal::Answer(route) => answered(answer(&route, &attempt.request, place)),
            Goal::Abort(fault) => answered(Ok(aborted(&fault, &attempt.request))),
        }
    }
}

/// What the configuration answers, as an attempt that is over.
pub(super) fn answered<B: Send + 'static>(answer: Result<Response<Body>, Error>) -> Sending<B> {
    let answered = answer.map(|response| Answered {
        response,
        endpoint: None,
        edge: None,
        attempts: 0,
    });
    Box::pin(std::future::ready(answered.map_err(Failed::from)))
}

/// The HTTP version to a host that the caller asked for; `None` is the caller's own.
const fn version_outside(cluster: &Cluster) -> Option<Protocol> {
    match cluster.discovery {
        Discovery::OriginalDestination {
            callers_version: true,
            ..
        } => None,
        _ => Some(cluster.protocol),
    }
}

/// Picks an endpoint of a cluster, and counts the attempt on it.
pub(super) fn pick<'a>(
    cluster: &'a LiveCluster,
    avoid: Option<SocketAddr>,
    trail: Option<Arc<Trail>>,
    mut place: Place,
    shared: &Shared,
) -> Result<(&'a EndpointPool, Counted, Place), Error> {
    let picked = picked(cluster, avoid, shared);
    let Some(pool) = picked.and_then(|at| cluster.endpoints.get(at)) else {
        return Err(Error::new(Kind::NoEndpoint, place, no_endpoint(cluster)));
    };
    place.endpoint = Some(pool.address);
    if let Some(trail) = &trail {
        trail.tried(pool.address);
    }
    let counted = Counted::start(
        Arc::clone(&cluster.cells),
        Some(Arc::clone(&pool.cells)),
        trail,
    );
    Ok((pool, counted, place))
}

fn picked(cluster: &LiveCluster, avoid: Option<SocketAddr>, shared: &Shared) -> Option<usize> {
    let avoid = avoid.and_then(|address| {
        cluster
            .endpoints
            .iter()
            .position(|pool| pool.address == address)
    });
    let in_flight = |at: usize| cluster.endpoints[at].cells.in_flight();
    cluster
        .model
        .balancer
        .pick(&cluster.cursor, avoid, in_flight, &mut shared.random.next())
}

fn no_endpoint(cluster: &LiveCluster) -> String {
    match (cluster.endpoints.len(), &cluster.model.unresolved) {
        (0, Some(why)) => format!(
            "the cluster has no endpoints: {why}; check the name, and that this host can look it up"
        ),
        (0, None) => "the cluster has no endpoints; check that a workload carries the labels that the service and the subset select".to_owned(),
        (all, _) => format!("none of the cluster's {all} endpoints is healthy"),
    }
}
