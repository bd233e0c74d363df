//! Chooses the route and the cluster. The snapshot is loaded once and let go before anything waits.

mod asked;
mod decide;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::uri::Authority;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::seam::{Answered, CallInfo, Routed};
use crate::body::Body;
use crate::error::{Error, Place};
use crate::mesh::Shared;
use asked::Asked;
pub(crate) use asked::invalid;
use decide::{Decision, Head, decide, wait};

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
    call_info: bool,
}

impl RouteLayer {
    pub(crate) const fn new(shared: Arc<Shared>, scope: Scope, call_info: bool) -> Self {
        Self {
            shared,
            scope,
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

impl<S> Service<Request<Body>> for Route<S>
where
    S: Service<Routed, Response = Answered, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = RouteFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let RouteLayer {
            shared,
            scope,
            call_info,
        } = &self.layer;
        let call_info = *call_info;
        let asked = match Asked::of(&mut request, *scope) {
            Ok(asked) => asked,
            Err(error) => return RouteFuture::Refused { error: Some(error) },
        };
        let authority = request.uri().authority().cloned();
        match decide(shared, asked, Head::of(&request)) {
            Decision::To(destination) => RouteFuture::Calling {
                authority,
                place: call_info.then(|| destination.place.clone()),
                call: self.inner.call(Routed {
                    request,
                    destination,
                }),
            },
            Decision::Fail(error) => RouteFuture::Refused { error: Some(error) },
            Decision::Wait(_) => {
                let (shared, mut inner) = (Arc::clone(shared), self.inner.clone());
                let waiting = Box::pin(async move {
                    let (head, body) = request.into_parts();
                    let destination = wait(&shared, asked, &head).await?;
                    let request = Request::from_parts(head, body);
                    let place = call_info.then(|| destination.place.clone());
                    let call = inner.call(Routed {
                        request,
                        destination,
                    });
                    let answered = call
                        .await
                        .map_err(|error| error.called(authority.as_ref()))?;
                    Ok(informed(answered, place))
                });
                RouteFuture::Waiting { waiting }
            }
        }
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
        Calling { #[pin] call: F, authority: Option<Authority>, place: Option<Place> },
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
            Step::Calling {
                call,
                authority,
                place,
            } => Poll::Ready(match ready!(call.poll(cx)) {
                Ok(answered) => Ok(informed(answered, place.take())),
                Err(error) => Err(error.called(authority.as_ref())),
            }),
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
