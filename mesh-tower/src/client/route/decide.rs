//! What the configuration says of a request: now, or once it has arrived.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri};
use mesh_core::RequestView;
use mesh_core::route::Action;
use mesh_core::snapshot::Missing;

use super::asked::Asked;
use crate::body::Body;
use crate::client::seam::{Destination, Goal};
use crate::error::{Error, Kind, Place};
use crate::live::LiveTarget;
use crate::mesh::Shared;

/// How long a call waits for the first configuration of its target.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the configuration of this moment says of a request.
pub(super) enum Decision {
    To(Destination),
    Fail(Error),
    /// It says nothing yet; the text names what is missing.
    Wait(String),
}

/// The parts of a request by which it is routed.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    pub(super) fn of(request: &'a Request<Body>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
        }
    }
}

pub(super) fn decide(shared: &Shared, asked: Asked, head: Head<'_>) -> Decision {
    let key = asked.table;
    let Head {
        method,
        uri,
        headers,
    } = head;
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let snapshot = shared.live.load();
    let place = || Place {
        authority: Some(authority.into()),
        generation: snapshot.generation,
        ..Place::default()
    };
    let Some(table) = snapshot.tables.get(&key) else {
        return Decision::Wait(format!("route configuration {:?} (RDS)", key.to_string()));
    };
    let Some(target) = table.find_split(authority, &authority[..asked.host_length]) else {
        let (kind, reason) = match &table.missing {
            Some(Missing::NoSuch(reason)) => (Kind::NoRoute, format!("no routes: {reason}")),
            Some(Missing::NotReceived(reason)) => (Kind::NotReady, format!("no routes: {reason}")),
            None => {
                let reason = format!(
                    "no virtual host of route configuration {:?} matches this host",
                    key.to_string()
                );
                (Kind::NoRoute, reason)
            }
        };
        return Decision::Fail(Error::new(kind, place(), reason));
    };
    if let Some(missing) = &target.waiting_for {
        return Decision::Wait(missing.to_string());
    }
    let view = RequestView {
        method,
        scheme: uri.scheme_str().unwrap_or("http"),
        authority,
        path: uri.path(),
        query: uri.query(),
        headers,
    };
    match routed(shared, target, &view, snapshot.generation) {
        Ok(destination) => Decision::To(destination),
        Err((kind, place_of_route, reason)) => {
            let place = Place {
                authority: Some(authority.into()),
                ..place_of_route
            };
            Decision::Fail(Error::new(kind, place, reason))
        }
    }
}

fn routed(
    shared: &Shared,
    target: &LiveTarget,
    view: &RequestView<'_>,
    generation: u64,
) -> Result<Destination, (Kind, Place, String)> {
    let mut rng = shared.random.next();
    let mut place = Place {
        generation,
        ..Place::default()
    };
    let Some(route) = target.host.find(view, &mut rng) else {
        let reason = format!(
            "no route of virtual host {:?} matches {} {} and its headers",
            target.host.name(),
            view.method,
            view.path
        );
        return Err((Kind::NoRoute, place, reason));
    };
    place.route = Some(Arc::clone(&route.name));
    let index = match &route.action {
        Action::Forward(split) => split.draw(&mut rng),
        Action::DirectResponse(_) => {
            return Ok(Destination {
                goal: Goal::Answer(Arc::clone(route)),
                place,
            });
        }
        Action::Unsupported(what) => {
            return Err((
                Kind::Unsupported,
                place,
                format!("the route's action {what} is not supported yet"),
            ));
        }
    };
    place.cluster = target.host.cluster(index).cloned();
    let Some(cluster) = target.cluster(index) else {
        let reason = "there is no such cluster; check the host, the port and the subset of the route's destination, and that a DestinationRule defines the subset";
        return Err((Kind::NoCluster, place, reason.to_owned()));
    };
    match &cluster.model.fault {
        Some(fault) => Err((Kind::NoCluster, place, fault.to_string())),
        None => Ok(Destination {
            goal: Goal::Cluster(Arc::clone(cluster)),
            place,
        }),
    }
}

/// Waits until the configuration says something of the request, and then what it says.
pub(super) async fn wait(
    shared: &Shared,
    asked: Asked,
    parts: &Parts,
) -> Result<Destination, Error> {
    let head = Head {
        method: &parts.method,
        uri: &parts.uri,
        headers: &parts.headers,
    };
    let mut generations = shared.live.subscribe();
    shared.want(asked.table);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        generations.borrow_and_update();
        let missing = match decide(shared, asked, head) {
            Decision::To(destination) => return Ok(destination),
            Decision::Fail(error) => return Err(error),
            Decision::Wait(missing) => missing,
        };
        let generation = *generations.borrow();
        let changed = tokio::time::timeout_at(deadline, generations.changed());
        // Without anybody who could bring a configuration there is nothing to wait for.
        if shared.wanted.is_closed() || !matches!(changed.await, Ok(Ok(()))) {
            let authority = parts
                .uri
                .authority()
                .map(|authority| authority.as_str().into());
            let place = Place {
                authority,
                generation,
                ..Place::default()
            };
            return Err(Error::new(
                Kind::NotReady,
                place,
                shared.why_not_ready(&missing, PATIENCE),
            ));
        }
    }
}
