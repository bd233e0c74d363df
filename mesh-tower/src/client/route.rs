//! Chooses the route and the cluster. The snapshot is loaded once and let go before anything waits.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use mesh_core::RequestView;
use mesh_core::request::split_port;
use mesh_core::route::Action;
use mesh_core::snapshot::TableKey;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::seam::{Answered, CallInfo, Destination, Goal, Routed};
use crate::body::Body;
use crate::error::{Error, Kind, Place};
use crate::live::LiveTarget;
use crate::mesh::Shared;

/// How long a call waits for the first configuration of its target.
const PATIENCE: Duration = Duration::from_secs(15);

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
        let asked = match asked(&mut request, *scope) {
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

/// What the configuration of this moment says of a request.
enum Decision {
    To(Destination),
    Fail(Error),
    /// It says nothing yet; the text names what is missing.
    Wait(String),
}

/// Where a request asks to go: the table, and how much of its authority is the host.
#[derive(Debug, Clone, Copy)]
struct Asked {
    table: TableKey,
    host_length: usize,
}

/// Reads the destination; completes the URI of a request that names its host in a header only.
fn asked(request: &mut Request<Body>, scope: Scope) -> Result<Asked, Error> {
    if request.uri().authority().is_none() {
        let absolute = absolute(request)?;
        *request.uri_mut() = absolute;
    }
    let uri = request.uri();
    let (host, port) = split_port(uri.authority().map_or("", Authority::as_str));
    let table = match (scope, uri.scheme_str()) {
        (Scope::Gateway(port), _) => TableKey::Gateway(port),
        (Scope::Mesh, Some("http")) => TableKey::Port(port.unwrap_or(80)),
        (Scope::Mesh, _) => {
            return Err(invalid(
                uri,
                "its scheme is not http; originated TLS is not served yet",
            ));
        }
    };
    Ok(Asked {
        table,
        host_length: host.len(),
    })
}

fn absolute(request: &Request<Body>) -> Result<Uri, Error> {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.ok_or_else(|| {
        invalid(
            request.uri(),
            "neither its URI nor a Host header names a host",
        )
    })?;
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(
        host.parse()
            .map_err(|_| invalid(request.uri(), "its Host header is no authority"))?,
    );
    parts
        .path_and_query
        .get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|error| invalid(request.uri(), &error.to_string()))
}

fn invalid(uri: &Uri, reason: &str) -> Error {
    let place = Place {
        authority: Some(uri.to_string().into()),
        ..Place::default()
    };
    Error::new(Kind::InvalidRequest, place, reason)
}

/// The parts of a request by which it is routed.
#[derive(Clone, Copy)]
struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    fn of(request: &'a Request<Body>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
        }
    }
}

fn decide(shared: &Shared, asked: Asked, head: Head<'_>) -> Decision {
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
        let reason = match &table.missing {
            Some(reason) => format!("no routes: {reason}"),
            None => format!(
                "no virtual host of route configuration {:?} matches this host",
                key.to_string()
            ),
        };
        return Decision::Fail(Error::new(Kind::NoRoute, place(), reason));
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
        let reason = "the control plane has no such cluster; check the host and the subset of the route's destination, and that a DestinationRule defines the subset";
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
async fn wait(shared: &Shared, asked: Asked, parts: &Parts) -> Result<Destination, Error> {
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
        let authority = parts
            .uri
            .authority()
            .map(|authority| authority.as_str().into());
        let place = Place {
            authority,
            generation: *generations.borrow(),
            ..Place::default()
        };
        let late = tokio::time::timeout_at(deadline, generations.changed()).await;
        if !matches!(late, Ok(Ok(()))) {
            return Err(Error::new(
                Kind::NotReady,
                place,
                shared.why_not_ready(&missing, PATIENCE),
            ));
        }
    }
}
