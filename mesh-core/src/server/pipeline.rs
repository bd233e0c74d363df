//! What a request has to pass before the application sees it (`HttpConnectionManager.http_filters`).

use std::sync::Arc;

use crate::authz::Rbac;
use crate::jwt;
use crate::request::PathNormalization;

/// The steps for the requests of one chain, in the order of the filters.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The listener's name and the version that it came with, for errors.
    pub name: Arc<str>,
    /// `normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`
    pub paths: PathNormalization,
    /// What becomes of `x-forwarded-client-cert`.
    pub xfcc: Xfcc,
    /// What is asked, one after the other; the first that denies answers.
    pub steps: Box<[Step]>,
}

/// `forward_client_cert_details`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Xfcc {
    /// It is taken off.
    #[default]
    Sanitize,
    /// What a client with a certificate sends stays, ours is put behind it (Istio's way).
    AppendForward,
}

/// One filter that can refuse a request.
#[derive(Debug, Clone)]
pub enum Step {
    /// `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`: it refuses bad tokens, and tells the steps behind it
    /// what a good one says.
    Jwt(jwt::Rules),
    /// `envoy.extensions.filters.http.rbac.v3.RBAC`
    Authorize(Rbac),
    /// A filter that is not served and must not be passed over: every request is refused, with this reason.
    Deny(Arc<str>),
}
