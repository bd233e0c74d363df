//! `Listener` of a server in gRPC's dialect (gRPC A36): what gRPC refuses of it is refused, and of its filter chains one
//! is used, as no connection is told from another here.
//!
//! Criteria that gRPC never meets (`destination_port`, `server_names`, `application_protocols`, a transport protocol
//! other than `raw_buffer`) leave a chain out, as there. By addresses and source ports gRPC tells connections apart; a
//! listener whose chains ask for them is refused.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{Address, address};
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener, filter::ConfigType};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use mesh_core::server::{self, Demand, Port, Rules};
use prost::Message;

use super::Side;
use super::chain::{self, Chain, Security, Serves};
use super::demand::{Transport, differ};
use super::pipeline::{RBAC, optional};
use super::ports;
use crate::decode::http_filter::{ROUTER, kind, type_of};
use crate::decode::ignored::Ignored;
use crate::decode::listener::{MANAGER, named_once};
use crate::decode::{Faults, Invalid, message};

/// A server's listener.
#[derive(Debug)]
pub(crate) struct ServerListenerResource {
    /// Where it says that the server is bound.
    pub(crate) address: SocketAddr,
    pub(crate) rules: Arc<Rules>,
    /// What is in it and has no effect here, in words, each kind once.
    pub(crate) ignored: Vec<Box<str>>,
}

pub(crate) fn decode(bytes: &[u8], version: &Arc<str>) -> Result<ServerListenerResource, Invalid> {
    let wire: Listener = message(bytes)?;
    // What a newer protocol adds may be a condition.
    if wire.encoded_len() != bytes.len() {
        return Err(Invalid::new(
            "",
            "has fields that this version does not know, or one of them twice",
        ));
    }
    let mut faults = Faults::default();
    refuse(&wire, &mut faults);
    let address = at(wire.address.as_ref()).map_err(|error| error.within("address"));
    let address = faults.take(address);
    let label: Arc<str> = format!("listener {:?} of version {version:?}", wire.name).into();
    let mut ignored = Ignored::default();
    let mut chains = Vec::new();
    for (at, wire) in wire.filter_chains.iter().enumerate() {
        ignored.at(format!("filter_chains[{at}]"));
        let chain = one(wire, &label, &mut ignored);
        chains
            .extend(faults.take(chain.map_err(|e| e.within(format_args!("filter_chains[{at}]")))));
    }
    faults.take(differ(&chains));
    let fallback = wire.default_filter_chain.as_ref().map(|wire| {
        ignored.at("default_filter_chain".to_owned());
        one(wire, &label, &mut ignored).map_err(|error| error.within("default_filter_chain"))
    });
    let fallback = faults.take(fallback.transpose()).flatten();
    let used = faults.take(used(chains, fallback));
    let decoded = address.zip(used).map(|(address, used)| {
        let rules = rules(version, address.port(), used);
        ServerListenerResource {
            address,
            rules: Arc::new(rules),
            ignored: ignored.kinds(),
        }
    });
    faults.or(decoded)
}

/// What gRPC refuses (A36), and what would have connections treated otherwise than they are here.
fn refuse(wire: &Listener, faults: &mut Faults) {
    let fields = [
        ("listener_filters", !wire.listener_filters.is_empty()),
        (
            "use_original_dst",
            wire.use_original_dst.is_some_and(|flag| flag.value),
        ),
        ("api_listener", wire.api_listener.is_some()),
        ("filter_chain_matcher", wire.filter_chain_matcher.is_some()),
    ];
    for (field, _) in fields.iter().filter(|(_, is_set)| *is_set) {
        faults.add(Invalid::new(
            *field,
            "is set, and a gRPC server has no use for it",
        ));
    }
    if wire.filter_chains.is_empty() && wire.default_filter_chain.is_none() {
        faults.add(Invalid::new(
            "filter_chains",
            "is empty, and there is no default_filter_chain",
        ));
    }
}

fn at(wire: Option<&Address>) -> Result<SocketAddr, Invalid> {
    let Some(address::Address::SocketAddress(socket)) = wire.and_then(|it| it.address.as_ref())
    else {
        return Err(Invalid::new("socket_address", "is missing"));
    };
    let ip: IpAddr = socket.address.parse().map_err(|_| {
        let reason = format_args!("{:?} is no address", socket.address);
        Invalid::new("socket_address.address", reason)
    })?;
    Ok(SocketAddr::new(ip, super::port(wire)?))
}

fn one(wire: &FilterChain, label: &Arc<str>, ignored: &mut Ignored) -> Result<Chain, Invalid> {
    let mut faults = Faults::default();
    let mut wire = wire.clone();
    faults.take(filters(&mut wire, ignored));
    let decoded = chain::decode(&wire.encode_to_vec(), label, Side::Workload, ignored);
    let Some(chain) = faults.take(decoded) else {
        return faults.or(None);
    };
    if let Security::Refused(why) = &chain.security {
        faults.add(Invalid::new("", why));
    }
    if let Serves::Refused(why) = &chain.serves {
        faults.add(Invalid::new("", why));
    }
    faults.or(Some(chain))
}

