//! Chooses the route and the cluster. The snapshot is loaded once and let go before anything waits.

mod asked;
mod by_listener;
mod change;
mod decide;
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
use tower_layer::Layer;
use tower_service::Service;

use super::head::Head;
use super::options::{CallOptions, Due};
use super::seam::{Answered, CallInfo, Destination, Goal, Routed};
use crate::body::Body;
use crate::error::{Error, Kind, Place};
use crate::mesh::Shared;
use asked::Asked;
pub(crate) use asked::{Carrier, invalid};
use change::Change;
use decide::{Chosen, Decision, decide, wait};

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
    fn untouched<B>(&self, mut request: Request<B>) -> (Routed<B>, Ending) {
        let authority = request.uri().authority().cloned();
        let options = CallOptions::take(request.extensions_mut());
        let destination = Destination {
            goal: Goal::Beyond(Arc::clone(self.shared.outside.own())),
            place: Place::default(),
        };
        let ending = Ending {
            authority,
            place: self.call_info.then(Place::default),
            change: None,
        };
        let routed = Routed {
            request,
            destination,
            limits: Limits::default(),
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
        let layer = &self.layer;
        let shared = &layer.shared;
        if layer.carrier == Carrier::Foreign && shared.is_direct {
            let (routed, ending) = layer.untouched(request);
            let call = self.inner.call(routed);
            return RouteFuture::Calling { call, ending };
        }
        let read = Asked::of(
            &mut request,
            layer.scope,
            shared.normalization,
            layer.carrier,
        );
        let (asked, was) = match read {
            Ok(read) => read,
            Err(error) => return RouteFuture::Refused { error: Some(error) },
        };
        let deadline = asked.time.grpc_timeout.filter(|_| layer.deadlines);
        let options = CallOptions::take(request.extensions_mut());
        let terms = Terms {
            due: Due::of(&options, deadline),
            retries: options.retries,
            was: was
                .filter(|_| layer.carrier == Carrier::Foreign)
                .map(Box::new),
            call_info: layer.call_info,
        };
        let subset = options.subset.as_deref();
        match decide(shared, asked, Head::of(&request), subset) {
            Decision::To(chosen) => match begin(request, chosen, terms) {
                Ok((routed, ending)) => RouteFuture::Calling {
                    call: self.inner.call(routed),
                    ending,
                },
                Err(error) => RouteFuture::Refused { error: Some(error) },
            },
            Decision::Fail(error) => RouteFuture::Refused { error: Some(error) },
            Decision::Wait(..) => {
                let (shared, mut inner) = (Arc::clone(shared), self.inner.clone());
                let waiting = Box::pin(async move {
                    let (head, body) = request.into_parts();
                    let subset = options.subset.as_deref();
                    let chosen = wait(&shared, asked, &head, terms.due, subset).await?;
                    let request = Request::from_parts(head, body);
                    let (routed, mut ending) = begin(request, chosen, terms)?;
                    let result = inner.call(routed).await;
                    ending.of(result)
                });
                RouteFuture::Waiting { waiting }
            }
        }
    }
}

/// What is known of a call before its route is.
struct Terms {
    due: Option<Due>,
    /// How often the caller lets it be repeated.
    retries: Option<u32>,
    was: Option<Box<Uri>>,
    call_info: bool,
}

/// Makes a request ready to go, and what is to be done when its response comes.
fn begin<B>(
    request: Request<B>,
    chosen: Chosen,
    terms: Terms,
) -> Result<(Routed<B>, Ending), Error> {
    let Chosen {
        destination,
        limits,
        change,
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
    if let Goal::Beyond(_) = destination.goal
        && rewrites
        && let Err(reason) = change::keep_destination(&mut request, authority.as_ref())
    {
        return Err(invalid(reason, destination.place));
    }
    let ending = Ending {
        authority,
        place: terms.call_info.then(|| destination.place.clone()),
        change,
    };
    let routed = Routed {
        request,
        destination,
        limits,
        due: terms.due,
        retries: terms.retries,
        was,
    };
    Ok((routed, ending))
}

/// What is left to do at the end of a call.
#[derive(Debug)]
pub struct Ending {
    authority: Option<Authority>,
    place: Option<Place>,
    change: Option<Change>,
}

impl Ending {
    fn of(&mut self, result: Result<Answered, Error>) -> Result<Response<Body>, Error> {
        let mut answered = result.map_err(|error| error.called(self.authority.as_ref()))?;
        if let Some(change) = &self.change {
            change.response(&mut answered);
        }
        Ok(informed(answered, self.place.take()))
    }
}

type Waiting = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

pin_project! {
    /// The future of [`Route`]. Only a call that has to wait for its configuration costs a box.
    #[project = Step]
    pub enum RouteFuture<F> {
        #[doc(hidden)]
        Refused { error: Option<Error> },
        #[doc(hidden)]
        Calling { #[pin] call: F, ending: Ending },
        #[doc(hidden)]
        Waiting { waiting: Waiting },
    }
}

impl<F: Future<Output = Result<Answered, Error>>> Future for RouteFuture<F> {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
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
        f.write_str(match self {
            Self::Refused { .. } => "Refused",
            Self::Calling { .. } => "Calling",
            Self::Waiting { .. } => "Waiting",
        })
    }
}

/// Adds what the caller asked to know.
fn informed(answered: Answered, place: Option<Place>) -> Response<Body> {
    let Answered {
        mut response,
        endpoint,
        attempts,
    } = answered;
    if let Some(place) = place {
        response.extensions_mut().insert(CallInfo {
            route: place.route.unwrap_or_default(),
            cluster: place.cluster.unwrap_or_default(),
            endpoint,
            generation: place.generation,
            attempts,
        });
    }
    response
}
