//! `envoy.config.listener.v3.Listener` of a server in the dialect of sidecars: `virtualInbound`, which has the ways in for
//! all ports, or a listener by port where Istio intercepts nothing. A gateway has a listener for each port of its servers,
//! and istiod calls its direction `OUTBOUND`.
//!
//! Of a sidecar's listeners nothing is read but these. What a listener's filters would do with a connection is told by their
//! types; one that is not known shuts its way, or refuses every request behind it.

mod chain;
mod demand;
mod gateway;
pub(crate) mod grpc;
mod pipeline;
mod ports;

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{
    Address, TrafficDirection, address, socket_address::PortSpecifier,
};
use mesh_core::server::{Port, Rules};
use mesh_core::snapshot::TableKey;
use prost::Message;

use super::ignored::Ignored;
use super::{Faults, Invalid, message};

/// istiod's name for the listener that inbound connections of all ports are sent through.
pub(crate) const VIRTUAL: &str = "virtualInbound";

/// Whose listeners they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Side {
    /// Of a workload, which answers requests itself.
    #[default]
    Workload,
    /// Of a gateway, which leads them on by routes.
    Gateway,
}

/// A server's listener.
#[derive(Debug)]
pub(crate) struct InboundListener {
    version: Arc<str>,
    /// Where it listens.
    port: u16,
    ports: BTreeMap<u16, Port>,
    otherwise: Port,
    /// Where its requests go on to.
    pub(crate) tables: Vec<TableKey>,
    /// What is in it and has no effect here, in words, each kind once.
    pub(crate) ignored: Vec<Box<str>>,
}

/// What tells whether a listener is one of these; its filter chains each in wire form.
#[derive(Clone, PartialEq, Message)]
struct Outline {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    address: Option<Address>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    filter_chains: Vec<Vec<u8>>,
    #[prost(enumeration = "TrafficDirection", tag = "16")]
    traffic_direction: i32,
    #[prost(bytes = "vec", optional, tag = "25")]
    default_filter_chain: Option<Vec<u8>>,
    /// It stands in the place of the chains' own matches.
    #[prost(bytes = "vec", optional, tag = "32")]
    filter_chain_matcher: Option<Vec<u8>>,
}

/// Name and direction alone.
#[derive(Clone, PartialEq, Message)]
struct Direction {
    #[prost(enumeration = "TrafficDirection", tag = "16")]
    traffic_direction: i32,
}

/// Whether it is a server's listener.
pub(crate) fn is_inbound(bytes: &[u8], side: Side) -> Result<bool, Invalid> {
    let Direction { traffic_direction } = message(bytes)?;
    let wanted = match side {
        Side::Workload => TrafficDirection::Inbound,
        Side::Gateway => TrafficDirection::Outbound,
    };
    Ok(traffic_direction == wanted as i32)
}

pub(crate) fn decode(
    bytes: &[u8],
    version: &Arc<str>,
    side: Side,
) -> Result<InboundListener, Invalid> {
    let outline: Outline = message(bytes)?;
    let port = port(outline.address.as_ref()).map_err(|e| e.within("address"))?;
    let mut ignored = Ignored::default();
    if outline.default_filter_chain.is_some() {
        ignored.add("default_filter_chain has no effect: who meets no other chain is not let in");
    }
    if outline.filter_chain_matcher.is_some() {
        let reason = "is not served; the matches of the filter chains are";
        return Err(Invalid::new("filter_chain_matcher", reason));
    }
    let label: Arc<str> = format!("listener {:?} of version {version:?}", outline.name).into();
    let mut faults = Faults::default();
    let mut chains = Vec::with_capacity(outline.filter_chains.len());
    for (at, bytes) in outline.filter_chains.iter().enumerate() {
        ignored.at(format!("filter_chains[{at}]"));
        let chain = chain::decode(bytes, &label, side, &mut ignored);
        let chain = chain.map_err(|e| e.within(format_args!("filter_chains[{at}]")));
        chains.extend(faults.take(chain));
    }
    faults.take(demand::differ(&chains));
    // What comes to the port of interception itself would go round for ever.
    let loops = |chain: &chain::Chain| outline.name == VIRTUAL && chain.port == Some(port);
    chains.retain(|chain| !loops(chain));
    let tables = chains.iter().filter_map(chain::Chain::routes);
    let tables = tables.cloned().collect();
    let (ports, otherwise) = ports::by_port(chains);
    faults.or(Some(InboundListener {
        version: Arc::clone(version),
        port,
        ports,
        otherwise,
        tables,
        ignored: ignored.kinds(),
    }))
}

fn port(address: Option<&Address>) -> Result<u16, Invalid> {
    let Some(address::Address::SocketAddress(socket)) = address.and_then(|it| it.address.as_ref())
    else {
        return Err(Invalid::new("socket_address", "is missing"));
    };
    match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => port.try_into().map_err(|_| {
            let reason = format_args!("{port} is no port");
            Invalid::new("socket_address.port_value", reason)
        }),
        _ => Err(Invalid::new("socket_address.port_value", "is missing")),
    }
}

/// What the listeners of a server come to: `virtualInbound` alone where it is there, else each for its own port.
/// `None` where there is none.
pub(crate) fn rules<'a>(
    listeners: impl Iterator<Item = (&'a Arc<str>, &'a InboundListener)> + Clone,
) -> Option<Rules> {
    let is_virtual = |(name, _): &(&Arc<str>, _)| &***name == VIRTUAL;
    if let Some((_, all)) = listeners.clone().find(is_virtual) {
        let version = Arc::clone(&all.version);
        return Some(Rules::new(
            version,
            all.ports.clone(),
            all.otherwise.clone(),
        ));
    }
    let (_, first) = listeners.clone().next()?;
    let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
    for (name, listener) in listeners {
        let own = listener.ports.get(&listener.port);
        let own = own.unwrap_or(&listener.otherwise).clone();
        let port = match ports.contains_key(&listener.port) {
            false => own,
            true => ports::shut(name, "there is another listener for its port"),
        };
        ports.insert(listener.port, port);
    }
    let otherwise = ports::shut("the listeners", "no inbound listener is for this port");
    Some(Rules::new(Arc::clone(&first.version), ports, otherwise))
}
