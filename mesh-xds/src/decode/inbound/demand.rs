//! `FilterChainMatch`: whom a chain is for.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::listener::v3::FilterChainMatch;
use mesh_core::server::Demand;

use super::chain::Chain;
use crate::decode::Invalid;

/// Which connections a chain is for by their first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Transport {
    Tls,
    Plaintext,
    /// It does not say.
    Any,
}

/// What a chain's match says.
#[derive(Debug)]
pub(super) struct Match {
    pub(super) port: Option<u16>,
    pub(super) transport: Transport,
    pub(super) demand: Demand,
    /// A criterion that is not asked here.
    pub(super) unasked: Option<&'static str>,
}

pub(super) fn decode(wire: &FilterChainMatch) -> Result<Match, Invalid> {
    let port = wire.destination_port.map(|port| port.value);
    let port = port.map(|port| match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Invalid::new(
            "destination_port",
            format_args!("{port} is no port"),
        )),
    });
    let transport = match &*wire.transport_protocol {
        "" => Transport::Any,
        "tls" => Transport::Tls,
        "raw_buffer" => Transport::Plaintext,
        other => {
            let reason = format_args!("{other:?} is neither tls nor raw_buffer");
            return Err(Invalid::new("transport_protocol", reason));
        }
    };
    for (at, name) in wire.server_names.iter().enumerate() {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        if rest.is_empty() || rest.contains('*') {
            let field = format!("server_names[{at}]");
            let reason = format_args!("{name:?} is neither a name nor *.<name>");
            return Err(Invalid::new(field, reason));
        }
    }
    let unasked = [
        ("prefix_ranges", !wire.prefix_ranges.is_empty()),
        ("address_suffix", !wire.address_suffix.is_empty()),
        ("suffix_len", wire.suffix_len.is_some()),
        (
            "direct_source_prefix_ranges",
            !wire.direct_source_prefix_ranges.is_empty(),
        ),
        ("source_type", wire.source_type != 0),
        (
            "source_prefix_ranges",
            !wire.source_prefix_ranges.is_empty(),
        ),
        ("source_ports", !wire.source_ports.is_empty()),
    ];
    let names = wire.server_names.iter();
    let protocols = wire.application_protocols.iter();
    Ok(Match {
        port: port.transpose()?,
        transport,
        demand: Demand {
            server_names: names.map(|name| name.to_ascii_lowercase().into()).collect(),
            alpn: protocols.map(|name| name.as_bytes().into()).collect(),
        },
        unasked: unasked
            .into_iter()
            .find_map(|(field, is_set)| is_set.then_some(field)),
    })
}

/// Envoy refuses a listener two of whose chains are for the same connections.
pub(super) fn differ(chains: &[Chain]) -> Result<(), Invalid> {
    let mut seen = BTreeMap::new();
    for chain in chains.iter().filter(|chain| !chain.is_narrow) {
        let Demand { server_names, alpn } = &chain.demand;
        let names = or_none(server_names.iter().map(|name| name.as_bytes()));
        let protocols = or_none(alpn.iter().map(|name| &**name));
        for name in names {
            for protocol in &protocols {
                let key = (chain.port, name, chain.transport, *protocol);
                if let Some(other) = seen.insert(key, &chain.name)
                    && !std::ptr::eq(other, &raw const chain.name)
                {
                    let reason = format_args!(
                        "chains {other:?} and {:?} are for the same connections",
                        chain.name
                    );
                    return Err(Invalid::new("filter_chains", reason));
                }
            }
        }
    }
    Ok(())
}

/// What is listed, or that nothing is.
fn or_none<'a>(listed: impl Iterator<Item = &'a [u8]>) -> Vec<Option<&'a [u8]>> {
    let all: Vec<_> = listed.map(Some).collect();
    match all.is_empty() {
        true => vec![None],
        false => all,
    }
}
