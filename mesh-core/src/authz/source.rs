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
    /// looks like an id lets nobody in and keeps nobody from being denied. So is one of several URI names. Envoy takes
    /// TLS without a certificate for authenticated, with an empty subject; that is not known here either.
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
            Self::Header(matcher) => matcher.matches(&facts.view),
            Self::UrlPath(matcher) => matcher.matches(facts.view.path.as_bytes()),
        };
        known.into()
    }
}

fn authenticated(name: Option<&StringMatcher>, peer: &Peer) -> Truth {
    match (peer, name) {
        (Peer::Plaintext, _) => Truth::No,
        (Peer::Anonymous, Some(name)) if !name.matches(b"") => Truth::No,
        (Peer::Anonymous, _) => Truth::Unknown,
        (Peer::Proven(_), None) => Truth::Yes,
        (Peer::Proven(certificate), Some(name)) => named(name, certificate),
    }
}

fn named(name: &StringMatcher, certificate: &PeerCertificate) -> Truth {
    let sans = &certificate.sans;
    if sans.unreadable > 0 {
        return Truth::Unknown;
    }
    let among = |names: &[Box<str>]| names.iter().any(|one| name.matches(one.as_bytes()));
    let by_uri = among(&sans.uri);
    let by_dns = among(&sans.dns);
    let by_subject = name.matches(certificate.subject.as_bytes());
    match (&*sans.uri, &*sans.dns) {
        ([_], _) if by_uri => Truth::Yes,
        ([], [_, ..]) if by_dns => Truth::Yes,
        ([], []) => by_subject.into(),
        _ if by_uri || by_dns || by_subject => Truth::Unknown,
        _ => Truth::No,
    }
}
