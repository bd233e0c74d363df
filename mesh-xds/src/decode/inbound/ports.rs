//! Chains -> the ways in of each port.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_core::server::{self, Demand, Pipeline, Port, Shut};

use super::chain::{Chain, Security, Serves};
use super::demand::Transport;

/// The ports that chains name, and every other one. Envoy looks at the port first and does not come back: a port that is
/// named has its own chains alone.
pub(super) fn by_port(chains: Vec<Chain>) -> (BTreeMap<u16, Port>, Port) {
    let mut by_port: BTreeMap<Option<u16>, Vec<Chain>> = BTreeMap::new();
    for chain in chains {
        by_port.entry(chain.port).or_default().push(chain);
    }
    let otherwise = by_port.remove(&None).unwrap_or_default();
    let ports = by_port.into_iter();
    let ports = ports.filter_map(|(at, chains)| Some((at?, port(chains))));
    (ports.collect(), port(otherwise))
}

fn port(mut chains: Vec<Chain>) -> Port {
    if chains.is_empty() {
        return shut("the listener", "no filter chain is for this port");
    }
    // Addresses are asked before names and protocols: such a chain may be the way of anybody who comes.
    if let Some(narrow) = chains.iter().find(|chain| chain.is_narrow)
        && let Serves::Refused(why) = &narrow.serves
    {
        return shut(&narrow.name, why);
    }
    // Of equals the one that names its transport goes before.
    chains.sort_by_key(|chain| chain.transport == Transport::Any);
    let mut ways = Vec::new();
    let mut shut = Vec::new();
    for chain in &chains {
        match way(chain, &chains) {
            Ok(Some(way)) => ways.push(way),
            Ok(None) => {}
            Err((is_tls, reason)) => shut.extend(is_tls.iter().map(|is_tls| Shut {
                name: Arc::clone(&chain.name),
                demand: chain.demand.clone(),
                is_tls: *is_tls,
                reason: reason.into(),
            })),
        }
    }
    Port::new(ways).with_shut(shut)
}

/// A port with no way in.
pub(super) fn shut(name: &str, reason: &str) -> Port {
    let way = |is_tls| Shut {
        name: name.into(),
        demand: Demand::default(),
        is_tls,
        reason: reason.into(),
    };
    Port::new([]).with_shut([way(false), way(true)])
}

type NoWay<'a> = (&'static [bool], &'a str);

/// The way in by a chain; `None` where it has none of its own. Else to whom it is shut, and why.
fn way<'a>(chain: &'a Chain, all: &[Chain]) -> Result<Option<server::Chain>, NoWay<'a>> {
    // Where the transport is not said, the terms say for whom a way can be.
    let both: &[bool] = match chain.transport {
        Transport::Tls => &[true],
        Transport::Plaintext => &[false],
        Transport::Any => &[true, false],
    };
    let tls = match (&chain.security, chain.transport) {
        (Security::Refused(why), _) => return Err((both, why)),
        (Security::Tls(tls), Transport::Tls | Transport::Any) => Some(Arc::clone(tls)),
        (Security::None, Transport::Plaintext | Transport::Any) => None,
        (Security::None, Transport::Tls) => {
            return Err((
                both,
                "its TLS is not ended here but by whoever is behind it",
            ));
        }
        (Security::Tls(_), Transport::Plaintext) => {
            return Err((both, "it is for plaintext, and has terms of TLS"));
        }
    };
    let for_tls: &[bool] = match tls {
        Some(_) => &[true],
        None => &[false],
    };
    let pipeline = match &chain.serves {
        Serves::Refused(why) => return Err((for_tls, why)),
        Serves::Http(_) if tls.is_none() && chain.demand.asks_version() => {
            return Err((for_tls, "it is for one version of HTTP in plaintext alone"));
        }
        Serves::Http(pipeline) => pipeline,
        // A peer that calls HTTP bytes is served as HTTP, by the rules for HTTP.
        Serves::Tcp => match (http(chain, tls.is_some(), all), &tls) {
            (Some(_), None) => return Ok(None),
            (Some(pipeline), Some(_)) => pipeline,
            (None, _) => return Err((for_tls, "it is for TCP, and there is none for HTTP")),
        },
    };
    Ok(Some(server::Chain {
        name: Arc::clone(&chain.name),
        demand: chain.demand.clone(),
        tls,
        pipeline: Arc::clone(pipeline),
    }))
}

/// What requests have to pass that come by the same port to the same names, with TLS or without.
fn http<'a>(chain: &Chain, is_tls: bool, all: &'a [Chain]) -> Option<&'a Arc<Pipeline>> {
    let same = all.iter().filter(|other| {
        let other_tls = match (&other.security, other.transport) {
            (Security::Tls(_), Transport::Tls | Transport::Any) => true,
            (Security::None, Transport::Plaintext | Transport::Any) => false,
            _ => return false,
        };
        other_tls == is_tls && other.demand.server_names == chain.demand.server_names
    });
    same.filter_map(|other| match &other.serves {
        Serves::Http(pipeline) if is_tls || !other.demand.asks_version() => Some(pipeline),
        Serves::Http(_) | Serves::Tcp | Serves::Refused(_) => None,
    })
    .next()
}
