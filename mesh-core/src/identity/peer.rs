//! The rule by which a peer is judged, and what is known of one that passed.

use std::fmt;
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
#[non_exhaustive]
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

impl PeerCertificate {
    /// What was read of a certificate. The workload is the one that its names tell.
    pub fn new(sans: Sans, subject: impl Into<Box<str>>, sha256: [u8; 32], not_after: u64) -> Self {
        Self {
            spiffe: sans.workload().ok(),
            sans,
            subject: subject.into(),
            sha256,
            not_after,
        }
    }
}

/// How many names a text shows, and how many characters of each.
const SHOWN: usize = 4;
const LONGEST: usize = 200;

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

/// Whom a connection is for. A list of the configuration that is empty is [`Self::InMesh`], never [`Self::Vouched`].
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
    /// Whomever the authorities vouch for, whatever its names: the clients of a gateway's `MUTUAL` without
    /// `subjectAltNames`, whose authorities are those of one file. Nobody of the mesh is judged by it.
    Vouched,
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
    #[error("the certificate's URI name \"{name}\" is no SPIFFE id of a workload", name = short(.0))]
    NotSpiffe(Box<str>),
    /// A workload of somebody else.
    #[error("{name} is of a trust domain that is not ours", name = short(.0.as_str()))]
    ForeignDomain(SpiffeId),
    /// Our own trust domain is the one of our certificate.
    #[error("we have no certificate of our own, so no trust domain that it could be of")]
    NoDomain,
    /// Not one of those that were meant.
    #[error("none of the names that the configuration asks for is among the certificate's")]
    NoneMatches,
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
}

/// The first few names. They are the peer's text: escaped, and not more of it than a line holds.
impl fmt::Display for Sans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.uri.iter().map(|name| format!("URI:{}", short(name)));
        let dns = self.dns.iter().map(|name| format!("DNS:{}", short(name)));
        let ip = self.ip.iter().map(|address| format!("IP:{address}"));
        let mut all: Vec<String> = uri.chain(dns).chain(ip).take(SHOWN).collect();
        let more = (self.uri.len() + self.dns.len() + self.ip.len()).saturating_sub(SHOWN);
        if more > 0 {
            all.push(format!("{more} more"));
        }
        if self.unreadable > 0 {
            all.push(format!("{} unreadable URI", self.unreadable));
        }
        match all.is_empty() {
            true => f.write_str("no names"),
            false => f.write_str(&all.join(", ")),
        }
    }
}

fn short(name: &str) -> String {
    let shown = name.chars().take(LONGEST);
    let mut text: String = shown.flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() {
        text.push_str("...");
    }
    text
}

impl PeerRule {
    /// Whether a certificate whose chain is good is of the peer that is meant. `own` is our side's trust domain,
    /// which is known once there is a certificate of our own.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, sans: &Sans, own: Option<&Domains>) -> Result<(), SanFault> {
        match self {
            Self::OneOf(wanted) => {
                // A name of a workload counts only in a certificate that names nothing else.
                let workloads = wanted.iter().any(SanMatcher::is_uri);
                if workloads {
                    sans.workload()?;
                }
                match wanted.iter().any(|matcher| matcher.meets(sans)) {
                    true => Ok(()),
                    false => Err(SanFault::NoneMatches),
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
                match own.ok_or(SanFault::NoDomain)?.hold(&id) {
                    true => Ok(()),
                    false => Err(SanFault::ForeignDomain(id)),
                }
            }
            Self::Vouched => Ok(()),
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
                    false => Err(SanFault::NoneMatches),
                }
            }
        }
    }
}
