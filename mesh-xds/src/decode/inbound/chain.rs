//! `FilterChain`: who is let in by it, on what terms, and what a request has to pass behind it.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket};
use envoy_types::pb::envoy::config::listener::v3::{self as pb, filter::ConfigType};
use mesh_core::server::{Demand, Pipeline};
use mesh_core::snapshot::TableKey;
use mesh_core::tls::ServerTls;
use prost::Message;

use super::demand::{self, Match, Transport};
use super::{Side, pipeline};
use crate::decode::http_filter::{self, type_of};
use crate::decode::ignored::Ignored;
use crate::decode::listener::MANAGER;
use crate::decode::tls::{self, Clients, Unfit};
use crate::decode::{Invalid, message};

const TCP: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
/// Network filters that tell of connections and decide nothing.
const TELEMETRY: [&str; 2] = [
    "envoy.tcp.metadataexchange.config.MetadataExchange",
    "stats.PluginConfig",
];
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/// A chain.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: Arc<str>,
    pub(super) port: Option<u16>,
    pub(super) transport: Transport,
    pub(super) demand: Demand,
    /// Whether it is for fewer connections than that tells.
    pub(super) is_narrow: bool,
    pub(super) security: Security,
    pub(super) serves: Serves,
}

impl Chain {
    /// Where its requests go on to.
    pub(super) fn routes(&self) -> Option<&TableKey> {
        match &self.serves {
            Serves::Http(pipeline) => pipeline.gateway.as_ref().map(|gateway| &gateway.routes),
            Serves::Tcp | Serves::Refused(_) => None,
        }
    }
}

/// Its transport socket.
#[derive(Debug)]
pub(super) enum Security {
    None,
    Tls(Arc<ServerTls>),
    /// There is one that is not served.
    Refused(String),
}

/// What its filters make of a connection.
#[derive(Debug)]
pub(super) enum Serves {
    Http(Arc<Pipeline>),
    /// Bytes, which a server of HTTP has no use for.
    Tcp,
    /// Something that is not served.
    Refused(String),
}

/// The match in wire form: what it says beyond the fields that are known may be whom it is not for.
#[derive(Clone, PartialEq, Message)]
struct Outline {
    #[prost(bytes = "vec", optional, tag = "1")]
    filter_chain_match: Option<Vec<u8>>,
}

pub(super) fn decode(
    bytes: &[u8],
    listener: &Arc<str>,
    side: Side,
    ignored: &mut Ignored,
) -> Result<Chain, Invalid> {
    let wire: pb::FilterChain = message(bytes)?;
    let Match {
        port,
        transport,
        demand,
        unasked,
    } = matching(bytes, wire.filter_chain_match.as_ref())
        .map_err(|e| e.within("filter_chain_match"))?;
    let name = match &*wire.name {
        "" => Arc::clone(listener),
        name => name.into(),
    };
    let who = format!("filter chain {name:?} of {listener}");
    let security = security(wire.transport_socket.as_ref(), &who, side)?;
    #[allow(deprecated, reason = "Envoy still serves it")]
    let proxied = wire.use_proxy_proto.is_some_and(|flag| flag.value);
    let serves = match (unasked, proxied) {
        (Some(field), _) => {
            Serves::Refused(format!("filter_chain_match.{field} is not asked here"))
        }
        (None, true) => Serves::Refused("the PROXY protocol is not spoken".to_owned()),
        (None, false) => serves(&wire.filters, listener, side, ignored)?,
    };
    Ok(Chain {
        name,
        port,
        transport,
        demand,
        is_narrow: unasked.is_some(),
        security,
        serves,
    })
}

fn matching(bytes: &[u8], wire: Option<&pb::FilterChainMatch>) -> Result<Match, Invalid> {
    let none = pb::FilterChainMatch::default();
    let wire = wire.unwrap_or(&none);
    let Outline { filter_chain_match } = message(bytes)?;
    let mut decoded = demand::decode(wire)?;
    if wire.encoded_len() < filter_chain_match.unwrap_or_default().len() {
        decoded.unasked = Some("(a field that this version does not know)");
    }
    Ok(decoded)
}

fn security(socket: Option<&TransportSocket>, who: &str, side: Side) -> Result<Security, Invalid> {
    let Some(socket) = socket else {
        return Ok(Security::None);
    };
    let Some(transport_socket::ConfigType::TypedConfig(any)) = &socket.config_type else {
        return Ok(match &*socket.name {
            "envoy.transport_sockets.raw_buffer" => Security::None,
            name => Security::Refused(format!("transport socket {name:?} has no configuration")),
        });
    };
    match type_of(&any.type_url) {
        RAW_BUFFER => Ok(Security::None),
        tls::DOWNSTREAM => match tls::downstream(&any.value, who, clients(side)) {
            Ok(terms) => Ok(Security::Tls(terms.into())),
            Err(Unfit::NotServed(what)) => {
                Ok(Security::Refused(format!("transport_socket: {what}")))
            }
            Err(Unfit::Malformed(error)) => Err(error.within("transport_socket.typed_config")),
        },
        other => Ok(Security::Refused(format!(
            "transport socket {other:?} is not served"
        ))),
    }
}

const fn clients(side: Side) -> Clients {
    match side {
        Side::Workload => Clients::OfTheMesh,
        Side::Gateway => Clients::Outside,
    }
}

fn serves(
    filters: &[pb::Filter],
    listener: &Arc<str>,
    side: Side,
    ignored: &mut Ignored,
) -> Result<Serves, Invalid> {
    let mut refused = None;
    for (at, filter) in filters.iter().enumerate() {
        let within = |e: Invalid| e.within(format_args!("filters[{at}]"));
        let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
            refused
                .get_or_insert_with(|| format!("network filter {:?} is not served", filter.name));
            continue;
        };
        let decoded = http_filter::typed(config).map_err(within)?;
        match (&*decoded.kind, decoded.message) {
            (MANAGER, Some(bytes)) => {
                let pipeline = pipeline::decode(bytes, listener, side, ignored)
                    .map_err(|e| within(e.within("typed_config")))?;
                return Ok(match refused {
                    None => Serves::Http(pipeline.into()),
                    Some(why) => Serves::Refused(why),
                });
            }
            // What is before it decides by other rules than those of requests, and is not asked here.
            (TCP, _) => return Ok(Serves::Tcp),
            (kind, _) if TELEMETRY.contains(&kind) => {}
            (kind, _) => {
                refused.get_or_insert_with(|| {
                    format!("network filter {:?} ({kind:?}) is not served", filter.name)
                });
            }
        }
    }
    let none = || "it has neither an HTTP connection manager nor a TCP proxy".to_owned();
    Ok(Serves::Refused(refused.unwrap_or_else(none)))
}
