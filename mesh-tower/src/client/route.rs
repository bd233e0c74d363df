//! Chooses the route and the cluster. The snapshot is loaded once and let go before anything waits.

mod asked;
mod by_listener;
mod change;
mod course;
mod decide;
mod explain;
mod inject;
mod outside;
mod subset;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::head::Head;
use super::options::{CallOptions, Due};
use super::seam::{Answered, Routed};
use crate::body::Body;
use crate::error::Error;
use crate::mesh::Shared;
use crate::telemetry::{Begun, Toward};
use asked::Asked;
pub(crate) use asked::{Carrier, invalid};
use course::{Ending, Terms, begin, delayed, untouched};
use decide::{Decision, decide, wait};
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
            let routed = untouched(shared, request, begun, layer.call_info);
            return self.calling(routed, begun);
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
        match decide(shared, &asked, Head::of(&request), subset) {
            Decision::To(chosen) if chosen.delays() => {
                let (shared, inner) = (Arc::clone(shared), self.inner.clone());
                let waiting = Box::pin(delayed(shared, request, chosen, terms, inner));
                State::Waiting { waiting }.into()
            }
            Decision::To(chosen) => {
                let routed = begin(shared, request, chosen, terms, None);
                self.calling(routed, begun)
            }
            Decision::Fail(error) => refused(shared, begun, error),
            Decision::Wait(..) => {
                let (shared, inner) = (Arc::clone(shared), self.inner.clone());
                let waiting = Box::pin(async move {
                    let (head, body) = request.into_parts();
                    let subset = options.subset.as_deref();
                    // A caller that waits no longer is counted too.
                    let nowhere = Toward::Edge(Arc::clone(shared.edges.nowhere()));
                    let waiter = begun.toward(nowhere);
                    let waited = wait(&shared, &asked, &head, terms.due, subset).await;
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

impl<S> Route<S> {
    /// The call that is due, or why there is none.
    fn calling<B>(
        &mut self,
        routed: Result<(Routed<B>, Ending), Error>,
        begun: Begun,
    ) -> RouteFuture<S::Future>
    where
        S: Service<Routed<B>>,
    {
        match routed {
            Ok((routed, ending)) => {
                let call = self.inner.call(routed);
                State::Calling { call, ending }.into()
            }
            Err(error) => refused(&self.layer.shared, begun, error),
        }
    }
}

/// A call that ends before it goes anywhere.
fn refused<F>(shared: &Shared, begun: Begun, error: Error) -> RouteFuture<F> {
    begun.refused(&shared.edges, &error);
    State::Refused { error: Some(error) }.into()
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
