//! What a request has to pass before the application sees it (`HttpConnectionManager.http_filters`).

use std::sync::Arc;

use super::ask::Ask;
use crate::authz::Rbac;
use crate::jwt::{self, RemoteJwks};
use crate::request::PathNormalization;
use crate::snapshot::TableKey;

/// The steps for the requests of one chain, in the order of the filters.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The listener's name and the version that it came with, for errors.
    pub name: Arc<str>,
    /// `normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`
    pub paths: PathNormalization,
    /// What becomes of `x-forwarded-client-cert`.
    pub xfcc: Xfcc,
    /// `use_remote_address`
    pub remote: Remote,
    /// Where its requests go on to; none of a workload, which answers them itself.
    pub gateway: Option<Gateway>,
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
    /// What a client sends is taken off, and ours put in its place (a gateway of Istio's).
    SanitizeSet,
}

/// Whom policies take for the client that a request began at (`remoteIpBlocks`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Remote {
    /// The last entry of `x-forwarded-for`: who is in front of a workload is believed (`use_remote_address` is false).
    #[default]
    LastForwarded,
    /// The other end of the connection: nobody in front of a gateway is believed (`use_remote_address` is true).
    Direct,
}

/// What becomes of requests that a gateway lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Whose routes they take (`rds.route_config_name`).
    pub routes: TableKey,
    /// The protocols that a request may change to (`upgrade_configs`), in lower case; none by default.
    pub upgrades: Box<[Box<str>]>,
}

impl Gateway {
    /// Whether a request may change to this protocol, whatever the case of its letters.
    pub fn upgrades_to(&self, protocol: &str) -> bool {
        let mut all = self.upgrades.iter();
        all.any(|allowed| allowed.eq_ignore_ascii_case(protocol))
    }
}

/// One filter that can refuse a request.
#[derive(Debug, Clone)]
pub enum Step {
    /// `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`: it refuses bad tokens, and tells the steps behind it
    /// what a good one says.
    Jwt(jwt::Rules),
    /// `envoy.extensions.filters.http.rbac.v3.RBAC`
    Authorize(Rbac),
    /// `envoy.extensions.filters.http.ext_authz.v3.ExtAuthz`: another service decides.
    Ask(Arc<Ask>),
    /// A filter that is not served and must not be passed over: every request is refused, with this reason.
    Deny(Arc<str>),
}

impl Pipeline {
    /// The clusters that are called because of it: those of the authorizers that requests are asked about, and those that
    /// keys of tokens are fetched from.
    pub fn callees(&self) -> impl Iterator<Item = &Arc<str>> {
        let asked = self.steps.iter().filter_map(|step| match step {
            Step::Ask(ask) => Some(&ask.cluster),
            Step::Jwt(_) | Step::Authorize(_) | Step::Deny(_) => None,
        });
        asked.chain(self.remote_jwks().map(|from| &from.cluster))
    }

    /// What keys of tokens have to be fetched.
    pub fn remote_jwks(&self) -> impl Iterator<Item = &Arc<RemoteJwks>> {
        let tokens = self.steps.iter().filter_map(|step| match step {
            Step::Jwt(rules) => Some(rules.remote()),
            Step::Ask(_) | Step::Authorize(_) | Step::Deny(_) => None,
        });
        tokens.flatten()
    }
}
