//! The innermost service: picks an endpoint of the chosen cluster and sends one attempt to it.

use std::sync::Arc;
use std::task::{Context, Poll};

use mesh_core::cluster::{Cluster, Discovery, Protocol};
use tower_service::Service;

use super::answer::answer;
use super::seam::{Answered, Attempt, Destination, Goal};
use crate::error::{Error, Kind};
use crate::live::LiveCluster;
use crate::mesh::Shared;
use crate::pool::{Counted, Failed, Sending};

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

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let Destination { goal, mut place } = attempt.destination;
        let cluster = match goal {
            Goal::Cluster(cluster) => cluster,
            Goal::Outside(cluster, to) => {
                let cells = (Arc::clone(&cluster.cells), Arc::clone(&to.cells));
                let counted = Counted::start(cells.0, cells.1, attempt.trail);
                let protocol = version_outside(&cluster.model);
                return to.send(attempt.request, protocol, counted, place);
            }
            Goal::Answer(route) => {
                let answered = answer(&route, &attempt.request, place).map(|response| Answered {
                    response,
                    endpoint: None,
                    attempts: 0,
                });
                return Box::pin(std::future::ready(answered.map_err(|error| Failed {
                    error,
                    unsent: None,
                })));
            }
        };
        let picked = pick(&cluster, attempt.avoid, &self.shared);
        let Some(at) = picked else {
            let error = Error::new(Kind::NoEndpoint, place, no_endpoint(&cluster));
            return Box::pin(std::future::ready(Err(Failed {
                error,
                unsent: None,
            })));
        };
        let pool = &cluster.endpoints[at];
        place.endpoint = Some(pool.address);
        if let Some(trail) = &attempt.trail {
            trail.tried(pool.address);
        }
        let counted = Counted::start(
            Arc::clone(&cluster.cells),
            Arc::clone(&pool.cells),
            attempt.trail,
        );
        pool.send(attempt.request, counted, place)
    }
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

fn pick(
    cluster: &LiveCluster,
    avoid: Option<std::net::SocketAddr>,
    shared: &Shared,
) -> Option<usize> {
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
    match cluster.endpoints.len() {
        0 if cluster.model.unresolved.is_some() => format!(
            "the cluster has no endpoints: {}; check the name, and that this host can look it up",
            cluster.model.unresolved.as_deref().unwrap_or_default()
        ),
        0 => "the cluster has no endpoints; check that a workload carries the labels that the service and the subset select".to_owned(),
        all => format!("none of the cluster's {all} endpoints is healthy"),
    }
}
