//! Who makes a request: the tests of `envoy.config.rbac.v3.Principal`.

use super::cidr::CidrRange;
use super::claims::ClaimMatcher;
use super::facts::Facts;
use super::truth::Truth;
use crate::identity::{Peer, PeerCertificate};
use crate::matcher::{HeaderMatcher, StringMatcher};

/// A test of who it is.
#[derive(Debug, Clone)]
pub enum Source {
    /// `authenticated`: a peer that showed a certificate; with a `principal_name`, one of that name.
    ///
    /// The name is the certificate's URI name, else one of its DNS names, else its subject. Envoy goes on to the next
    /// kind when no name of the first is the one; here such a find is [`Truth::Unknown`], so that a host name that
    /// looks like an id lets nobody in and keeps nobody from being denied. So is a URI name that is not the id of the
    /// one workload that was proven, and one of several. Envoy takes TLS without a certificate for authenticated, with
    /// an empty subject; that is not known here either.
    Authenticated(Option<StringMatcher>),
    /// `direct_remote_ip`: the other end of the connection; `source_ip` too, since no PROXY protocol is spoken.
    DirectRemoteIp(CidrRange),
    /// `remote_ip`: where the request began.
    RemoteIp(CidrRange),
    /// `header`
    Header(HeaderMatcher),
    /// `url_path`
    UrlPath(StringMatcher),
    /// `metadata`, `sourced_metadata`
    Metadata(ClaimMatcher),
}

impl Source {
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Truth {
        let known = match self {
            Self::Authenticated(name) => return authenticated(name.as_ref(), facts.peer),
            Self::Metadata(claim) => return claim.holds(facts.claims),
            Self::DirectRemoteIp(range) => range.contains(facts.direct),
            Self::RemoteIp(range) => range.contains(facts.remote),
            Self::Header(matcher) => matcher.holds(facts.seen.header(&matcher.name)),
            Self::UrlPath(matcher) => matcher.matches(facts.seen.view().path.as_bytes()),
        };
        known.into()
    }
}

fn authenticated(name: Option<&StringMatcher>, peer: &Peer) -> Truth {
    match (peer, name) {
        (Peer::Plaintext, _) => Truth::No,
        (Peer::Anonymous, Some(name)) if !name.matches(b"") => Truth::No,
        (Peer::Anonymous, _) => Truth::Unknown,
        (Peer::Proven(certificate), None) if is_clear(certificate) => Truth::Yes,
        (Peer::Proven(_), None) => Truth::Unknown,
        (Peer::Proven(certificate), Some(name)) => named(name, certificate),
    }
}

/// Whether its URI names are the one id that was proven, or none.
fn is_clear(certificate: &PeerCertificate) -> bool {
    let sans = &certificate.sans;
    match (&*sans.uri, sans.unreadable) {
        ([], 0) => true,
        ([one], 0) => certificate
            .spiffe
            .as_ref()
            .is_some_and(|id| id.as_str() == &**one),
        _ => false,
    }
}

fn named(name: &StringMatcher, certificate: &PeerCertificate) -> Truth {
    let sans = &certificate.sans;
    if sans.unreadable > 0 {
        return Truth::Unknown;
    }
    // A peer may have thousands of names: what the first kind tells is not asked of the others.
    let among = |names: &[Box<str>]| names.iter().any(|one| name.matches(one.as_bytes()));
    let by_subject = || name.matches(certificate.subject.as_bytes());
    let might = |found: bool| match found {
        true => Truth::Unknown,
        false => Truth::No,
    };
    match (&*sans.uri, &*sans.dns) {
        ([], []) => by_subject().into(),
        ([], dns) if among(dns) => Truth::Yes,
        ([], _) => might(by_subject()),
        (uri, _) if among(uri) && is_clear(certificate) => Truth::Yes,
        (uri, dns) => might(among(uri) || among(dns) || by_subject()),
    }
}
