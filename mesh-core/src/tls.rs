//! TLS between workloads, as data: what a connection has to be, and whom it is for. Nothing here opens one.
//!
//! Two terms are equal when they would lead to the same connection, so that pools can be keyed by them. They are compared
//! by a text that is made once: matchers hold compiled expressions, which cannot be compared.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::cluster::Protocol;
use crate::identity::{PeerRule, SanMatcher};
use crate::matcher::StringMatcher;

/// The terms of a connection that we open (`UpstreamTlsContext`).
#[derive(Debug, Clone)]
pub struct ClientTerms {
    /// Whose terms they are, for errors. It decides nothing and is not compared.
    pub who: Arc<str>,
    /// The certificate that we show (Istio's `MUTUAL` and `ISTIO_MUTUAL`); none under `SIMPLE`.
    pub identity: Option<CertName>,
    /// By what the server's chain is judged.
    pub roots: RootName,
    /// Whom the server's certificate must name.
    pub peer: PeerRule,
    /// The server name that is sent; none is sent without one.
    pub sni: Option<Arc<str>>,
    /// The protocols that are offered.
    pub alpn: Alpn,
    /// The oldest version that will do.
    pub min: TlsVersion,
}

impl ServerTerms {
    /// Whether chains are judged by the same authorities, and versions alike, as by other terms.
    pub fn judges_as(&self, other: &Self) -> bool {
        let roots = |terms: &Self| match &terms.client {
            ClientAuth::Required { roots, .. } | ClientAuth::Optional { roots, .. } => {
                Some(roots.clone())
            }
            ClientAuth::None => None,
        };
        self.min == other.min && self.max == other.max && roots(self) == roots(other)
    }
}

/// Which certificate is shown, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertName {
    /// The workload's own (SDS secret `default`, provider instance `default`).
    Workload,
    /// A pair of PEM files (SDS secret `file-cert:<chain>~<key>`).
    Files {
        /// The certificate, its chain after it.
        chain: Arc<str>,
        /// Its key.
        key: Arc<str>,
    },
}

/// Which authorities are believed, by their name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RootName {
    /// The mesh's own (SDS secret `ROOTCA`, provider instance `ROOTCA`).
    Workload,
    /// A PEM file (SDS secret `file-root:<path>`).
    File(Arc<str>),
    /// Those of the platform (`file-root:system`, `system_root_certs`).
    System,
}

/// The versions of TLS that are spoken (`TlsParameters`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, Istio's least.
    #[default]
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// The terms of a connection that comes in (`DownstreamTlsContext`).
#[derive(Debug, Clone)]
pub struct ServerTerms {
    /// Whose terms they are, for errors. It decides nothing and is not compared.
    pub who: Arc<str>,
    /// The certificate that we show.
    pub identity: CertName,
    /// What the client must show.
    pub client: ClientAuth,
    /// The protocols that are accepted, the dearest first.
    pub alpn: Box<[Box<[u8]>]>,
    /// The oldest version that will do.
    pub min: TlsVersion,
    /// The newest one.
    pub max: TlsVersion,
}

/// What a client must show. Rules for workloads have nothing between: a certificate that may be left out proves nothing.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// A certificate that chains to one of the roots and that the rule takes (`require_client_certificate`).
    Required {
        /// By what its chain is judged.
        roots: RootName,
        /// Whom it must name.
        peer: PeerRule,
    },
    /// One that is asked for and may be left out: who shows none stays anonymous, and who shows one that is no good is
    /// closed. For authorities, whose clients have none at first; no configuration says it.
    Optional {
        /// By what its chain is judged.
        roots: RootName,
        /// Whom it must name.
        peer: PeerRule,
    },
    /// None, and none is asked for: the client stays anonymous.
    None,
}

/// What a client offers by ALPN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alpn {
    /// Istio's names for the protocol, by which its PERMISSIVE listeners know a peer of the mesh, then the common one.
    Istio,
    /// The protocol's common name alone.
    OfProtocol,
    /// This list (`alpn_protocols`), but of the names for versions of HTTP only those of the one that is spoken: a server
    /// that chose another would be right.
    Exactly(Box<[Box<[u8]>]>),
}

impl Alpn {
    /// The names for a connection in this protocol, the dearest first.
    pub fn offered(&self, protocol: Protocol) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match (self, protocol) {
            (Self::Istio, Protocol::Http1) => &[b"istio-http/1.1", b"istio", b"http/1.1"],
            (Self::Istio, Protocol::Http2) => &[b"istio-h2", b"istio", b"h2"],
            (Self::OfProtocol, Protocol::Http1) => &[b"http/1.1"],
            (Self::OfProtocol, Protocol::Http2) => &[b"h2"],
            (Self::Exactly(names), _) => {
                let fitting = names.iter().filter(|name| fits(name, protocol));
                return fitting.map(|name| name.to_vec()).collect();
            }
        };
        names.iter().map(|name| name.to_vec()).collect()
    }

    /// What a server of the mesh accepts. `istio` is there for Envoys that offer their own names alone: rustls ends a
    /// handshake when no offered name is known.
    pub fn accepted() -> Box<[Box<[u8]>]> {
        [&b"h2"[..], b"http/1.1", b"istio"].map(Into::into).into()
    }

    fn key(&self) -> String {
        match self {
            Self::Istio => "istio".to_owned(),
            Self::OfProtocol => "of the protocol".to_owned(),
            Self::Exactly(names) => list(names),
        }
    }
}

