//! What travels between the layers. A layer in the wrong place does not compile.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, Uri};
use mesh_core::route::Limits;
use tokio::time::Instant;

use super::fault::Abort;
use super::limit::Trail;
use super::options::Due;
use crate::body::Body;
use crate::error::Place;
use crate::live::LiveCluster;
#[cfg(feature = "otel")]
use crate::mesh::Shared;
use crate::outside;
use crate::security::Beyond;
use crate::telemetry::Edge;
#[cfg(feature = "otel")]
use crate::telemetry::Tried;

/// A request whose route and cluster are chosen. It holds what it needs and no configuration: a
/// stream may last a day and pins nothing.
#[derive(Debug)]
pub struct Routed<B = Body> {
    pub(crate) request: Request<B>,
    pub(crate) destination: Destination,
    /// What the route says of its time.
    pub(crate) limits: Limits,
    /// When it began, if a fault has delayed it.
    pub(crate) since: Option<Instant>,
    /// What the caller says of it.
    pub(crate) due: Option<Due>,
    /// How often the caller lets it be repeated.
    pub(crate) retries: Option<u32>,
    /// The caller's own URI, where it is another one; only of calls that a foreign client carries.
    pub(crate) was: Option<Box<Uri>>,
}

/// One try of a routed request.
#[derive(Debug)]
pub struct Attempt<B = Body> {
    pub(crate) request: Request<B>,
    pub(crate) destination: Destination,
    /// The endpoint that the former attempt failed on.
    pub(crate) avoid: Option<SocketAddr>,
    /// Where a call with limits of time notes how far it came.
    pub(crate) trail: Option<Arc<Trail>>,
    /// As in [`Routed`].
    pub(crate) was: Option<Box<Uri>>,
}

#[cfg(feature = "otel")]
impl<B> Attempt<B> {
    /// Its span, if its call has one and it is sent at all.
    pub(super) fn tried(&mut self, shared: &Shared) -> Option<Tried> {
        let sent = !matches!(self.destination.goal, Goal::Answer(_) | Goal::Abort(_));
        let traced = shared.observer.is_some() && sent;
        let place = &self.destination.place;
        traced.then(|| Tried::start(&mut self.request, place))?
    }
}

/// Where a request goes, and by which rule: the same for all its attempts.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// What the configuration itself answers, instead of a cluster.
    pub(crate) goal: Goal,
    pub(crate) place: Place,
}

impl Destination {
    /// Whether there is but one endpoint to go to.
    pub(crate) fn is_single(&self) -> bool {
        match &self.goal {
            Goal::Cluster(cluster) => cluster.model.balancer.eligible() == 1,
            // It has tried all addresses itself.
            Goal::Outside(..) | Goal::Beyond(..) => true,
            Goal::Answer(_) | Goal::Abort(_) => false,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Goal {
    Cluster(Arc<LiveCluster>),
    /// The host that the caller asked for, counted on this cluster.
    Outside(Arc<LiveCluster>, Arc<outside::Destination>),
    /// The same, where a foreign client finds the host itself, by what it may speak.
    Beyond(Arc<LiveCluster>, Beyond),
    Answer(Arc<mesh_core::route::Route>),
    /// A fault's answer.
    Abort(Arc<Abort>),
}

/// A response with where it came from.
#[derive(Debug)]
pub struct Answered {
    pub(crate) response: Response<Body>,
    pub(crate) endpoint: Option<SocketAddr>,
    /// Where the call is counted, if that is not the cluster as a whole.
    pub(crate) edge: Option<Arc<Edge>>,
    pub(crate) attempts: u32,
}

/// How a call was made; in the extensions of a response, if the client was asked for it by
/// [`MeshClient::with_call_info`](super::MeshClient::with_call_info).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallInfo {
    /// The name of the route.
    pub route: Arc<str>,
    /// The cluster; empty when the configuration answered itself.
    pub cluster: Arc<str>,
    /// The endpoint that answered.
    pub endpoint: Option<SocketAddr>,
    /// The generation of the configuration that decided.
    pub generation: u64,
    /// How often the request was tried.
    pub attempts: u32,
    /// Envoy's response flags of the faults that the configuration injected: `DI` for a delay, `FI` for an answer in
    /// place of the call, `DI,FI` for both; empty for none.
    pub flags: &'static str,
}
