//! The ways in, by port, and the choice among them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::addresses::Addresses;
use super::chain::{Chain, Demand, Opening, Shut};
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
    /// It differs from one address to the next: [`Inbound::at`] tells.
    ByAddress(Arc<Addresses>),
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
    shut: Box<[Shut]>,
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
    /// The way that it would take is one of [`Port::shut`], which tells the reason.
    #[error("the configuration has a way in for it that is not served here")]
    Shut,
}

impl Inbound {
    /// What requests have to pass, by all ways in of all addresses.
    pub fn pipelines(&self) -> impl Iterator<Item = &Arc<Pipeline>> {
        let placed = match self {
            Self::ByAddress(all) => Some(all.iter().map(|(_, state)| state)),
            Self::Waiting | Self::Open(_) | Self::Closed(_) | Self::Rules(_) => None,
        };
        let states = std::iter::once(self).chain(placed.into_iter().flatten());
        let rules = states.filter_map(|state| match state {
            Self::Rules(rules) => Some(rules),
            Self::Waiting | Self::Open(_) | Self::Closed(_) | Self::ByAddress(_) => None,
        });
        let chains = rules.flat_map(|rules| rules.chains());
        chains.map(|chain| &chain.pipeline)
    }
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

    /// All ways in, of all ports.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        let ports = self.ports.values().chain([&self.otherwise]);
        ports.flat_map(|port| &port.chains)
    }

    /// Whether the listener has ways in for just this port, and not for those alone that it does not mention.
    pub fn mentions(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    /// The ways in by a port.
    pub fn port(&self, port: u16) -> &Port {
        self.ports.get(&port).unwrap_or(&self.otherwise)
    }

    /// The clusters that are called by all of them, in order, each once.
    pub fn callees(&self) -> BTreeSet<Arc<str>> {
        let names = self.chains().flat_map(|chain| chain.pipeline.callees());
        names.cloned().collect()
    }
}

impl Port {
    /// The ways in, in the order of the listener.
    pub fn new(chains: impl Into<Box<[Chain]>>) -> Self {
        Self {
            chains: chains.into(),
            shut: Box::default(),
        }
    }

    /// The same with ways that are shut: who would take one of these takes no other.
    #[must_use]
    pub fn with_shut(self, shut: impl Into<Box<[Shut]>>) -> Self {
        Self {
            shut: shut.into(),
            ..self
        }
    }

    /// The ways in.
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// The ways that lead nowhere.
    pub fn shut(&self) -> &[Shut] {
        &self.shut
    }

    /// The way for a connection. As in Envoy each criterion leaves the best matches alone, and nobody comes back to the
    /// others: first the server name, then whether it is TLS, then the protocol. Of equals the first is taken, one that is
    /// shut before all.
    pub fn choose(&self, opening: &Opening<'_>) -> Chosen<'_> {
        match opening {
            Opening::Plaintext => self.plaintext(),
            Opening::Tls { alpn, sni } => self.tls(alpn, *sni),
        }
    }

    fn plaintext(&self) -> Chosen<'_> {
        let nameless = |demand: &Demand| demand.server_names.is_empty();
        let mut shut = self.shut.iter();
        if shut.any(|way| !way.is_tls && nameless(&way.demand)) {
            return Chosen::Close(Why::Shut);
        }
        let plain = || {
            let chains = self.chains.iter();
            chains.filter(|chain| chain.tls.is_none() && nameless(&chain.demand))
        };
        // Who speaks HTTP is told by its first bytes before those of whom nothing is known.
        let http = plain().find(|chain| chain.demand.is_http());
        let any = || plain().find(|chain| chain.demand.alpn.is_empty());
        match http.or_else(any) {
            Some(chain) => Chosen::Plaintext(&chain.pipeline),
            None => Chosen::Close(Why::PlaintextRefused),
        }
    }

    fn tls(&self, alpn: &[Box<[u8]>], sni: Option<&str>) -> Chosen<'_> {
        let shut = self.shut.iter().filter(|way| way.is_tls);
        let shut = shut.map(|way| (&way.demand, None));
        let ways = self.chains.iter().filter_map(|chain| {
            let tls = chain.tls.as_ref()?;
            Some((&chain.demand, Some((tls, &chain.pipeline))))
        });
        let all = || shut.clone().chain(ways.clone());
        if all().next().is_none() {
            return Chosen::Close(Why::TlsRefused);
        }
        let demands = self.chains.iter().map(|chain| &chain.demand);
        let demands = demands.chain(self.shut.iter().map(|way| &way.demand));
        let Some(best) = demands.filter_map(|demand| demand.named(sni)).max() else {
            return Chosen::Close(Why::NoChain);
        };
        let named = || all().filter(|(demand, _)| demand.named(sni) == Some(best));
        let by_protocol = alpn.iter().find_map(|offered| {
            let mut named = named();
            named.find(|(demand, _)| demand.alpn.contains(offered))
        });
        let of_any = || named().find(|(demand, _)| demand.alpn.is_empty());
        match by_protocol.or_else(of_any) {
            Some((_, Some((tls, pipeline)))) => Chosen::Tls(tls, pipeline),
            Some((_, None)) => Chosen::Close(Why::Shut),
            None => Chosen::Close(Why::NoChain),
        }
    }
}
