//! `RouteAction.RequestMirrorPolicy`: requests of which a second cluster gets a copy.

use http::uri::Authority;
use http::{HeaderMap, Uri};
use rand::{Rng, RngExt};

use super::action::ClusterIndex;
use super::forward::set_host;
use super::fraction::{Fraction, MILLION};
use super::rewrite::InvalidRewrite;
use crate::request::split_port;

/// Where copies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// `cluster`. It need not be there: a copy that cannot be sent is not missed.
    pub cluster: ClusterIndex,
    /// `runtime_fraction`; all where the policy has none.
    pub fraction: Fraction,
    /// The host that a copy names.
    pub host: MirrorHost,
}

/// The host of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorHost {
    /// That of the request with `-shadow` behind it, before its port, so that logs tell the two apart. The literal of
    /// an IPv6 address stays as it is: with the suffix it would be no host.
    Marked,
    /// `disable_shadow_host_suffix_append`: the same.
    Same,
    /// `host_rewrite_literal`
    Literal(Authority),
}

/// The mirrors of one request. One draw decides for all: of two with the same fraction both get a copy, or none
/// (Envoy).
pub fn drawn<'a, R: Rng>(
    mirrors: &'a [Mirror],
    rng: &mut R,
) -> impl Iterator<Item = &'a Mirror> + use<'a, R> {
    let point = rng.random_range(0..MILLION);
    mirrors
        .iter()
        .filter(move |mirror| point < mirror.fraction.millionths())
}

impl MirrorHost {
    /// Gives a copy its host.
    ///
    /// # Errors
    /// When the host with the suffix is none.
    pub fn rewrite(&self, uri: &mut Uri, headers: &mut HeaderMap) -> Result<(), InvalidRewrite> {
        match self {
            Self::Same => Ok(()),
            Self::Literal(host) => set_host(uri, headers, host),
            Self::Marked => match uri.authority().map(marked).transpose()?.flatten() {
                Some(host) => set_host(uri, headers, &host),
                None => Ok(()),
            },
        }
    }
}

fn marked(authority: &Authority) -> Result<Option<Authority>, InvalidRewrite> {
    let (host, port) = split_port(authority.as_str());
    if host.ends_with(']') {
        return Ok(None);
    }
    let marked = match port {
        Some(port) => format!("{host}-shadow:{port}"),
        None => format!("{host}-shadow"),
    };
    super::rewrite::authority(marked.as_bytes()).map(Some)
}
