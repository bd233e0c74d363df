//! What the configuration says of a request: now, or once it has arrived.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use mesh_core::RequestView;
use mesh_core::route::{Action, Choice, Forward, Limits, drawn};
use mesh_core::snapshot::Missing;
use mesh_xds::{Dialect, Wanted};

use super::asked::Asked;
use super::by_listener;
use super::change::Change;
use super::inject::inject;
use super::outside::{self, CatchAll};
use super::subset;
use crate::client::fault::Fault;
use crate::client::head::Head;
use crate::client::limit::Expired;
use crate::client::mirror::Mirror;
use crate::client::options::Due;
use crate::client::seam::{Destination, Goal};
use crate::error::{Error, Kind, Place, Sent};
use crate::live::{LiveCluster, LiveSnapshot, LiveTarget};
use crate::mesh::Shared;
use crate::random::SplitMix;
use crate::telemetry::Edge;

/// How long a call waits for the first configuration of its target.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the configuration of this moment says of a request.
pub(super) enum Decision<T = Chosen> {
    To(T),
    Fail(Error),
    /// It says nothing yet; what is missing belongs to this, and the text names it.
    Wait(Wanted, String),
}

impl<T> Decision<T> {
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
    pub(super) extra: Option<Box<Extra>>,
    /// Where an answer of the configuration itself is counted.
    pub(super) edge: Option<Arc<Edge>>,
}

/// What few routes have.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub(super) fault: Option<Fault>,
    pub(super) mirrors: Vec<Mirror>,
}

impl Chosen {
    /// Whether a fault makes it wait.
    pub(super) fn delays(&self) -> bool {
        let fault = self.extra.as_ref().and_then(|extra| extra.fault.as_ref());
        fault.is_some_and(Fault::delays)
    }

    fn answer(
        goal: Goal,
        place: Place,
        limits: Limits,
        extra: Option<Box<Extra>>,
        edge: &Arc<Edge>,
    ) -> Self {
        Self {
            destination: Destination { goal, place },
            limits,
            change: None,
            extra,
            edge: Some(Arc::clone(edge)),
        }
    }
}

/// With a `subset`, the caller has chosen among the route's clusters.
pub(super) fn decide(
    shared: &Shared,
    asked: &Asked,
    head: Head<'_>,
    subset: Option<&str>,
) -> Decision {
    let snapshot = shared.live.load();
    match look_up(shared, &snapshot, asked, head, subset) {
        Found::Target(target) => {
            to_target(shared, target, asked, head, subset, snapshot.generation)
        }
        Found::Decided(decision) => decision,
    }
}

/// What a snapshot has for a request.
#[allow(
    clippy::large_enum_variant,
    reason = "it lives for a moment on the stack of a call, where a box would be an allocation"
)]
pub(super) enum Found<'a> {
    /// The virtual host whose routes decide, nothing of it missing.
    Target(&'a Arc<LiveTarget>),
    /// No route is asked.
    Decided(Decision),
}

/// Finds the virtual host of a request. Draws nothing, but for `https`.
pub(super) fn look_up<'a>(
    shared: &Shared,
    snapshot: &'a LiveSnapshot,
    asked: &Asked,
    head: Head<'_>,
    subset: Option<&str>,
) -> Found<'a> {
    match found(shared, snapshot, asked, head, subset) {
        Found::Target(target) => match &target.waiting_for {
            // It was asked for, or it would not be there.
            Some(missing) => Decision::Wait(asked.table.clone().into(), missing.to_string()).into(),
            None => Found::Target(target),
        },
        decided @ Found::Decided(_) => decided,
    }
}

impl From<Decision> for Found<'_> {
    fn from(decision: Decision) -> Self {
        Self::Decided(decision)
    }
}

fn found<'a>(
    shared: &Shared,
    snapshot: &'a LiveSnapshot,
    asked: &Asked,
    head: Head<'_>,
    subset: Option<&str>,
) -> Found<'a> {
    if shared.is_direct {
        return outside::direct(shared, asked, head).into();
    }
    let key = &asked.table;
    let authority = head.authority();
    let place = || Place {
        authority: Some(authority.into()),
        generation: snapshot.generation,
        ..Place::default()
    };
    let table = snapshot.tables.get(key);
    if shared.dialect == Dialect::Grpc {
        let found = table.and_then(|table| table.find_split(authority, asked.host(head)));
        return match found.filter(|_| !asked.secure) {
            Some(target) => Found::Target(target),
            None => by_listener::unserved(table, asked, head, &place()).into(),
        };
    }
    let Some(table) = table else {
        return Decision::waiting_for(key.clone()).into();
    };
    if asked.secure {
        if let Some(subset) = subset {
            let reason = subset::without_route(subset);
            return Decision::Fail(Error::new(NO_SUBSET, place(), reason)).into();
        }
        return outside::secure(shared, snapshot, table, asked, head).into();
    }
    let mut found = table.find_split(authority, asked.host(head));
    if found.is_none() && !matches!(table.missing, Some(Missing::NotReceived(_))) {
        match outside::catch_all(snapshot, key, table) {
            CatchAll::Target(target) => found = Some(target),
            CatchAll::Wait(key) => return Decision::waiting_for(key).into(),
            CatchAll::Unknown(reason) => {
                return Decision::Fail(outside::unknown(reason, place())).into();
            }
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
        return Decision::Fail(Error::new(kind, place(), reason)).into();
    };
    Found::Target(target)
}

fn to_target(
    shared: &Shared,
    target: &LiveTarget,
    asked: &Asked,
    head: Head<'_>,
    subset: Option<&str>,
    generation: u64,
) -> Decision {
    match routed(shared, target, asked, head, subset, generation) {
        Ok(chosen) => Decision::To(chosen),
        Err((kind, place_of_route, reason)) => {
            let place = Place {
                authority: Some(head.authority().into()),
                ..place_of_route
            };
            Decision::Fail(Error::new(kind, place, reason).toward(target.edge(&shared.edges)))
        }
    }
}

