//! One call's course: what is known of it, its way to the inner service, and what is left to do at its end.

use std::sync::Arc;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use mesh_core::route::Limits;
use tokio::time::Instant;
use tower_service::Service;

use super::change::{self, Change};
use super::decide::{Chosen, Extra};
use crate::body::Body;
use crate::client::mirror;
use crate::client::options::{CallOptions, Due};
use crate::client::seam::{Answered, CallInfo, Destination, Goal, Routed};
use crate::error::{Error, Kind, Place};
use crate::mesh::Shared;
use crate::telemetry::{Account, Begun, Edge, Toward};

/// Envoy's flag for a request that a fault makes wait, or made.
/// A delay on a route whose cluster is not there is not waited for, where Envoy waits and then tells `DI,NC`.
const DELAYED: &str = "DI";

/// What is known of a call before its route is.
pub(super) struct Terms {
    pub(super) begun: Begun,
    pub(super) due: Option<Due>,
    /// How often the caller lets it be repeated.
    pub(super) retries: Option<u32>,
    pub(super) was: Option<Box<Uri>>,
    pub(super) call_info: bool,
}

/// A call that waits for as long as a fault says, if it has one.
pub(super) async fn delayed<S, B>(
    shared: Arc<Shared>,
    request: Request<B>,
    chosen: Chosen,
    terms: Terms,
    mut inner: S,
) -> Result<Response<Body>, Error>
where
    S: Service<Routed<B>, Response = Answered, Error = Error>,
    B: 'static,
{
    let fault = chosen.extra.as_ref().and_then(|extra| extra.fault.as_ref());
    let since = match fault {
        None => None,
        Some(fault) => {
            let authority = request.uri().authority().cloned();
            // A caller that waits no longer is counted too.
            let edge = chosen.edge.clone();
            let mut waiter = terms.begun.toward(toward(&chosen.destination.goal, edge));
            if fault.delays() {
                waiter.flagged(DELAYED);
            }
            let waited = fault.wait(chosen.limits, terms.due, &chosen.destination.place);
            match waited.await {
                Ok(since) => {
                    waiter.void();
                    since
                }
                Err(error) => {
                    let error = error.called(authority.as_ref());
                    waiter.failed(&error);
                    return Err(error);
                }
            }
        }
    };
    let begun = terms.begun;
    let (routed, mut ending) = begin(&shared, request, chosen, terms, since)
        .inspect_err(|error| begun.refused(&shared.edges, error))?;
    let result = inner.call(routed).await;
    ending.of(result)
}

/// A request of a mesh that is off, which goes on to a foreign client as if there were no layer. It is counted. Plaintext
/// that the mesh permits nowhere goes nowhere here.
pub(super) fn untouched<B>(
    shared: &Shared,
    mut request: Request<B>,
    begun: Begun,
    call_info: bool,
) -> Result<(Routed<B>, Ending), Error> {
    let authority = request.uri().authority().cloned();
    let own = shared.outside.own();
    let permit = shared
        .security
        .crosses(request.uri().scheme() == Some(&Scheme::HTTPS));
    let permit = permit.map_err(|reason| {
        let place = Place {
            authority: authority.as_ref().map(|it| it.as_str().into()),
            ..Place::default()
        };
        Error::new(Kind::TlsDemanded, place, &*reason).toward(&own.edge)
    })?;
    let options = CallOptions::take(request.extensions_mut());
    let destination = Destination {
        goal: Goal::Beyond(Arc::clone(own), permit),
        place: Place::default(),
    };
    let ending = Ending {
        authority,
        place: call_info.then(Box::default),
        change: None,
        extra: None,
        account: Some(begun.toward(toward(&destination.goal, None))),
    };
    let routed = Routed {
        request,
        destination,
        limits: Limits::default(),
        since: None,
        due: Due::of(&options, None),
        retries: options.retries,
        was: None,
    };
    Ok((routed, ending))
}

