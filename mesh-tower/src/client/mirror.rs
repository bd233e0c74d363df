//! Copies of requests for a second cluster (`request_mirror_policies`): sent on their own, and forgotten. Nothing of
//! them reaches the caller, and he waits for nothing of them.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::Request;
use http_body_util::BodyExt;
use mesh_core::request::content_length;
use mesh_core::route::{DEFAULT_ROUTE_TIMEOUT, Limits, MirrorHost};
use tokio::runtime::Handle;
use tower_layer::Layer;
use tower_service::Service;

use super::dispatch::Dispatch;
use super::retry::RetryLayer;
use super::seam::{Destination, Goal, Routed};
use crate::body::Body;
use crate::error::Place;
use crate::live::LiveCluster;
use crate::mesh::Shared;
use crate::telemetry::MirrorStats;

/// How many copies a mesh has on their way at a time. With [`Body::copy`]'s bound it is what mirrors that hang may
/// hold of its memory: 256 MiB, without what h2 keeps of an upload whose response ended before it.
const MOST: u64 = 256;

/// What a mesh counts of them.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    in_flight: AtomicU64,
    begun: AtomicU64,
    dropped: AtomicU64,
}

impl Mirrors {
    fn slot(self: &Arc<Self>) -> Option<Slot> {
        let slot = Slot(Arc::clone(self));
        let others = self.in_flight.fetch_add(1, Relaxed);
        (others < MOST).then_some(slot)
    }

    /// A copy was not sent, or not to its end, for what this side allows it.
    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self) -> MirrorStats {
        MirrorStats {
            begun: self.begun.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }
}

/// One of those that are on their way.
#[derive(Debug)]
struct Slot(Arc<Mirrors>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Where a copy of one request goes.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) cluster: Arc<LiveCluster>,
    pub(super) host: MirrorHost,
    pub(super) place: Place,
}

/// Sends copies of a request that is about to go. `limits` are those of the request.
pub(super) fn send<B: 'static>(
    shared: &Arc<Shared>,
    mirrors: Vec<Mirror>,
    request: &mut Request<B>,
    limits: Limits,
) {
    // The copy's own: nobody waits for it, so only what it holds counts.
    let limits = Limits {
        whole: Some(limits.route.unwrap_or(DEFAULT_ROUTE_TIMEOUT)),
        ..Limits::default()
    };
    for mirror in mirrors {
        if start(shared, mirror, request, limits).is_none() {
            shared.mirrors.dropped();
        }
    }
}

/// `None` when the request cannot be copied, or too many copies are on their way.
fn start<B: 'static>(
    shared: &Arc<Shared>,
    mirror: Mirror,
    request: &mut Request<B>,
    limits: Limits,
) -> Option<()> {
    let runtime = Handle::try_current().ok()?;
    let slot = shared.mirrors.slot()?;
    let length = content_length(request.headers());
    // A foreign client's body can be read once, by that client.
    let body = (request.body_mut() as &mut dyn Any).downcast_mut::<Body>()?;
    let body = body.copy(length, &shared.mirrors)?;
    let routed = Routed {
        request: copy(request, body, &mirror.host)?,
        destination: Destination {
            goal: Goal::Cluster(mirror.cluster),
            place: mirror.place,
        },
        limits,
        since: None,
        due: None,
        retries: None,
        was: None,
    };
    shared.mirrors.begun.fetch_add(1, Relaxed);
    runtime.spawn(run(Arc::clone(shared), routed, slot));
    Some(())
}

fn copy<B>(request: &Request<B>, body: Body, host: &MirrorHost) -> Option<Request<Body>> {
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.version_mut() = request.version();
    let (mut uri, mut headers) = (request.uri().clone(), request.headers().clone());
    host.rewrite(&mut uri, &mut headers).ok()?;
    *copy.uri_mut() = uri;
    *copy.headers_mut() = headers;
    Some(copy)
}

/// The response is read, so that its connection can be used again.
async fn run(shared: Arc<Shared>, routed: Routed, _slot: Slot) {
    let mut stack = RetryLayer.layer(Dispatch::new(shared));
    let ended = match stack.call(routed).await {
        Ok(answered) => drain(answered.response.into_body()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a mirrored request failed");
    }
}

async fn drain(mut body: Body) -> Result<(), crate::error::Error> {
    while let Some(frame) = body.frame().await {
        drop(frame?);
    }
    Ok(())
}
