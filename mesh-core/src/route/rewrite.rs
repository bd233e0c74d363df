//! `prefix_rewrite`, `regex_rewrite`, `path_rewrite`, `host_rewrite_*`: what the peer gets to see instead.

use http::HeaderName;
use http::uri::{Authority, PathAndQuery};

use super::template::{Template, Values};
use crate::matcher::{PathMatcher, Substitution};
use crate::request::RequestView;

/// What becomes of the path.
#[derive(Debug, Clone, Default)]
pub enum PathRewrite {
    /// It stays.
    #[default]
    Keep,
    /// `prefix_rewrite`: the part that the route matched is replaced. See [`PathRewrite::prefix`].
    Prefix {
        /// How many bytes the route matches; `None` is all of the path.
        matched: Option<usize>,
        /// What comes in their place.
        with: Box<str>,
    },
    /// `regex_rewrite`: every match in the path, without its query, is replaced.
    Regex(Substitution),
    /// `path_rewrite`: the whole path, without its query. It stays when the value comes out empty.
    Whole(Template),
}

/// What becomes of the host.
#[derive(Debug, Clone, Default)]
pub enum HostRewrite {
    /// It stays.
    #[default]
    Keep,
    /// `host_rewrite_literal`
    Literal(Authority),
    /// `host_rewrite_header`: the first value of a header; the host stays when that is empty or absent.
    Header(HeaderName),
    /// `host_rewrite_path_regex`: made of the path as it was asked for, without its query.
    Path(Substitution),
    /// `host_rewrite`: made by substitution; what is not there reads as `-`.
    Made(Template),
    /// `auto_host_rewrite`: the host name of the endpoint that is picked, by
    /// [`Choice::rewrite_host_to`](super::Choice::rewrite_host_to). It has no effect yet: nothing knows
    /// the host names of endpoints, so the host stays.
    Endpoint,
}

/// A rewrite whose outcome cannot be sent. Envoy would send it, as a request that is not HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the route rewrites the {what} to {text:?}, which is no {what}; mend the route's rewrite")]
pub struct InvalidRewrite {
    /// `path` or `host`
    what: &'static str,
    text: String,
}

impl InvalidRewrite {
    pub(super) fn new(what: &'static str, text: &[u8]) -> Self {
        Self {
            what,
            text: String::from_utf8_lossy(text).into_owned(),
        }
    }
}

impl PathRewrite {
    /// `prefix_rewrite` of a route: replaces the prefix, or the whole path of a route that matches a
    /// whole path or a regular expression.
    pub fn prefix(route: &PathMatcher, with: &str) -> Self {
        let matched = match route {
            PathMatcher::Prefix(text)
            | PathMatcher::SegmentPrefix(text)
            | PathMatcher::SegmentPrefixIgnoreCase(text)
            | PathMatcher::PrefixIgnoreCase(text) => Some(text.len()),
            PathMatcher::Exact(_) | PathMatcher::ExactIgnoreCase(_) | PathMatcher::Regex(_) => None,
        };
        Self::Prefix {
            matched,
            with: with.into(),
        }
    }

    /// Whether the path stays.
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The new path and query; `None` when they stay.
    ///
    /// # Errors
    /// When what comes out is no path: it must begin with a slash and hold only characters of paths.
    pub fn rewritten(&self, values: &Values<'_>) -> Result<Option<PathAndQuery>, InvalidRewrite> {
        let Some(request) = values.request else {
            return Ok(None);
        };
        match self.text(&request, values) {
            None => Ok(None),
            Some(text) => path_and_query(&text)
                .map(Some)
                .ok_or_else(|| InvalidRewrite::new("path", &text)),
        }
    }

    /// The new path and query as text; `None` also when the path comes out empty.
    pub(super) fn text(&self, request: &RequestView<'_>, values: &Values<'_>) -> Option<Vec<u8>> {
        let path = request.path.as_bytes();
        let mut text = match self {
            Self::Keep => return None,
            Self::Prefix { matched, with } => {
                let rest = path
                    .get(matched.unwrap_or(path.len())..)
                    .unwrap_or_default();
                [with.as_bytes(), rest].concat()
            }
            Self::Regex(substitution) => substitution.replaced(path),
            Self::Whole(template) => template.text(values, ""),
        };
        if text.is_empty() {
            return None;
        }
        if let Some(query) = request.query {
            text.extend_from_slice(b"?");
            text.extend_from_slice(query.as_bytes());
        }
        Some(text)
    }
}

/// Only what the next hop reads as the same path: a fragment would be cut off.
fn path_and_query(text: &[u8]) -> Option<PathAndQuery> {
    if text.first() != Some(&b'/') || text.contains(&b'#') {
        return None;
    }
    PathAndQuery::try_from(text).ok()
}

impl HostRewrite {
    /// Whether the host stays, or stays until an endpoint is picked.
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep | Self::Endpoint)
    }

    /// The new authority; `None` when it stays.
    ///
    /// # Errors
    /// When what comes out is no authority.
    pub fn rewritten(&self, values: &Values<'_>) -> Result<Option<Authority>, InvalidRewrite> {
        let Some(request) = values.request else {
            return Ok(None);
        };
        let text = match self {
            Self::Keep | Self::Endpoint => return Ok(None),
            Self::Literal(authority) => return Ok(Some(authority.clone())),
            Self::Header(name) => match request.headers.get(name) {
                Some(value) => value.as_bytes().to_vec(),
                None => return Ok(None),
            },
            Self::Path(substitution) => substitution.replaced(request.path.as_bytes()),
            Self::Made(template) => template.text(values, "-"),
        };
        if text.is_empty() {
            return Ok(None);
        }
        authority(&text).map(Some)
    }
}

pub(super) fn authority(text: &[u8]) -> Result<Authority, InvalidRewrite> {
    // User information has no place in a host header.
    Authority::try_from(text)
        .ok()
        .filter(|authority| !authority.as_str().contains('@'))
        .ok_or_else(|| InvalidRewrite::new("host", text))
}