pub(super) fn routed(
    shared: &Shared,
    target: &LiveTarget,
    asked: &Asked,
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
        return Err((Kind::NoRoute, place, no_route(target, view)));
    };
    place.route = Some(Arc::clone(&route.name));
    let forward = match &route.action {
        Action::Forward(forward) => forward,
        Action::DirectResponse(_) | Action::Redirect(_) => {
            let edge = target.edge(&shared.edges);
            let (extra, abort) = inject(shared, asked, route, None, None, view, &mut rng);
            let goal = abort.unwrap_or_else(|| Goal::Answer(Arc::clone(route)));
            return Ok(Chosen::answer(goal, place, Limits::default(), extra, edge));
        }
        Action::Unsupported(what) => {
            let reason = format!("the route's action {what} is not supported yet");
            return Err((Kind::Unsupported, place, reason));
        }
    };
    let choice = match subset {
        None => forward.choose(view, &mut rng),
        Some(name) => match subset::choose(&target.host, route, forward, name) {
            Ok(choice) => choice,
            Err(reason) => return Err((NO_SUBSET, place, reason)),
        },
    };
    let name = target.host.cluster(choice.cluster);
    place.cluster = name.cloned();
    let limits = forward.timeouts.of(&asked.time);
    let by = Some((&**forward, choice));
    let (mut extra, abort) = inject(shared, asked, route, by, name, view, &mut rng);
    if let Some(goal) = abort {
        // As Envoy does, at the cluster that it would have gone to.
        let edge = reached(target, forward, choice).map(|(cluster, _)| &cluster.edge);
        let edge = edge.unwrap_or_else(|_| target.edge(&shared.edges));
        return Ok(Chosen::answer(goal, place, limits, extra, edge));
    }
    let goal = reached(target, forward, choice)
        .and_then(|(cluster, name)| Ok((outside::goal(shared, cluster, asked, head)?, name)));
    let (goal, name) = match goal {
        Ok(goal) => goal,
        Err((kind, reason)) => return Err((kind, place, reason)),
    };
    if !forward.mirrors.is_empty() && !asked.secure && goes(&goal) {
        let mirrors = mirrors(target, forward, &place, &mut rng);
        extra.get_or_insert_default().mirrors = mirrors;
    }
    Ok(Chosen {
        destination: Destination { goal, place },
        limits,
        change: Change::of(route, forward, choice, name, &asked.time),
        extra,
        edge: None,
    })
}

fn no_route(target: &LiveTarget, view: &RequestView<'_>) -> String {
    format!(
        "no route of virtual host {:?} matches {} {} and its headers",
        target.host.name(),
        view.method,
        view.path
    )
}

/// A subset that the call itself asks for and no route leads to.
const NO_SUBSET: Kind = Kind::NoCluster(StatusCode::SERVICE_UNAVAILABLE);

type Named<'a> = (&'a Arc<LiveCluster>, &'a Arc<str>);

/// The cluster of a choice with its name, if it can be used.
fn reached<'a>(
    target: &'a LiveTarget,
    forward: &Forward,
    choice: &Choice,
) -> Result<Named<'a>, (Kind, String)> {
    let not_found = Kind::NoCluster(forward.cluster_not_found);
    let name = target.host.cluster(choice.cluster);
    let Some((cluster, name)) = target.cluster(choice.cluster).zip(name) else {
        let reason = "there is no such cluster; check the host, the port and the subset of the route's destination, and that a DestinationRule defines the subset";
        return Err((not_found, reason.to_owned()));
    };
    match &cluster.model.fault {
        Some(fault) => Err((not_found, fault.to_string())),
        None => Ok((cluster, name)),
    }
}

/// Whether there is anyone to call. Envoy sends no copy of a request that it cannot send.
fn goes(goal: &Goal) -> bool {
    match goal {
        Goal::Cluster(cluster) => cluster.model.balancer.eligible() > 0,
        _ => true,
    }
}

/// The mirrors of one request whose clusters are there.
fn mirrors(
    target: &LiveTarget,
    forward: &Forward,
    place: &Place,
    rng: &mut SplitMix,
) -> Vec<Mirror> {
    let mirror = |mirror: &mesh_core::route::Mirror| {
        Some(Mirror {
            cluster: Arc::clone(target.cluster(mirror.cluster)?),
            host: mirror.host.clone(),
            place: Place {
                cluster: target.host.cluster(mirror.cluster).cloned(),
                ..place.clone()
            },
        })
    };
    let drawn = drawn(&forward.mirrors, rng);
    drawn.filter_map(mirror).collect()
}

/// Waits until the configuration says something of the request, and then what it says.
pub(super) async fn wait(
    shared: &Shared,
    asked: &Asked,
    parts: &Parts,
    due: Option<Due>,
    subset: Option<&str>,
) -> Result<Chosen, Error> {
    let head = Head::of_parts(parts);
    until_decided(shared, head, due, || decide(shared, asked, head, subset)).await
}

/// The same for any decision.
pub(super) async fn until_decided<T>(
    shared: &Shared,
    head: Head<'_>,
    due: Option<Due>,
    decide: impl Fn() -> Decision<T>,
) -> Result<T, Error> {
    let mut generations = shared.live.subscribe();
    let patience = tokio::time::Instant::now() + PATIENCE;
    let impatient = due.filter(|due| due.at < patience);
    let deadline = impatient.map_or(patience, |due| due.at);
    loop {
        generations.borrow_and_update();
        let missing = match decide() {
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
