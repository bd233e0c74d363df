//! The innermost service: picks an endpoint of the chosen cluster and sends one attempt to it.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use mesh_core::route::Action;
use tower_service::Service;

use super::seam::{Answered, Attempt, Destination, Goal};
use crate::body::Body;
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
            Goal::Answer(route) => {
                let answered = answer(&route.action);
                return Box::pin(std::future::ready(Ok(Answered {
                    response: answered,
                    endpoint: None,
                    attempts: 0,
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
        let counted = Counted::start(Arc::clone(&cluster.cells), Arc::clone(&pool.cells));
        pool.send(attempt.request, counted, place)
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
        0 => "the cluster has no endpoints; check that a workload carries the labels that the service and the subset select".to_owned(),
        all => format!("none of the cluster's {all} endpoints is healthy"),
    }
}

/// A direct response. Other actions have become errors or clusters before.
fn answer(action: &Action) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    if let Action::DirectResponse(direct) = action {
        *response.status_mut() = direct.status;
        *response.body_mut() = Body::from(direct.body.clone());
    }
    response
}
