//! Chooses the route and the cluster. The snapshot is loaded once and let go before anything waits.

mod asked;
mod by_listener;
mod change;
mod decide;
mod explain;
mod inject;
mod outside;
mod subset;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::uri::Authority;
use http::{Request, Response, Uri};
use mesh_core::route::Limits;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::head::Head;
use super::mirror;
use super::options::{CallOptions, Due};
use super::seam::{Answered, CallInfo, Destination, Goal, Routed};
use crate::body::Body;
use crate::error::{Error, Kind, Place};
use crate::mesh::Shared;
use crate::telemetry::{Account, Begun, Edge, Toward};
use asked::Asked;
pub(crate) use asked::{Carrier, invalid};
use change::Change;
use decide::{Chosen, Decision, Extra, decide, wait};
pub(crate) use explain::explain;

/// Which routes a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A workload's: by the port of each request.
    Mesh,
    /// A gateway's: one table, whatever the request's port.
    Gateway(u16),
}

/// Puts [`Route`] around a service of routed requests.
#[derive(Debug, Clone)]
pub struct RouteLayer {
    shared: Arc<Shared>,
    scope: Scope,
    carrier: Carrier,
    deadlines: bool,
    call_info: bool,
}

impl RouteLayer {
    /// With `deadlines`, a request's `grpc-timeout` limits it whatever the route admits.
    pub(crate) const fn new(
        shared: Arc<Shared>,
        scope: Scope,
        deadlines: bool,
        call_info: bool,
    ) -> Self {
        Self {
            shared,
            scope,
            carrier: Carrier::Own,
            deadlines,
            call_info,
        }
    }

    /// For a client that has connections of its own.
    pub(super) const fn foreign(shared: Arc<Shared>, call_info: bool) -> Self {
        Self {
            shared,
            scope: Scope::Mesh,
            carrier: Carrier::Foreign,
            deadlines: false,
            call_info,
        }
    }

    /// A request of a mesh that is off, which goes on to a foreign client as if there were no layer. It is counted.
    fn untouched<B>(&self, mut request: Request<B>, begun: Begun) -> (Routed<B>, Ending) {
        let authority = request.uri().authority().cloned();
        let options = CallOptions::take(request.extensions_mut());
        let destination = Destination {
            goal: Goal::Beyond(Arc::clone(self.shared.outside.own())),
            place: Place::default(),
        };
        let ending = Ending {
            authority,
            place: self.call_info.then(Box::default),
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
        (routed, ending)
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Route<S> {
        Route {
            layer: self.clone(),
            inner,
        }
    }
}

/// The service of [`RouteLayer`].
#[derive(Debug, Clone)]
pub struct Route<S> {
    layer: RouteLayer,
    inner: S,
}

impl<S, B> Service<Request<B>> for Route<S>
where
    S: Service<Routed<B>, Response = Answered, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = RouteFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let begun = Begun::now(request.headers());
        let layer = &self.layer;
        let shared = &layer.shared;
        if layer.carrier == Carrier::Foreign && shared.is_direct {
            let (routed, ending) = layer.untouched(request, begun);
            let call = self.inner.call(routed);
            return State::Calling { call, ending }.into();
        }
        let read = Asked::of(
            &mut request,
            layer.scope,
            shared.normalization,
            layer.carrier,
        );
        let (asked, was) = match read {
            Ok(read) => read,
            Err(error) => return refused(shared, begun, error),
        };
        let deadline = asked.time.grpc_timeout.filter(|_| layer.deadlines);
        let options = CallOptions::take(request.extensions_mut());
        let terms = Terms {
            begun,
            due: Due::of(&options, deadline),
            retries: options.retries,
            was: was
                .filter(|_| layer.carrier == Carrier::Foreign)
                .map(Box::new),
            call_info: layer.call_info,
        };
        let subset = options.subset.as_deref();
        match decide(shared, asked, Head::of(&request), subset) {
            Decision::To(chosen) if chosen.delays() => {
                let (shared, inner) = (Arc::clone(shared), self.inner.clone());
                let waiting = Box::pin(delayed(shared, request, chosen, terms, inner));
                State::Waiting { waiting }.into()
            }
            Decision::To(chosen) => match begin(shared, request, chosen, terms, None) {
                Ok((routed, ending)) => {
                    let call = self.inner.call(routed);
                    State::Calling { call, ending }.into()
                }
                Err(error) => refused(shared, begun, error),
            },
            Decision::Fail(error) => refused(shared, begun, error),
            Decision::Wait(..) => {
                let (shared, inner) = (Arc::clone(shared), self.inner.clone());
                let waiting = Box::pin(async move {
                    let (head, body) = request.into_parts();
                    let subset = options.subset.as_deref();
                    // A caller that waits no longer is counted too.
                    let nowhere = Toward::Edge(Arc::clone(shared.edges.nowhere()));
                    let waiter = begun.toward(nowhere);
                    let waited = wait(&shared, asked, &head, terms.due, subset).await;
                    waiter.void();
                    let request = Request::from_parts(head, body);
                    let chosen = waited.inspect_err(|error| begun.refused(&shared.edges, error))?;
                    delayed(shared, request, chosen, terms, inner).await
                });
                State::Waiting { waiting }.into()
            }
        }
    }
}

