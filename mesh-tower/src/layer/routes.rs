//! Chooses one of several services by rules that are written in code.

mod rule;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Request;
use mesh_core::RequestView;
use mesh_core::route::{Action, ClusterIndex, VirtualHost};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::builder::seed_from_time;
use crate::error::{BoxError, Error, Kind, Place};
use crate::random::Randomness;
pub use rule::{InvalidRoutes, Rule};

/// Sends each request to one of several services, by ordered rules as those of a virtual host: the first rule that
/// matches decides, and one draw by its weights.
///
/// The services are of one type; where they are not, box them (`tower::util::BoxCloneService`). The request goes on
/// as it is: what changes it, and what limits or repeats it, are other layers around this service or around each.
///
/// ```
/// use http::{Request, Response};
/// use mesh_tower::{BoxError, Error};
/// use mesh_tower::layer::{Routes, Rule};
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let says = |name| service_fn(move |_: Request<()>| {
/// #     std::future::ready(Ok::<_, BoxError>(Response::new(name)))
/// # });
/// # let (v1, v2) = (says("v1"), says("v2"));
/// let routes = Routes::builder()
///     .service("v1", v1)
///     .service("v2", v2)
///     .rule(Rule::prefix("/reviews").header("end-user", "jason").to("v2"))
///     .rule(Rule::prefix("/reviews").split([("v1", 90), ("v2", 10)]))
///     .build()?;
///
/// let request = Request::get("/reviews/0").header("end-user", "jason").body(())?;
/// assert_eq!(routes.clone().oneshot(request).await?.into_body(), "v2");
///
/// let request = Request::get("/ratings").body(())?;
/// let error = routes.oneshot(request).await.unwrap_err();
/// assert_eq!(error.downcast_ref::<Error>().unwrap().flags(), "NR");
/// # Ok(()) }
/// ```
///
/// # Errors
/// Boxed: those of the services, or [`Error`] with the flag `NR` where no rule matches.
///
/// # Readiness
/// It is always ready, since the service is not known before the request is; a clone of the one that is chosen is
/// asked then, and waited for.
pub struct Routes<S> {
    rules: Arc<Rules>,
    /// In the order of the host's clusters.
    services: Box<[S]>,
}

struct Rules {
    host: VirtualHost,
    random: Randomness,
}

impl<S> Routes<S> {
    /// Without services and rules.
    pub const fn builder() -> RoutesBuilder<S> {
        RoutesBuilder {
            services: Vec::new(),
            rules: Vec::new(),
            seed: None,
        }
    }

    fn choose<B>(&self, request: &Request<B>) -> Result<&S, Error> {
        let view = &RequestView::of(request.method(), request.uri(), request.headers());
        let mut rng = self.rules.random.next();
        let route = self.rules.host.find(view, &mut rng);
        // Rules do nothing but forward, to services that are there.
        let chosen = route.and_then(|route| match &route.action {
            Action::Forward(forward) => {
                let ClusterIndex(at) = forward.choose(view, &mut rng).cluster;
                self.services.get(at as usize)
            }
            _ => None,
        });
        chosen.ok_or_else(|| {
            let reason = format!(
                "none of the {} rules of these Routes matches {} {}{} and its headers",
                self.rules.host.routes().len(),
                view.method,
                // The host alone: user information may hold what no log should.
                request.uri().host().unwrap_or_default(),
                view.path
            );
            Error::new(Kind::NoRoute, Place::default(), reason)
        })
    }
}

/// Makes [`Routes`].
#[must_use]
pub struct RoutesBuilder<S> {
    services: Vec<(Arc<str>, S)>,
    rules: Vec<Rule>,
    seed: Option<u64>,
}

impl<S> RoutesBuilder<S> {
    /// Adds a service, by the name under which rules know it.
    pub fn service(mut self, name: impl Into<Arc<str>>, service: S) -> Self {
        self.services.push((name.into(), service));
        self
    }

    /// Adds a rule, after those that are there.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Draws the same sequence in every run. By default the seed is of the time.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// # Errors
    /// When a name is there twice, a rule leads to no service or to one that is not there, its weights add up to
    /// nothing or to more than 2^32 - 1, or the name of a header cannot be one.
    pub fn build(self) -> Result<Routes<S>, InvalidRoutes> {
        let (names, services): (Vec<_>, Vec<_>) = self.services.into_iter().unzip();
        if let Some(at) = (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
            return Err(InvalidRoutes::Twice(Arc::clone(&names[at])));
        }
        let routes = (1..)
            .zip(self.rules)
            .map(|(number, rule)| rule.route(number, &names))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Routes {
            rules: Arc::new(Rules {
                host: VirtualHost::new("routes".into(), [], names, routes),
                random: Randomness::new(self.seed.unwrap_or_else(seed_from_time)),
            }),
            services: services.into(),
        })
    }
}

impl<S, B> Service<Request<B>> for Routes<S>
where
    S: Service<Request<B>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = RoutesFuture<S, B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let state = match self.choose(&request) {
            Ok(service) => State::Asking {
                asked: Some((service.clone(), request)),
            },
            Err(error) => State::Refused { error: Some(error) },
        };
        RoutesFuture { state }
    }
}

pin_project! {
    /// The future of [`Routes`].
    pub struct RoutesFuture<S: Service<Request<B>>, B> {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = Step]
    enum State<S: Service<Request<B>>, B> {
        Refused { error: Option<Error> },
        Asking { asked: Option<(S, Request<B>)> },
        Calling { #[pin] call: S::Future },
    }
}

impl<S, B> Future for RoutesFuture<S, B>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            // Polled again after its end, as no caller may: never ready.
            let call = match state.as_mut().project() {
                Step::Refused { error } => {
                    let error = error.take();
                    return error.map_or(Poll::Pending, |error| Poll::Ready(Err(error.into())));
                }
                Step::Calling { call } => return call.poll(cx).map_err(Into::into),
                Step::Asking { asked } => {
                    if let Some((service, _)) = asked {
                        let ready = ready!(service.poll_ready(cx)).map_err(Into::into);
                        if let Err(error) = ready {
                            *asked = None;
                            return Poll::Ready(Err(error));
                        }
                    }
                    let Some((mut service, request)) = asked.take() else {
                        return Poll::Pending;
                    };
                    service.call(request)
                }
            };
            state.set(State::Calling { call });
        }
    }
}

impl<S: Clone> Clone for Routes<S> {
    fn clone(&self) -> Self {
        Self {
            rules: Arc::clone(&self.rules),
            services: self.services.clone(),
        }
    }
}

impl<S> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("services", &self.rules.host.clusters())
            .field("rules", &self.rules.host.routes())
            .finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for RoutesBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.services.iter().map(|(name, _)| name);
        f.debug_struct("RoutesBuilder")
            .field("services", &names.collect::<Vec<_>>())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for RoutesFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Refused { .. } => "Refused",
            State::Asking { .. } => "Asking",
            State::Calling { .. } => "Calling",
        })
    }
}
