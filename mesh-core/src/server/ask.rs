//! Whom a server asks about a request, and what it makes of the answer (`envoy.filters.http.ext_authz`). Nothing here asks.

mod answer;
mod http;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, StatusCode};

use crate::matcher::StringMatcher;

pub use answer::{Answer, Changes, Denial, HeaderChange, Malformed, Put};
pub use http::{HttpAuthorizer, HttpCheck};

/// Envoy's limit of time for an authorizer that has none of its own.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(200);

/// How much of a body is held for an authorizer at most, whatever the configuration admits: 4 MiB.
pub const MOST_BODY: usize = 4 << 20;

/// How many headers and parameters an answer may change at most: a head has no room for as many as a message has.
pub const MOST_CHANGES: usize = 1000;

/// `x-envoy-auth-partial-body`: tells the authorizer whether it sees a beginning of the body alone.
pub const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");

/// `x-envoy-auth-failure-mode-allowed`: tells the application that nobody was asked.
pub const FAILURE_MODE_ALLOWED: HeaderName =
    HeaderName::from_static("x-envoy-auth-failure-mode-allowed");

/// `envoy.extensions.filters.http.ext_authz.v3.ExtAuthz`: a filter that asks another service whether a request may go on.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The cluster of the authorizer.
    pub cluster: Arc<str>,
    /// What it speaks.
    pub authorizer: Authorizer,
    /// How long it may take.
    pub timeout: Duration,
    /// What becomes of a request when it cannot be asked, or does not answer.
    pub on_error: OnError,
    /// Which requests it is asked about.
    pub when: When,
    /// `allowed_headers`: which headers it is told of; without them one of gRPC is told of all, and one of HTTP of none but
    /// those that it always gets.
    pub allowed_headers: Option<Box<[StringMatcher]>>,
    /// `disallowed_headers`: which it is never told of.
    pub disallowed_headers: Box<[StringMatcher]>,
    /// `with_request_body`: whether it sees the body.
    pub body: Option<BodyRule>,
    /// `include_tls_session`: whether it is told the server name that the client asked for.
    pub tells_sni: bool,
    /// `max_denied_response_body_bytes`: how much of its own body a denial has at most; 0 is all of it.
    pub most_denied_body: usize,
}

/// What an authorizer speaks.
#[derive(Debug, Clone)]
pub enum Authorizer {
    /// `envoy.service.auth.v3.Authorization/Check`, with this `:authority`.
    Grpc(Arc<str>),
    /// The request itself, to another service.
    Http(Box<HttpAuthorizer>),
}

/// `failure_mode_allow`, `failure_mode_allow_header_add` and `status_on_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The request is refused with this status; Envoy's default is 403.
    Deny(StatusCode),
    /// It goes on as if it had been allowed.
    Allow {
        /// Whether [`FAILURE_MODE_ALLOWED`] says so.
        tells: bool,
    },
}

/// `filter_enabled_metadata`: which requests are asked about.
#[derive(Debug, Clone)]
pub enum When {
    /// All.
    Always,
    /// Those that a policy matched which is only tried, by a filter before this one ([`ShadowRules`](crate::authz::ShadowRules)).
    Shadow {
        /// The [`prefix`](crate::authz::ShadowRules::prefix) of these rules.
        prefix: Box<str>,
        /// The policy's name.
        policy: StringMatcher,
    },
}

/// `envoy.extensions.filters.http.ext_authz.v3.BufferSettings`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRule {
    /// `max_request_bytes`, from 1; more than [`MOST_BODY`] are not held.
    pub most: usize,
    /// `allow_partial_message`: of a longer body the beginning is shown; without it such a request is refused with 413.
    pub partial: bool,
    /// `pack_as_bytes`: it is shown as bytes, and not as text. Of gRPC alone.
    pub as_bytes: bool,
}

impl Ask {
    /// Whether a request is asked about. `shadows` are the policies that matched and are only tried, each with the prefix of
    /// its rules, in the order of the filters: the last of a prefix counts, as in Envoy's metadata.
    pub fn applies<'a, S>(&self, shadows: S) -> bool
    where
        S: IntoIterator<Item = (&'a str, &'a str)>,
        S::IntoIter: DoubleEndedIterator,
    {
        match &self.when {
            When::Always => true,
            When::Shadow { prefix, policy } => {
                let mut shadows = shadows.into_iter().rev();
                let met = shadows.find(|(of, _)| **of == **prefix);
                met.is_some_and(|(_, name)| policy.matches(name.as_bytes()))
            }
        }
    }

    /// Whether the authorizer is told of a header. Matchers of the configuration are about names in lower case.
    pub fn tells(&self, name: &str) -> bool {
        let listed = |list: &[StringMatcher]| list.iter().any(|one| one.matches(name.as_bytes()));
        if listed(&self.disallowed_headers) {
            return false;
        }
        match (&self.allowed_headers, &self.authorizer) {
            (Some(allowed), _) => listed(allowed),
            (None, Authorizer::Grpc(_)) => true,
            (None, Authorizer::Http(_)) => false,
        }
    }
}