/// A call that ends before it goes anywhere.
fn refused<F>(shared: &Shared, begun: Begun, error: Error) -> RouteFuture<F> {
    begun.refused(&shared.edges, &error);
    State::Refused { error: Some(error) }.into()
}

/// What is known of a call before its route is.
struct Terms {
    begun: Begun,
    due: Option<Due>,
    /// How often the caller lets it be repeated.
    retries: Option<u32>,
    was: Option<Box<Uri>>,
    call_info: bool,
}

/// A call that waits for as long as a fault says, if it has one.
async fn delayed<S, B>(
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
            let waiter = terms.begun.toward(toward(&chosen.destination.goal, edge));
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

/// Makes a request ready to go, and what is to be done when its response comes.
fn begin<B: 'static>(
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
    if let Goal::Beyond(_) = destination.goal
        && rewrites
        && let Err(reason) = change::keep_destination(&mut request, authority.as_ref())
    {
        return Err(invalid(reason, destination.place));
    }
    let ending = Ending {
        authority,
        place: terms.call_info.then(|| Box::new(destination.place.clone())),
        change,
        extra,
        account: Some(terms.begun.toward(toward(&destination.goal, edge))),
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
        (Goal::Cluster(cluster) | Goal::Beyond(cluster), None) => {
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
struct Ending {
    authority: Option<Authority>,
    place: Option<Box<Place>>,
    change: Option<Change>,
    extra: Option<Box<Extra>>,
    account: Option<Account>,
}

impl Ending {
    fn of(&mut self, result: Result<Answered, Error>) -> Result<Response<Body>, Error> {
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
            account.flagged(flags);
            response.body_mut().account(account);
        }
        Ok(informed(answered, self.place.take(), flags))
    }
}

type Waiting = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

pin_project! {
    /// The future of [`Route`]. Only a call that has to wait, for its configuration or
    /// because a fault delays it, costs a box.
    pub struct RouteFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = Step]
    enum State<F> {
        Refused { error: Option<Error> },
        Calling { #[pin] call: F, ending: Ending },
        Waiting { waiting: Waiting },
    }
}

impl<F> From<State<F>> for RouteFuture<F> {
    fn from(state: State<F>) -> Self {
        Self { state }
    }
}

impl<F: Future<Output = Result<Answered, Error>>> Future for RouteFuture<F> {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            // Polled again after its end, as no caller may: never ready.
            Step::Refused { error } => error
                .take()
                .map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
            Step::Calling { call, ending } => Poll::Ready(ending.of(ready!(call.poll(cx)))),
            Step::Waiting { waiting } => waiting.as_mut().poll(cx),
        }
    }
}

impl<F> fmt::Debug for RouteFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Refused { .. } => "Refused",
            State::Calling { .. } => "Calling",
            State::Waiting { .. } => "Waiting",
        })
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
