//! `envoy.config.route.v3.VirtualHost` and `Route`: the ordered rules of one host.

use std::sync::Arc;

use rand::{Rng, RngExt};

use super::action::{Action, ClusterIndex};
use super::domain::Domain;
use super::fault::Fault;
use super::index::RouteIndex;
use super::redirect::Redirect;
use crate::matcher::{CookieMatcher, HeaderMatcher, PathMatcher, QueryMatcher};
use crate::request::RequestView;

/// A host and its routes, in order.
#[derive(Debug)]
pub struct VirtualHost {
    name: Arc<str>,
    domains: Box<[Domain]>,
    clusters: Box<[Arc<str>]>,
    /// In the same order: whether only mirrors go there.
    mirrors_only: Box<[bool]>,
    routes: Box<[Arc<Route>]>,
    index: RouteIndex,
    /// `require_tls`: where requests go that came without TLS.
    to_https: Option<Arc<Route>>,
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
        let clusters = clusters.into();
        Self {
            name,
            domains: domains.into(),
            mirrors_only: mirrors_only(clusters.len(), &routes),
            clusters,
            routes,
            index,
            to_https: None,
        }
    }

    /// The same for requests that came by TLS alone: all others are sent to `https://` with the same host and path, by
    /// 301 (`require_tls: ALL`). By what they came tells `x-forwarded-proto`, and without it the scheme.
    #[must_use]
    pub fn requiring_tls(self) -> Self {
        let route = Route {
            name: "require_tls".into(),
            matches: RouteMatch::path(PathMatcher::Prefix("/".into())),
            action: Action::Redirect(Box::new(Redirect::to_https())),
            source: None,
            fault: None,
        };
        Self {
            to_https: Some(route.into()),
            ..self
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
            mirrors_only: self.mirrors_only.clone(),
            routes: self.routes.clone(),
            index: RouteIndex::new(self.routes.iter().map(|route| &route.matches.path)),
            to_https: self.to_https.clone(),
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

    /// The names of those without which its routes cannot serve: all but those to which only mirrors go.
    pub fn needed_clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let all = self.clusters.iter().zip(&self.mirrors_only);
        all.filter(|(_, only)| !**only).map(|(name, _)| name)
    }

    /// The name behind an index of one of its routes.
    pub fn cluster(&self, index: ClusterIndex) -> Option<&Arc<str>> {
        self.clusters.get(index.0 as usize)
    }

    /// Its routes in the order of the configuration.
    pub const fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// What answers a request that has to come by TLS and did not, before any route is asked.
    pub fn to_https(&self, request: &RequestView<'_>) -> Option<&Arc<Route>> {
        let route = self.to_https.as_ref()?;
        (request.came_by() != b"https").then_some(route)
    }

    /// The first route that matches: by path, all headers, parameters and cookies, and the fraction.
    pub fn find(&self, request: &RequestView<'_>, rng: &mut impl Rng) -> Option<&Arc<Route>> {
        if let Some(redirect) = self.to_https(request) {
            return Some(redirect);
        }
        self.index.find(request.path, |at| {
            let route = &self.routes[at];
            // The index knows that exact and prefix paths match; only the others are tested here.
            route.matches.rest_matches(request, rng).then_some(route)
        })
    }
}

fn mirrors_only(clusters: usize, routes: &[Arc<Route>]) -> Box<[bool]> {
    let mut only = vec![false; clusters];
    let forwards = || {
        routes.iter().filter_map(|route| match &route.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        })
    };
    let mut mark = |ClusterIndex(at): ClusterIndex, is: bool| {
        if let Some(only) = only.get_mut(at as usize) {
            *only = is;
        }
    };
    for mirror in forwards().flat_map(|forward| &forward.mirrors) {
        mark(mirror.cluster, true);
    }
    for (choice, _) in forwards().flat_map(|forward| forward.split.weights()) {
        mark(choice.cluster, false);
    }
    only.into()
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
    /// `typed_per_filter_config["envoy.filters.http.fault"]`: its faults, or those of the virtual host or of the route
    /// configuration. They come before what it does, be that an answer.
    pub fault: Option<Arc<Fault>>,
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