/// Makes a request ready to go, and what is to be done when its response comes.
pub(super) fn begin<B: 'static>(
    shared: &Arc<Shared>,
    request: Request<B>,
    chosen: Chosen,
    terms: Terms,
    since: Option<Instant>,
) -> Result<(Routed<B>, Ending), Error> {
    let Chosen {
        destination,
        limits,
        change,
        mut extra,
        edge,
    } = chosen;
    // Errors name the authority that was routed by, whatever a rewrite sends.
    let authority = request.uri().authority().cloned();
    // What a route rewrites is not the caller's own any more.
    let rewrites = change.as_ref().is_some_and(Change::rewrites);
    let was = terms.was.filter(|_| !rewrites);
    let changed = match change {
        None => Ok((request, None)),
        Some(change) => change.request(request),
    };
    let invalid = |reason: String, place| {
        Error::new(Kind::InvalidRequest, place, reason).called(authority.as_ref())
    };
    let (mut request, change) = match changed {
        Ok(changed) => changed,
        Err(error) => return Err(invalid(error.to_string(), destination.place)),
    };
    if let Goal::Abort(_) = destination.goal {
        shared.faults.aborted();
    }
    if let Some(extra) = &mut extra {
        let mirrors = std::mem::take(&mut extra.mirrors);
        mirror::send(shared, mirrors, &mut request, limits);
    }
    if let Goal::Beyond(..) = destination.goal
        && rewrites
        && let Err(reason) = change::keep_destination(&mut request, authority.as_ref())
    {
        return Err(invalid(reason, destination.place));
    }
    let mut account = terms.begun.toward(toward(&destination.goal, edge));
    let fault = extra.as_ref().and_then(|extra| extra.fault.as_ref());
    // However the call ends.
    account.flagged(fault.map_or("", |fault| fault.flags));
    let ending = Ending {
        authority,
        place: terms.call_info.then(|| Box::new(destination.place.clone())),
        change,
        extra,
        account: Some(account),
    };
    let routed = Routed {
        request,
        destination,
        limits,
        since,
        due: terms.due,
        retries: terms.retries,
        was,
    };
    Ok((routed, ending))
}

/// Where a call is counted before more is known. An answer of the configuration has an edge of its own.
fn toward(goal: &Goal, edge: Option<Arc<Edge>>) -> Toward {
    match (goal, edge) {
        (_, Some(edge)) => Toward::Edge(edge),
        (Goal::Cluster(cluster) | Goal::Beyond(cluster, _), None) => {
            Toward::Cluster(Arc::clone(cluster))
        }
        (Goal::Outside(cluster, to), None) => {
            Toward::Edge(Arc::clone(to.cells.edge().unwrap_or(&cluster.edge)))
        }
        (Goal::Answer(_) | Goal::Abort(_), None) => Toward::Unknown,
    }
}

/// What is left to do at the end of a call.
#[derive(Debug)]
pub(super) struct Ending {
    authority: Option<Authority>,
    place: Option<Box<Place>>,
    change: Option<Change>,
    extra: Option<Box<Extra>>,
    account: Option<Account>,
}

impl Ending {
    pub(super) fn of(&mut self, result: Result<Answered, Error>) -> Result<Response<Body>, Error> {
        let account = self.account.take();
        let mut answered = match result {
            Ok(answered) => answered,
            Err(error) => {
                if let Some(account) = account {
                    account.failed(&error);
                }
                return Err(error.called(self.authority.as_ref()));
            }
        };
        if let Some(change) = &self.change {
            change.response(&mut answered);
        }
        let fault = self.extra.take().and_then(|extra| extra.fault);
        let flags = fault.map_or("", |fault| fault.flags);
        if let Some(mut account) = account {
            let response = &mut answered.response;
            account.answered(response.status(), response.headers(), answered.edge.take());
            response.body_mut().account(account);
        }
        Ok(informed(answered, self.place.take(), flags))
    }
}

/// Adds what the caller asked to know.
fn informed(answered: Answered, place: Option<Box<Place>>, flags: &'static str) -> Response<Body> {
    let Answered {
        mut response,
        endpoint,
        attempts,
        ..
    } = answered;
    if let Some(place) = place {
        response.extensions_mut().insert(CallInfo {
            route: place.route.unwrap_or_default(),
            cluster: place.cluster.unwrap_or_default(),
            endpoint,
            generation: place.generation,
            attempts,
            flags,
        });
    }
    response
}
