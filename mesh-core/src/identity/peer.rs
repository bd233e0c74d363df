//! The rule by which a peer is judged, and what is known of one that passed.

use std::net::IpAddr;
use std::sync::Arc;

use super::san::{DnsPattern, SanMatcher};
use super::spiffe::SpiffeId;
use super::trust_domain::TrustDomain;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub enum Peer {
    /// It came in plaintext: nobody.
    Plaintext,
    /// TLS without a certificate of its own.
    Anonymous,
    /// It holds the key of this certificate, whose chain and names were checked.
    Proven(Arc<PeerCertificate>),
}

impl Peer {
    /// Its certificate.
    pub fn certificate(&self) -> Option<&Arc<PeerCertificate>> {
        match self {
            Self::Proven(certificate) => Some(certificate),
            Self::Plaintext | Self::Anonymous => None,
        }
    }
}

/// What is known of a certificate whose chain was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Its names.
    pub sans: Sans,
    /// The workload, if exactly one URI name is there and is the id of one.
    pub spiffe: Option<SpiffeId>,
    /// The subject's distinguished name (RFC 2253), as `x-forwarded-client-cert` tells it.
    pub subject: Box<str>,
    /// SHA-256 of the certificate in DER.
    pub sha256: [u8; 32],
    /// Until when it holds, in seconds since 1970.
    pub not_after: u64,
}

/// The subject alternative names of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sans {
    /// URIs.
    pub uri: Box<[Box<str>]>,
    /// Host names.
    pub dns: Box<[Box<str>]>,
    /// Addresses.
    pub ip: Box<[IpAddr]>,
    /// How many URI names cannot be read as text; a certificate that has one has no identity.
    pub unreadable: usize,
}

/// The trust domain of a workload, and the names that it was known by (`MeshConfig.trustDomainAliases`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domains {
    /// Its own.
    pub own: TrustDomain,
    /// The others.
    pub aliases: Box<[TrustDomain]>,
}

impl Domains {
    /// Whether an id is of one of them.
    pub fn hold(&self, id: &SpiffeId) -> bool {
        let mut all = std::iter::once(&self.own).chain(&self.aliases);
        all.any(|domain| domain.as_str() == id.trust_domain())
    }
}

/// Whom a connection is for. There is no variant that takes anybody: a list of the configuration that is empty is
/// [`Self::InMesh`].
#[derive(Debug, Clone)]
pub enum PeerRule {
    /// One of these names; an empty list meets nobody.
    OneOf(Box<[SanMatcher]>),
    /// A workload of one of these trust domains (what istiod writes as the prefix `spiffe://<domain>/`).
    Domains(Box<[TrustDomain]>),
    /// A workload of our own trust domain or one of its aliases.
    InMesh,
    /// A host outside of the mesh, by its name or its address.
    Host(Arc<str>),
}

/// Why a peer whose chain is good is not the one that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SanFault {
    /// A workload is told by a URI name, and there is none.
    #[error("the certificate has no URI name, so it is no workload's")]
    NoUri,
    /// More than one: which of them would be asked is a matter of taste (SPIFFE, X.509-SVID 2).
    #[error("the certificate has {0} URI names; a workload's has one")]
    SeveralUris(usize),
    /// There is one, and it is no text.
    #[error("the certificate's URI name cannot be read, so it is no workload's")]
    Unreadable,
    /// The URI name is no id.
    #[error("the certificate's URI name {0:?} is no SPIFFE id of a workload")]
    NotSpiffe(Box<str>),
    /// A workload of somebody else.
    #[error("{0} is of a trust domain that is not ours")]
    ForeignDomain(SpiffeId),
    /// Not one of those that were meant.
    #[error("none of the names that the configuration asks for is among the certificate's: {0}")]
    NoneMatches(Box<str>),
    /// A host is checked by its name, and none was called.
    #[error("the host that was called has no name to check the certificate by")]
    NoHost,
}

impl Sans {
    /// The one workload that they name.
    ///
    /// # Errors
    /// When they name none, or more than one thing that could be one.
    pub fn workload(&self) -> Result<SpiffeId, SanFault> {
        match (&*self.uri, self.unreadable) {
            ([], 0) => Err(SanFault::NoUri),
            ([], 1) => Err(SanFault::Unreadable),
            ([one], 0) => one.parse().map_err(|_| SanFault::NotSpiffe(one.clone())),
            (all, unreadable) => Err(SanFault::SeveralUris(all.len() + unreadable)),
        }
    }

    fn told(&self) -> Box<str> {
        const SHOWN: usize = 4;
        let uri = self.uri.iter().map(|name| format!("URI:{name}"));
        let dns = self.dns.iter().map(|name| format!("DNS:{name}"));
        let ip = self.ip.iter().map(|address| format!("IP:{address}"));
        let all: Vec<String> = uri.chain(dns).chain(ip).collect();
        let more = all.len().saturating_sub(SHOWN);
        let mut told = all.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
        if told.is_empty() {
            told.push_str("it has none");
        }
        if more > 0 {
            told.push_str(&format!(", and {more} more"));
        }
        told.into()
    }
}

impl PeerRule {
    /// Whether a certificate whose chain is good is of the peer that is meant. `own` is our side's trust domain.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, sans: &Sans, own: &Domains) -> Result<(), SanFault> {
        match self {
            Self::OneOf(wanted) => {
                // A name of a workload counts only in a certificate that names nothing else.
                let workloads = wanted.iter().any(SanMatcher::is_uri);
                if workloads {
                    sans.workload()?;
                }
                match wanted.iter().any(|matcher| matcher.meets(sans)) {
                    true => Ok(()),
                    false => Err(SanFault::NoneMatches(sans.told())),
                }
            }
            Self::Domains(domains) => {
                let id = sans.workload()?;
                let mut all = domains.iter();
                match all.any(|domain| domain.as_str() == id.trust_domain()) {
                    true => Ok(()),
                    false => Err(SanFault::ForeignDomain(id)),
                }
            }
            Self::InMesh => {
                let id = sans.workload()?;
                match own.hold(&id) {
                    true => Ok(()),
                    false => Err(SanFault::ForeignDomain(id)),
                }
            }
            Self::Host(host) => {
                let wanted = match host.parse() {
                    Ok(address) => SanMatcher::Ip(address),
                    // A name that was called is one name: a wildcard in it would meet what others are called.
                    Err(_) => match host.parse::<DnsPattern>() {
                        Ok(name) if !name.is_wild() => SanMatcher::Dns(name),
                        _ => return Err(SanFault::NoHost),
                    },
                };
                match wanted.meets(sans) {
                    true => Ok(()),
                    false => Err(SanFault::NoneMatches(sans.told())),
                }
            }
        }
    }
}
