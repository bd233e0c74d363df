//! What is asked of requests (`envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`).

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::jwk::Jwks;
use crate::RequestView;
use crate::matcher::{CookieMatcher, HeaderMatcher, PathMatcher, QueryMatcher, StringMatcher};

/// `clock_skew_seconds`, where it is not set (Envoy).
pub const DEFAULT_CLOCK_SKEW: u64 = 60;

/// The filter: what is asked of which request.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) rules: Box<[Rule]>,
    pub(super) reserved: Box<[HeaderName]>,
    pub(super) bypass_cors_preflight: bool,
    pub(super) strip_failure_response: bool,
    providers: Box<[Arc<Provider>]>,
}

/// `RequirementRule`: the first that matches a request counts, and a request that none matches passes.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `match`: the path.
    pub path: PathMatcher,
    /// `match.headers`: every header.
    pub headers: Box<[HeaderMatcher]>,
    /// `match.query_parameters`: every parameter.
    pub query: Box<[QueryMatcher]>,
    /// `match.cookies`: every cookie.
    pub cookies: Box<[CookieMatcher]>,
    /// `requires`, or what `requirement_name` names.
    pub requires: Requirement,
}

/// `JwtRequirement`. The providers are in it, so that none can be missing.
#[derive(Debug, Clone)]
pub enum Requirement {
    /// None is set: whoever sends it, it passes.
    Nothing,
    /// `provider_name`
    Provider(Arc<Provider>),
    /// `provider_and_audiences`: the provider, with other audiences than its own.
    ProviderAndAudiences(Arc<Provider>, Audiences),
    /// `requires_any`
    Any {
        /// What is asked, but for the `allow_..`: the first that is met is enough.
        of: Box<[Self]>,
        /// What the `allow_..` among them let pass, if none is met.
        otherwise: Otherwise,
    },
    /// `requires_all`
    All(Box<[Self]>),
    /// `allow_missing`, alone: a token where any of these providers (all of the filter) has them must be good.
    AllowMissing(Arc<[Arc<Provider>]>),
    /// `allow_missing_or_failed`, alone: the good tokens of these providers count, and the others are not there.
    AllowMissingOrFailed(Arc<[Arc<Provider>]>),
}

/// What passes when no provider of a `requires_any` has a good token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// Nothing.
    Refused,
    /// `allow_missing`: a request without any token of theirs.
    Missing,
    /// `allow_missing_or_failed`: any.
    MissingOrFailed,
}

/// `JwtProvider`: who issues tokens, where they are, and what is done with them.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name, for errors.
    pub name: Arc<str>,
    /// `issuer`: `iss` must be this. `None`: any, or none.
    pub issuer: Option<Box<str>>,
    /// `audiences`: one of `aud` must be one of these. `None`: any, or none.
    pub audiences: Option<Audiences>,
    /// `subjects`: how `sub` must be.
    pub subjects: Option<StringMatcher>,
    /// `require_expiration`, `max_lifetime`
    pub expiration: Expiration,
    /// `clock_skew_seconds`: how far `exp` may be past and `nbf` ahead.
    pub clock_skew: u64,
    /// Its keys.
    pub keys: Keys,
    /// Where its tokens are.
    pub places: Places,
    /// `forward`: the application gets the token, too. It does in any case when the token is in a cookie (Envoy).
    pub forward: bool,
    /// `forward_payload_header`
    pub payload_header: Option<PayloadHeader>,
    /// `claim_to_headers`
    pub claim_to_headers: Box<[ClaimToHeader]>,
    /// `payload_in_metadata`: under which name policy finds the claims.
    pub payload_in_metadata: Option<Box<str>>,
    /// `header_in_metadata`: under which name policy finds the token's header.
    pub header_in_metadata: Option<Box<str>>,
    /// `normalize_payload_in_metadata.space_delimited_claims`: policy sees a list of words in place of the text.
    pub space_delimited_claims: Box<[Box<str>]>,
}

/// Audiences, compared as Envoy does: without `http://` or `https://` in front and without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audiences(Box<[Box<str>]>);

impl Audiences {
    /// `None` when there are none, which in Envoy means any.
    pub fn of<'a>(audiences: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let all: Box<[Box<str>]> = audiences.into_iter().map(|one| bare(one).into()).collect();
        (!all.is_empty()).then_some(Self(all))
    }

    /// Whether one of a token's audiences is one of these.
    pub(super) fn allow(&self, audiences: &[Box<str>]) -> bool {
        let known =
            |one: &str| !one.is_empty() && self.0.iter().any(|allowed| **allowed == *bare(one));
        audiences.iter().any(|one| known(one))
    }
}

