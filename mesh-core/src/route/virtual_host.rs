//! `envoy.config.route.v3.VirtualHost` and `Route`: the ordered rules of one host.

use std::sync::Arc;

use rand::{Rng, RngExt};

use super::action::{Action, ClusterIndex};
use super::domain::Domain;
use super::index::RouteIndex;
use crate::matcher::{CookieMatcher, HeaderMatcher, PathMatcher, QueryMatcher};
use crate::request::RequestView;

/// A host and its routes, in order.
#[derive(Debug)]
pub struct VirtualHost {
    name: Arc<str>,
    domains: Box<[Domain]>,
    clusters: Box<[Arc<str>]>,
    routes: Box<[Arc<Route>]>,
    index: RouteIndex,
}

impl VirtualHost {
    /// Builds the host and the index over its routes. `clusters` are the names that
    /// [`ClusterIndex`]es in the routes point into.
    pub fn new(
        name: Arc<str>,
        domains: impl Into<Box<[Domain]>>,
        clusters: impl Into<Box<[Arc<str>]>>,
        routes: impl IntoIterator<Item = Route>,
    ) -> Self {
        let routes: Box<[Arc<Route>]> = routes.into_iter().map(Arc::new).collect();
        let index = RouteIndex::new(routes.iter().map(|route| &route.matches.path));
        Self {
            name,
            domains: domains.into(),
            clusters: clusters.into(),
            routes,
            index,
        }
    }

    /// The same routes under another name, for one host: gRPC's clients choose the virtual host once, for their
    /// target (gRPC A27).
    #[must_use]
    pub fn serving(&self, name: Arc<str>, domain: Domain) -> Self {
        Self {
            name,
            domains: Box::new([domain]),
            clusters: self.clusters.clone(),
            routes: self.routes.clone(),
            index: RouteIndex::new(self.routes.iter().map(|route| &route.matches.path)),
        }
    }

    /// Its name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The hosts that it stands for.
    pub const fn domains(&self) -> &[Domain] {
        &self.domains
    }

    /// The names of all clusters that its routes can reach, each once.
    pub const fn clusters(&self) -> &[Arc<str>] {
        &self.clusters
    }

    /// The name behind an index of one of its routes.
    pub fn cluster(&self, index: ClusterIndex) -> Option<&Arc<str>> {
        self.clusters.get(index.0 as usize)
    }

    /// Its routes in the order of the configuration.
    pub const fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The first route that matches: by path, all headers, parameters and cookies, and the fraction.
    pub fn find(&self, request: &RequestView<'_>, rng: &mut impl Rng) -> Option<&Arc<Route>> {
        self.index.find(request.path, |at| {
            let route = &self.routes[at];
            // The index knows that exact and prefix paths match; only the others are tested here.
            route.matches.rest_matches(request, rng).then_some(route)
        })
    }
}

/// One rule.
#[derive(Debug)]
pub struct Route {
    /// Its name, `-` when the configuration gives none.
    pub name: Arc<str>,
    /// When it applies.
    pub matches: RouteMatch,
    /// What it does.
    pub action: Action,
    /// The configuration that it was made of, as Istio names it
    /// (`/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews`).
    pub source: Option<Arc<str>>,
}

/// When a route applies: all parts must hold.
#[derive(Debug)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatcher,
    /// Every header.
    pub headers: Box<[HeaderMatcher]>,
    /// Every query parameter.
    pub query: Box<[QueryMatcher]>,
    /// Every cookie.
    pub cookies: Box<[CookieMatcher]>,
    /// `runtime_fraction` in millionths; one draw per evaluation.
    pub fraction: Option<u32>,
}

impl RouteMatch {
    /// A match of every request with this path.
    pub fn path(path: PathMatcher) -> Self {
        Self {
            path,
            headers: Box::default(),
            query: Box::default(),
            cookies: Box::default(),
            fraction: None,
        }
    }

    fn rest_matches(&self, request: &RequestView<'_>, rng: &mut impl Rng) -> bool {
        self.headers.iter().all(|header| header.matches(request))
            && self.query.iter().all(|query| query.matches(request.query))
            && self
                .cookies
                .iter()
                .all(|cookie| cookie.matches(request.headers))
            && self
                .fraction
                .is_none_or(|millionths| rng.random_range(0..1_000_000) < millionths)
    }

    /// Whether the request matches, path included: the plain form of what the index does.
    pub fn matches(&self, request: &RequestView<'_>, rng: &mut impl Rng) -> bool {
        self.path.matches(request.path) && self.rest_matches(request, rng)
    }
}