/// The HTTP connection manager and nothing else, with the HTTP filters of A39.
fn filters(wire: &mut FilterChain, ignored: &mut Ignored) -> Result<(), Invalid> {
    let [filter] = &mut *wire.filters else {
        let reason = format_args!(
            "are {}; a gRPC server has the HTTP connection manager and no other",
            wire.filters.len()
        );
        return Err(Invalid::new("filters", reason));
    };
    let within = |error: Invalid| error.within("filters[0].typed_config");
    match &mut filter.config_type {
        Some(ConfigType::TypedConfig(any)) if type_of(&any.type_url) == MANAGER => {
            any.value = manager(&any.value, ignored).map_err(within)?;
            Ok(())
        }
        _ => Err(within(Invalid::new(
            "",
            "is not the HTTP connection manager",
        ))),
    }
}

/// The same with the filters switched off that gRPC passes over: they are not asked, whoever else knows them.
fn manager(bytes: &[u8], ignored: &mut Ignored) -> Result<Vec<u8>, Invalid> {
    let mut wire: http::HttpConnectionManager = message(bytes)?;
    let mut faults = Faults::default();
    // gRPC A41: nobody's word is believed for where a request came from.
    if wire.xff_num_trusted_hops != 0 {
        faults.add(Invalid::new("xff_num_trusted_hops", "is not 0"));
    }
    if !wire.original_ip_detection_extensions.is_empty() {
        faults.add(Invalid::new(
            "original_ip_detection_extensions",
            "is not empty",
        ));
    }
    let mut names = BTreeSet::new();
    for (at, filter) in wire.http_filters.iter_mut().enumerate() {
        let within = |error: Invalid| error.within(format_args!("http_filters[{at}]"));
        faults.take(named_once(&filter.name, &mut names).map_err(within));
        if let Some(what) = faults.take(passed_over(filter).map_err(within)).flatten() {
            ignored.add(what);
            filter.disabled = true;
        }
    }
    faults.or(Some(wire.encode_to_vec()))
}

/// A filter that no gRPC server has (A41), in words; it may only be there if requests may go without it (A39). That the
/// router is the last one is looked at with the others.
fn passed_over(filter: &http::HttpFilter) -> Result<Option<String>, Invalid> {
    let kind = kind(filter)?.kind;
    if [ROUTER, RBAC].contains(&&*kind) {
        return Ok(None);
    }
    if filter.is_optional {
        return Ok(Some(optional(filter, &kind)));
    }
    let reason = format_args!(
        "{:?} is of type {kind:?}, which no gRPC server knows; set is_optional if requests may go without it",
        filter.name
    );
    Err(Invalid::new("typed_config", reason))
}

/// The chain that all connections take: of those that gRPC would look at, one that says `raw_buffer` before one that
/// does not, the default where there is none.
fn used(mut chains: Vec<Chain>, fallback: Option<Chain>) -> Result<Chain, Invalid> {
    chains.retain(|chain| {
        let Demand { server_names, alpn } = &chain.demand;
        let is_met = chain.port.is_none() && server_names.is_empty() && alpn.is_empty();
        is_met && chain.transport != Transport::Tls
    });
    chains.sort_by_key(|chain| chain.transport == Transport::Any);
    let first = chains.into_iter().next().or(fallback);
    first.ok_or_else(|| {
        let reason =
            "none of them is ever used by a gRPC server, and there is no default_filter_chain";
        Invalid::new("filter_chains", reason)
    })
}

/// `raw_buffer` says that nothing was unwrapped before the chain was chosen, not that there is no TLS (A36).
fn rules(version: &Arc<str>, port: u16, chain: Chain) -> Rules {
    let other = ports::shut(&chain.name, "the listener is for another port");
    let way = match (chain.security, chain.serves) {
        (Security::None, Serves::Http(pipeline)) => Ok((None, pipeline)),
        (Security::Tls(terms), Serves::Http(pipeline)) => Ok((Some(terms), pipeline)),
        (Security::Refused(why), _) | (_, Serves::Refused(why)) => Err(why),
        (_, Serves::Tcp) => Err("it is for TCP".to_owned()),
    };
    let ways = match way {
        Ok((tls, pipeline)) => Port::new([server::Chain {
            name: chain.name,
            demand: Demand::default(),
            tls,
            pipeline,
        }]),
        Err(why) => ports::shut(&chain.name, &why),
    };
    Rules::new(Arc::clone(version), [(port, ways)].into(), other)
}
