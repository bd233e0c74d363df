//! The ways in, by port, and the choice among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chain::{Chain, Opening};
use super::pipeline::Pipeline;
use crate::tls::ServerTls;

/// What a server knows of how it is to serve. There is no default: whoever makes one says which.
#[derive(Debug, Clone)]
pub enum Inbound {
    /// Nothing yet: connections wait.
    Waiting,
    /// There are no rules, and this text says who says so: plaintext, and every request passes.
    Open(Arc<str>),
    /// These.
    Rules(Arc<Rules>),
    /// There should be rules, and there are none that can be obeyed: connections are closed, for this reason.
    Closed(Arc<str>),
}

/// The rules of one listener.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which version of the listener they are from.
    pub version: Arc<str>,
    ports: BTreeMap<u16, Port>,
    /// For a port that the listener does not mention: the workload's own mode.
    otherwise: Port,
}

/// The ways in by one port.
#[derive(Debug, Clone)]
pub struct Port {
    chains: Box<[Chain]>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
pub enum Chosen<'a> {
    /// It is served as it is.
    Plaintext(&'a Arc<Pipeline>),
    /// It is served after a handshake on these terms.
    Tls(&'a Arc<ServerTls>, &'a Arc<Pipeline>),
    /// It is closed.
    Close(Why),
}

/// Why a connection is closed before it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Why {
    /// `STRICT`
    #[error("it came in plaintext, and this port takes mutual TLS alone")]
    PlaintextRefused,
    /// `DISABLE`
    #[error("it came with TLS, and this port takes plaintext alone")]
    TlsRefused,
    /// `PERMISSIVE` takes TLS from peers that offer Istio's protocols by ALPN.
    #[error(
        "it came with TLS, and offered neither a protocol nor a server name that this port takes"
    )]
    NoChain,
}

impl Rules {
    /// Rules by port, and those for every other port.
    pub fn new(version: Arc<str>, ports: BTreeMap<u16, Port>, otherwise: Port) -> Self {
        Self {
            version,
            ports,
            otherwise,
        }
    }

    /// The ways in by a port.
    pub fn port(&self, port: u16) -> &Port {
        self.ports.get(&port).unwrap_or(&self.otherwise)
    }
}

impl Port {
    /// The ways in, in the order of the listener.
    pub fn new(chains: impl Into<Box<[Chain]>>) -> Self {
        Self {
            chains: chains.into(),
        }
    }

    /// The ways in.
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// The way for a connection.
    pub fn choose(&self, opening: &Opening<'_>) -> Chosen<'_> {
        match opening {
            Opening::Plaintext => self.plaintext(),
            Opening::Tls { alpn, sni } => self.tls(alpn, *sni),
        }
    }

    fn plaintext(&self) -> Chosen<'_> {
        let mut plain = self.chains.iter().filter(|chain| chain.tls.is_none());
        match plain.next() {
            Some(chain) => Chosen::Plaintext(&chain.pipeline),
            None => Chosen::Close(Why::PlaintextRefused),
        }
    }

    fn tls(&self, _alpn: &[Box<[u8]>], _sni: Option<&str>) -> Chosen<'_> {
        match self.chains.iter().any(|chain| chain.tls.is_some()) {
            true => Chosen::Close(Why::NoChain),
            false => Chosen::Close(Why::TlsRefused),
        }
    }
}
