//! What the configuration says of a request: now, or once it has arrived.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use mesh_core::route::{Action, Limits};
use mesh_core::snapshot::Missing;
use mesh_xds::{Dialect, Wanted};

use super::asked::Asked;
use super::by_listener;
use super::change::Change;
use super::outside::{self, CatchAll};
use super::subset;
use crate::client::head::Head;
use crate::client::limit::Expired;
use crate::client::options::Due;
use crate::client::seam::{Destination, Goal};
use crate::error::{Error, Kind, Place, Sent};
use crate::live::LiveTarget;
use crate::mesh::Shared;

/// How long a call waits for the first configuration of its target.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the configuration of this moment says of a request.
pub(super) enum Decision {
    To(Chosen),
    Fail(Error),
    /// It says nothing yet; what is missing belongs to this, and the text names it.
    Wait(Wanted, String),
}

impl Decision {
    pub(super) fn waiting_for(wanted: impl Into<Wanted>) -> Self {
        let wanted = wanted.into();
        let text = wanted.to_string();
        Self::Wait(wanted, text)
    }
}

/// Where a request goes, how long that may take, and what is changed on the way.
pub(super) struct Chosen {
    pub(super) destination: Destination,
    pub(super) limits: Limits,
    pub(super) change: Option<Change>,
}

impl Chosen {
    fn answer(route: &Arc<mesh_core::route::Route>, place: Place) -> Self {
        Self {
            destination: Destination {
                goal: Goal::Answer(Arc::clone(route)),
                place,
            },
            limits: Limits::default(),
            change: None,
        }
    }
}

/// With a `subset`, the caller has chosen among the route's clusters.
pub(super) fn decide(
    shared: &Shared,
    asked: Asked,
    head: Head<'_>,
    subset: Option<&str>,
) -> Decision {
    if shared.is_direct {
        return outside::direct(shared, asked, head);
    }
    let key = asked.table;
    let authority = head.authority();
    let snapshot = shared.live.load();
    let place = || Place {
        authority: Some(authority.into()),
        generation: snapshot.generation,
        ..Place::default()
    };
    let table = snapshot.tables.get(&key);
    if shared.dialect == Dialect::Grpc {
        let found = table.and_then(|table| table.find_split(authority, asked.host(head)));
        return match found.filter(|_| !asked.secure) {
            Some(target) => to_target(shared, target, asked, head, subset, snapshot.generation),
            None => by_listener::unserved(table, asked, head, place()),
        };
    }
    let Some(table) = table else {
        return Decision::waiting_for(key);
    };
    if asked.secure {
        if let Some(subset) = subset {
            let reason = subset::without_route(subset);
            return Decision::Fail(Error::new(Kind::NoCluster, place(), reason));
        }
        return outside::secure(shared, &snapshot, table, asked, head);
    }
    let mut found = table.find_split(authority, asked.host(head));
    if found.is_none() && !matches!(table.missing, Some(Missing::NotReceived(_))) {
        match outside::catch_all(&snapshot, key, table) {
            CatchAll::Target(target) => found = Some(target),
            CatchAll::Wait(key) => return Decision::waiting_for(key),
            CatchAll::Unknown(reason) => return Decision::Fail(outside::unknown(reason, place())),
            CatchAll::Nothing => {}
        }
    }
    let Some(target) = found else {
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
    to_target(shared, target, asked, head, subset, snapshot.generation)
}

fn to_target(
    shared: &Shared,
    target: &LiveTarget,
    asked: Asked,
    head: Head<'_>,
    subset: Option<&str>,
    generation: u64,
) -> Decision {
    if let Some(missing) = &target.waiting_for {
        // It was asked for, or it would not be there.
        return Decision::Wait(asked.table.into(), missing.to_string());
    }
    match routed(shared, target, asked, head, subset, generation) {
        Ok(chosen) => Decision::To(chosen),
        Err((kind, place_of_route, reason)) => {
            let place = Place {
                authority: Some(head.authority().into()),
                ..place_of_route
            };
            Decision::Fail(Error::new(kind, place, reason))
        }
    }
}

pub(super) fn routed(
    shared: &Shared,
    target: &LiveTarget,
    asked: Asked,
    head: Head<'_>,
    subset: Option<&str>,
    generation: u64,
) -> Result<Chosen, (Kind, Place, String)> {
    let view = &head.view();
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
    let forward = match &route.action {
        Action::Forward(forward) => forward,
        Action::DirectResponse(_) | Action::Redirect(_) => return Ok(Chosen::answer(route, place)),
        Action::Unsupported(what) => {
            let reason = format!("the route's action {what} is not supported yet");
            return Err((Kind::Unsupported, place, reason));
        }
    };
    let choice = match subset {
        None => forward.choose(view, &mut rng),
        Some(name) => match subset::choose(&target.host, route, forward, name) {
            Ok(choice) => choice,
            Err(reason) => return Err((Kind::NoCluster, place, reason)),
        },
    };
    let name = target.host.cluster(choice.cluster);
    place.cluster = name.cloned();
    let Some((cluster, name)) = target.cluster(choice.cluster).zip(name) else {
        let reason = "there is no such cluster; check the host, the port and the subset of the route's destination, and that a DestinationRule defines the subset";
        return Err((Kind::NoCluster, place, reason.to_owned()));
    };
    if let Some(fault) = &cluster.model.fault {
        return Err((Kind::NoCluster, place, fault.to_string()));
    }
    let goal = match outside::goal(shared, cluster, asked, head) {
        Ok(goal) => goal,
        Err((kind, reason)) => return Err((kind, place, reason)),
    };
    Ok(Chosen {
        destination: Destination { goal, place },
        limits: forward.timeouts.of(&asked.time),
        change: Change::of(route, forward, choice, name, &asked.time),
    })
}

/// Waits until the configuration says something of the request, and then what it says.
pub(super) async fn wait(
    shared: &Shared,
    asked: Asked,
    parts: &Parts,
    due: Option<Due>,
    subset: Option<&str>,
) -> Result<Chosen, Error> {
    let head = Head::of_parts(parts);
    let mut generations = shared.live.subscribe();
    let patience = tokio::time::Instant::now() + PATIENCE;
    let impatient = due.filter(|due| due.at < patience);
    let deadline = impatient.map_or(patience, |due| due.at);
    loop {
        generations.borrow_and_update();
        let missing = match decide(shared, asked, head, subset) {
            Decision::To(chosen) => return Ok(chosen),
            Decision::Fail(error) => return Err(error),
            Decision::Wait(wanted, missing) => {
                shared.want(wanted);
                missing
            }
        };
        let generation = *generations.borrow();
        let changed = tokio::time::timeout_at(deadline, generations.changed());
        // Without anybody who could bring a configuration there is nothing to wait for.
        if shared.wanted.is_closed() || !matches!(changed.await, Ok(Ok(()))) {
            let place = Place {
                authority: Some(head.authority().into()),
                generation,
                ..Place::default()
            };
            return Err(match impatient.filter(|_| !shared.wanted.is_closed()) {
                Some(due) => Expired::waiting(due).error(place, Sent::NotSent),
                None => Error::new(
                    Kind::NotReady,
                    place,
                    shared.why_not_ready(&missing, PATIENCE),
                ),
            });
        }
    }
}
