//! The listener of one port of a router: one chain for plaintext, or one for each server that ends TLS. What callers have to
//! pass is the same in all of them: the policies of the workload that the router is.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use mesh_xds::Node;

use crate::compile::authz::Policies;
use crate::compile::{jwt, manager, proto, tls};
use crate::kinds::mesh_config::MeshConfig;
use crate::registry::Registry;

use super::servers::{self, Place, Secured, Servers};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// How much istiod lets Envoy read at first of what may be a ClientHello, in bytes.
const FIRST_LOOK: u32 = 512;

pub(super) fn all(registry: &Registry, node: &Node) -> Vec<pb::Listener> {
    let own = registry.own(node);
    let policies = Policies::of(registry, &node.namespace, &own.labels);
    let tokens = jwt::of_gateway(registry.jwt_rules(&node.namespace, &own.labels));
    let router = Router {
        mesh: &registry.mesh,
        // A policy reads what the token before it said.
        passed: policies
            .http_custom()
            .into_iter()
            .chain(tokens)
            .chain(policies.http())
            .collect(),
    };
    let merged = servers::merged(registry, &node.labels);
    let listeners = merged.iter();
    listeners
        .map(|(place, servers)| router.listener(*place, servers))
        .collect()
}

/// What the listeners of a router have in common.
struct Router<'a> {
    mesh: &'a MeshConfig,
    /// What a request has to pass.
    passed: Vec<HttpFilter>,
}

impl Router<'_> {
    fn listener(&self, place: Place<'_>, servers: &Servers<'_>) -> pb::Listener {
        let address = match place.bind {
            "" => "0.0.0.0",
            bind => bind,
        };
        let name = format!("{address}_{}", place.port);
        let counted = format!("outbound_{name};");
        let (filter_chains, looks) = match servers {
            Servers::Plain(_) => {
                let table = servers::http_table(place);
                (vec![self.chain(table, counted)], None)
            }
            Servers::Secured(each) => {
                let chains = each.iter().map(|server| self.secured(server, &counted));
                (chains.collect(), Some(inspector()))
            }
        };
        pb::Listener {
            address: Some(core::Address {
                address: Some(core::address::Address::SocketAddress(core::SocketAddress {
                    address: address.to_owned(),
                    port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
                        place.port,
                    )),
                    ..Default::default()
                })),
            }),
            name,
            filter_chains,
            listener_filters: looks.into_iter().collect(),
            // As istiod has it: it calls whatever a gateway does its way out.
            traffic_direction: core::TrafficDirection::Outbound.into(),
            ..pb::Listener::default()
        }
    }

    fn secured(&self, Secured { owned, tls }: &Secured<'_>, counted: &str) -> pb::FilterChain {
        let counted = match owned.server.name.as_str() {
            "" => counted,
            name => name,
        };
        let names = servers::names(owned.server);
        // `*` is whatever no other server has a name for, no name at all among it.
        let by_name = (!names.contains(&"*")).then(|| pb::FilterChainMatch {
            server_names: names.into_iter().map(str::to_owned).collect(),
            ..pb::FilterChainMatch::default()
        });
        pb::FilterChain {
            filter_chain_match: by_name,
            transport_socket: Some(tls::of_gateway(tls)),
            ..self.chain(servers::https_table(*owned), counted.to_owned())
        }
    }

    fn chain(&self, table: String, counted: String) -> pb::FilterChain {
        let manager = manager::of_gateway(self.mesh, table, counted, &self.passed);
        pb::FilterChain {
            filters: vec![manager],
            transport_socket_connect_timeout: Some(proto::duration(HANDSHAKE)),
            ..pb::FilterChain::default()
        }
    }
}

/// What lets Envoy see the name that a client asks for.
fn inspector() -> pb::ListenerFilter {
    let inspector = TlsInspector {
        initial_read_buffer_size: Some(proto::uint32(FIRST_LOOK)),
        ..TlsInspector::default()
    };
    let config = pb::listener_filter::ConfigType::TypedConfig(proto::any(&inspector));
    pb::ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(config),
        ..pb::ListenerFilter::default()
    }
}
