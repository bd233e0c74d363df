//! Calls of the mesh's own to a cluster that the configuration names: no route is asked.

use std::sync::Arc;

use http::{Request, Response};
use mesh_core::route::Limits;
use tower_layer::Layer;
use tower_service::Service;

use super::dispatch::Dispatch;
use super::retry::RetryLayer;
use super::seam::{Destination, Goal, Routed};
use crate::body::Body;
use crate::error::{Error, Place};
use crate::live::LiveCluster;
use crate::mesh::Shared;

/// Sends a request to one of the cluster's endpoints, as its balancer, its limits and its terms of TLS say. It is repeated
/// where it provably was not sent. Whoever calls limits the time.
pub(crate) async fn send(
    shared: Arc<Shared>,
    cluster: Arc<LiveCluster>,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let place = Place {
        authority: request.uri().authority().map(|it| it.as_str().into()),
        cluster: Some(Arc::clone(&cluster.model.name)),
        ..Place::default()
    };
    let routed = Routed {
        request,
        destination: Destination {
            goal: Goal::Cluster(cluster),
            place,
        },
        limits: Limits::default(),
        since: None,
        due: None,
        retries: None,
        was: None,
    };
    let mut stack = RetryLayer.layer(Dispatch::new(shared));
    let answered = stack.call(routed).await?;
    Ok(answered.response)
}