fn bare(audience: &str) -> &str {
    let rest = audience
        .strip_prefix("http://")
        .or_else(|| audience.strip_prefix("https://"));
    let rest = rest.unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}

/// Whether a token must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiration {
    /// A token without `exp` is good for ever.
    Optional,
    /// `require_expiration`
    Required,
    /// `max_lifetime`: `exp` is there and at most so many seconds ahead.
    Within(u64),
}

/// `jwks_source_specifier`
#[derive(Debug, Clone)]
pub enum Keys {
    /// `local_jwks`
    Local(Arc<Jwks>),
    /// `local_jwks` of which nothing can be used, and why: every token is refused, as in Envoy. A secret (`kty: oct`) is
    /// one.
    Unusable(Arc<str>),
    /// `remote_jwks`
    Remote(Arc<RemoteJwks>),
}

/// `RemoteJwks`: where the keys are fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteJwks {
    /// `http_uri.uri`
    pub uri: Arc<str>,
    /// `http_uri.cluster`
    pub cluster: Arc<str>,
    /// `http_uri.timeout`
    pub timeout: Duration,
    /// `cache_duration`: 10 minutes by default.
    pub cache_duration: Duration,
    /// `async_fetch` and its `failed_refetch_duration` (1 s by default): fetched before a request comes.
    pub async_fetch: Option<Duration>,
}

/// Where tokens are. With nothing in it, none is ever found; [`Places::default`] is Envoy's.
#[derive(Debug, Clone)]
pub struct Places {
    /// `from_headers`
    pub headers: Box<[HeaderPlace]>,
    /// `from_params`: names of query parameters, decoded.
    pub params: Box<[Box<str>]>,
    /// `from_cookies`: names of cookies.
    pub cookies: Box<[Box<str>]>,
}

impl Default for Places {
    /// `authorization: Bearer ..` and the parameter `access_token`.
    fn default() -> Self {
        let bearer = HeaderPlace {
            name: http::header::AUTHORIZATION,
            prefix: "Bearer ".into(),
        };
        Self {
            headers: Box::new([bearer]),
            params: Box::new(["access_token".into()]),
            cookies: Box::default(),
        }
    }
}

/// `JwtHeader`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPlace {
    /// `name`
    pub name: HeaderName,
    /// `value_prefix`: the token is what follows it, wherever in the value it is (Envoy); a value without it is none.
    pub prefix: Box<str>,
}

/// `forward_payload_header`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadHeader {
    /// The header that gets the payload, in base64url.
    pub name: HeaderName,
    /// `pad_forward_payload_header`
    pub padded: bool,
}

/// `JwtClaimToHeader`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimToHeader {
    /// `header_name`
    pub name: HeaderName,
    /// `claim_path`, or `claim_name` at its dots: the keys on the way to the claim.
    pub path: Box<[Box<str>]>,
}

impl Rules {
    /// The filter of all its providers, also of those that no rule asks for: their headers are taken off, too.
    pub fn new(
        providers: impl IntoIterator<Item = Arc<Provider>>,
        rules: impl IntoIterator<Item = Rule>,
        bypass_cors_preflight: bool,
        strip_failure_response: bool,
    ) -> Self {
        let providers: Box<[Arc<Provider>]> = providers.into_iter().collect();
        let reserved = providers.iter().flat_map(|provider| provider.written());
        Self {
            reserved: reserved.cloned().collect(),
            rules: rules.into_iter().collect(),
            bypass_cors_preflight,
            strip_failure_response,
            providers,
        }
    }

    /// All providers.
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    /// What keys have to be fetched.
    pub fn remote(&self) -> impl Iterator<Item = &Arc<RemoteJwks>> {
        self.providers
            .iter()
            .filter_map(|provider| match &provider.keys {
                Keys::Remote(remote) => Some(remote),
                Keys::Local(_) | Keys::Unusable(_) => None,
            })
    }
}

impl Rule {
    pub(super) fn matches(&self, request: &RequestView<'_>) -> bool {
        self.path.matches(request.path)
            && self.headers.iter().all(|header| header.matches(request))
            && self.query.iter().all(|query| query.matches(request.query))
            && self
                .cookies
                .iter()
                .all(|cookie| cookie.matches(request.headers))
    }
}

impl Provider {
    /// The headers that only a good token may fill.
    fn written(&self) -> impl Iterator<Item = &HeaderName> {
        let payload = self.payload_header.iter().map(|header| &header.name);
        payload.chain(self.claim_to_headers.iter().map(|claim| &claim.name))
    }
}
