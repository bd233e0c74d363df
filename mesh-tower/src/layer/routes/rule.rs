//! One rule, and what may be wrong with it.

use std::sync::Arc;

use http::Method;
use mesh_core::matcher::{HeaderMatcher, HeaderTest, PathMatcher, StringMatcher};
use mesh_core::request::HeaderKey;
use mesh_core::route::{Action, Choice, ClusterIndex, Forward, Route, RouteMatch, Split};

/// Which requests go where: a path, headers that must all match, and services by weight. A rule that leads nowhere is
/// refused when [`Routes`](super::Routes) are built.
#[derive(Debug, Clone)]
#[must_use]
pub struct Rule {
    path: PathMatcher,
    headers: Vec<(String, String)>,
    to: Vec<(String, u32)>,
}

impl Rule {
    fn of(path: PathMatcher) -> Self {
        Self {
            path,
            headers: Vec::new(),
            to: Vec::new(),
        }
    }

    /// For every path.
    pub fn any() -> Self {
        Self::prefix("")
    }

    /// For this path (`RouteMatch.path`), whatever the query. Paths are matched as they are sent, with no
    /// normalization.
    pub fn path(path: impl Into<Box<str>>) -> Self {
        Self::of(PathMatcher::Exact(path.into()))
    }

    /// For paths that begin with this text (`RouteMatch.prefix`): `/p` is for `/pp` as well.
    pub fn prefix(prefix: impl Into<Box<str>>) -> Self {
        Self::of(PathMatcher::Prefix(prefix.into()))
    }

    /// Only for requests that have this header with this whole value (`HeaderMatcher.string_match.exact`), or
    /// `:method`, `:authority`, `:path` or `:scheme`. Of a header that is there several times, one is enough.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Only for requests of this method.
    pub fn method(self, method: &Method) -> Self {
        self.header(":method", method.as_str())
    }

    /// All to one service.
    pub fn to(self, service: impl Into<String>) -> Self {
        self.split([(service, 1)])
    }

    /// By weights (`RouteAction.weighted_clusters`): their sum is what counts, and 0 gets nothing. Replaces what was
    /// said before.
    pub fn split<N: Into<String>>(mut self, weights: impl IntoIterator<Item = (N, u32)>) -> Self {
        let weights = weights.into_iter();
        self.to = weights
            .map(|(name, weight)| (name.into(), weight))
            .collect();
        self
    }

    /// What mesh-core makes of it.
    pub(super) fn route(self, number: usize, names: &[Arc<str>]) -> Result<Route, InvalidRoutes> {
        let choice = |(name, weight): (String, u32)| {
            let at = names.iter().position(|known| **known == *name);
            // As many services as there are names; nobody writes 2^32 of them.
            match at.and_then(|at| u32::try_from(at).ok()) {
                Some(at) => Ok((Choice::plain(ClusterIndex(at)), weight)),
                None => Err(InvalidRoutes::NoService { number, name }),
            }
        };
        let choices = self
            .to
            .into_iter()
            .map(choice)
            .collect::<Result<Vec<_>, _>>()?;
        let split = Split::new(choices);
        let split = split.map_err(|_| InvalidRoutes::Weights { number })?;
        let headers = self.headers.into_iter().map(|(name, value)| {
            let key = match HeaderKey::parse(&name) {
                Some(HeaderKey::Unknown) | None => {
                    return Err(InvalidRoutes::Header { number, name });
                }
                Some(key) => key,
            };
            Ok(HeaderMatcher {
                name: key,
                test: HeaderTest::String(StringMatcher::Exact(value.into_bytes().into())),
                invert: false,
                missing_is_empty: false,
            })
        });
        Ok(Route {
            name: "-".into(),
            matches: RouteMatch {
                headers: headers.collect::<Result<_, _>>()?,
                ..RouteMatch::path(self.path)
            },
            action: Action::Forward(Box::new(Forward::split(split))),
            source: None,
            fault: None,
        })
    }
}

/// Rules that cannot be followed. Rules are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRoutes {
    /// Two services have one name.
    #[error("two services are called {0:?}; each needs a name of its own")]
    Twice(Arc<str>),
    /// A rule names a service that is not there.
    #[error("rule {number} leads to {name:?}, and no service is called that")]
    NoService {
        /// Which rule.
        number: usize,
        /// The name.
        name: String,
    },
    /// The weights of a rule add up to 0 or to too much, or it was given none.
    #[error(
        "rule {number} leads nowhere; give it a service, or weights that add up to 1 at least and to 2^32 - 1 at most"
    )]
    Weights {
        /// Which rule.
        number: usize,
    },
    /// A rule asks for a header of a name that none can have.
    #[error("rule {number}: no request has a header {name:?}")]
    Header {
        /// Which rule.
        number: usize,
        /// The name.
        name: String,
    },
}