/// The version of HTTP that a name of ALPN stands for, if it stands for one.
pub fn protocol(name: &[u8]) -> Option<Protocol> {
    match name {
        b"http/1.0" | b"http/1.1" | b"istio-http/1.0" | b"istio-http/1.1" => Some(Protocol::Http1),
        b"h2" | b"istio-h2" => Some(Protocol::Http2),
        _ => None,
    }
}

/// Whether a name may be offered for a connection in this protocol. Istio's peer exchange is answered with frames that
/// are no HTTP; a name that is empty or too long cannot be written (RFC 7301, 3.1).
fn fits(name: &[u8], spoken: Protocol) -> bool {
    (1..=255).contains(&name.len())
        && name != b"istio-peer-exchange"
        && protocol(name).is_none_or(|protocol| protocol == spoken)
}

/// Terms with the text that they are compared by.
#[derive(Clone)]
pub struct Keyed<T> {
    terms: T,
    key: Arc<str>,
}

/// The terms of connections that we open; a pool can be keyed by them.
pub type ClientTls = Keyed<ClientTerms>;

/// The terms of connections that come in.
pub type ServerTls = Keyed<ServerTerms>;

impl<T> Keyed<T> {
    /// What was agreed.
    pub const fn terms(&self) -> &T {
        &self.terms
    }
}

impl From<ClientTerms> for ClientTls {
    fn from(terms: ClientTerms) -> Self {
        let ClientTerms {
            who: _,
            identity,
            roots,
            peer,
            sni,
            alpn,
            min,
        } = &terms;
        let (peer, alpn) = (wanted(peer), alpn.key());
        let key = format!("{identity:?} | {roots:?} | {peer} | {sni:?} | {alpn} | {min:?}");
        Self {
            key: key.into(),
            terms,
        }
    }
}

impl From<ServerTerms> for ServerTls {
    fn from(terms: ServerTerms) -> Self {
        let ServerTerms {
            who: _,
            identity,
            client,
            alpn,
            min,
            max,
        } = &terms;
        let client = match client {
            ClientAuth::Required { roots, peer } => format!("{} by {roots:?}", wanted(peer)),
            ClientAuth::Optional { roots, peer } => {
                format!("anonymous or {} by {roots:?}", wanted(peer))
            }
            ClientAuth::None => "anonymous".to_owned(),
        };
        Self {
            key: format!(
                "{identity:?} | {client} | {} | {min:?} to {max:?}",
                list(alpn)
            )
            .into(),
            terms,
        }
    }
}

impl<T> PartialEq for Keyed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Keyed<T> {}

impl<T> Hash for Keyed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Keyed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.terms.fmt(f)
    }
}

/// A rule for an error: not more of its names than a line holds.
pub fn told(rule: &PeerRule) -> String {
    const SHOWN: usize = 4;
    match rule {
        PeerRule::OneOf(matchers) if matchers.len() > SHOWN => {
            let first: Vec<String> = matchers.iter().take(SHOWN).map(one).collect();
            let more = matchers.len() - SHOWN;
            format!("one of [{}, and {more} more]", first.join(", "))
        }
        rule => wanted(rule),
    }
}

/// A rule as text: the same for two rules that take the same peers for the same reasons. Names are quoted and escaped, so
/// that none can look like two.
pub fn wanted(rule: &PeerRule) -> String {
    match rule {
        PeerRule::OneOf(matchers) => {
            let mut all: Vec<String> = matchers.iter().map(one).collect();
            // Any of them will do: order and repeats say nothing.
            all.sort_unstable();
            all.dedup();
            format!("one of [{}]", all.join(", "))
        }
        PeerRule::Domains(domains) => {
            let mut all: Vec<&str> = domains.iter().map(|domain| domain.as_str()).collect();
            all.sort_unstable();
            all.dedup();
            format!("a workload of one of the trust domains {all:?}")
        }
        PeerRule::InMesh => "a workload of our own trust domain".to_owned(),
        PeerRule::Host(host) => format!("the host {host:?}"),
        PeerRule::Vouched => "whomever the authorities vouch for".to_owned(),
    }
}

fn one(matcher: &SanMatcher) -> String {
    match matcher {
        SanMatcher::Uri(matcher) => format!("URI {}", string(matcher)),
        SanMatcher::Dns(pattern) => format!("DNS {pattern:?}"),
        SanMatcher::Ip(address) => format!("IP {address}"),
    }
}

fn string(matcher: &StringMatcher) -> String {
    match matcher {
        StringMatcher::Exact(text) => quoted(text),
        StringMatcher::Prefix(text) => format!("from {}", quoted(text)),
        StringMatcher::Suffix(text) => format!("to {}", quoted(text)),
        StringMatcher::Contains(text) => format!("around {}", quoted(text)),
        StringMatcher::Regex(regex) => format!("by {}", quoted(regex.pattern().as_bytes())),
        StringMatcher::IgnoreCase(inner) => format!("in any case {}", string(inner)),
    }
}

fn list(names: &[Box<[u8]>]) -> String {
    let all: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("[{}]", all.join(", "))
}

fn quoted(text: &[u8]) -> String {
    format!("\"{}\"", text.escape_ascii())
}
