//! The listener `virtualInbound`: what the servers of a node take. It is never listened on: a server looks up the chains of
//! its own port, as an Envoy would that all connections are sent through.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use mesh_xds::Node;

use crate::kinds::mesh_config::MeshConfig;
use crate::kinds::peer_authentication::Mode;
use crate::kinds::service_entry::Protocol;
use crate::registry::{Modes, Own, OwnPort, Registry};

use super::authz::Policies;
use super::{jwt, manager, proto, tls};

/// Its name, and the port of the listener itself.
pub(super) const NAME: &str = "virtualInbound";
const PORT: u32 = 15006;
const CATCH_ALL_HTTP: &str = "virtualInbound-catchall-http";
const PASSTHROUGH: &str = "InboundPassthroughCluster";

/// What clients of Istio offer as they call over mutual TLS: HTTP, TCP, and all of it.
const HTTP_OVER_MTLS: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const TCP_OVER_MTLS: &[&str] = &["istio-peer-exchange", "istio"];
const OVER_MTLS: &[&str] = &[
    "istio",
    "istio-peer-exchange",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];
/// What is seen in the first bytes of plaintext.
const HTTP: &[&str] = &["http/1.1", "h2c"];
/// What a server speaks.
const SPOKEN: &[&str] = &["h2", "http/1.1"];
const SPOKEN_TCP: &[&str] = &["istio-peer-exchange", "h2", "http/1.1"];

/// One way in to a port.
#[derive(Clone, Copy)]
struct Way {
    /// `tls` or `raw_buffer`.
    is_tls: bool,
    offered: &'static [&'static str],
    /// HTTP, or whatever it is.
    is_http: bool,
    /// Whether the TLS ends here; what is passed on as it is does not.
    ends: bool,
}

const fn secured(is_http: bool, offered: &'static [&'static str]) -> Way {
    Way {
        is_tls: true,
        offered,
        is_http,
        ends: true,
    }
}

const fn plain(is_http: bool, offered: &'static [&'static str]) -> Way {
    Way {
        is_tls: false,
        offered,
        is_http,
        ends: false,
    }
}

/// TLS of others, to be passed on.
const FOREIGN: Way = Way {
    is_tls: true,
    offered: &[],
    is_http: false,
    ends: false,
};

/// istiod's ways in (`getFilterChainMatchOptions`), in its order.
fn ways(protocol: Protocol, mode: Mode) -> &'static [Way] {
    const HTTP_STRICT: &[Way] = &[secured(true, &[])];
    const HTTP_EITHER: &[Way] = &[secured(true, OVER_MTLS), plain(true, &[])];
    const HTTP_PLAIN: &[Way] = &[plain(true, &[])];
    const TCP_STRICT: &[Way] = &[secured(false, &[])];
    const TCP_EITHER: &[Way] = &[secured(false, OVER_MTLS), FOREIGN, plain(false, &[])];
    const TCP_PLAIN: &[Way] = &[plain(false, &[])];
    const ANY_STRICT: &[Way] = &[secured(true, HTTP_OVER_MTLS), secured(false, &[])];
    const ANY_EITHER: &[Way] = &[
        secured(true, HTTP_OVER_MTLS),
        plain(true, HTTP),
        secured(false, TCP_OVER_MTLS),
        plain(false, &[]),
        FOREIGN,
    ];
    const ANY_PLAIN: &[Way] = &[plain(true, HTTP), plain(false, &[])];
    match (protocol, mode) {
        (Protocol::Http | Protocol::Http2, Mode::Strict) => HTTP_STRICT,
        (Protocol::Http | Protocol::Http2, Mode::Permissive) => HTTP_EITHER,
        (Protocol::Http | Protocol::Http2, Mode::Disable) => HTTP_PLAIN,
        (Protocol::Opaque, Mode::Strict) => TCP_STRICT,
        (Protocol::Opaque, Mode::Permissive) => TCP_EITHER,
        (Protocol::Opaque, Mode::Disable) => TCP_PLAIN,
        (Protocol::Unset, Mode::Strict) => ANY_STRICT,
        (Protocol::Unset, Mode::Permissive) => ANY_EITHER,
        (Protocol::Unset, Mode::Disable) => ANY_PLAIN,
    }
}

/// The listener of a node.
pub(super) fn listener(registry: &Registry, node: &Node) -> pb::Listener {
    let own = registry.own(node);
    let modes = modes(registry, node, &own);
    let policies = Policies::of(registry, &node.namespace, &own.labels);
    let tokens = jwt::filter(registry.jwt_rules(&node.namespace, &own.labels));
    let server = Server {
        mesh: &registry.mesh,
        // A policy reads what the token before it said.
        http: policies
            .http_custom()
            .into_iter()
            .chain(tokens)
            .chain(policies.http())
            .collect(),
        tcp: policies.tcp(),
    };
    let mut filter_chains = vec![black_hole()];
    server.chains(None, Passed::Any, modes.all, &mut filter_chains);
    for (port, mode) in &modes.ports {
        if !own.ports.contains_key(port) {
            server.chains(Some(*port), Passed::Any, *mode, &mut filter_chains);
        }
    }
    for (port, of) in &own.ports {
        let mode = modes.on(*port);
        server.chains(Some(*port), Passed::To(of), mode, &mut filter_chains);
    }
    pb::Listener {
        name: NAME.to_owned(),
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(core::SocketAddress {
                address: "0.0.0.0".to_owned(),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(PORT)),
                ..Default::default()
            })),
        }),
        filter_chains,
        listener_filters_timeout: Some(proto::duration(Duration::ZERO)),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Inbound.into(),
        ..pb::Listener::default()
    }
}

/// Without certificates there is nothing but plaintext to take.
pub(super) fn modes(registry: &Registry, node: &Node, own: &Own) -> Modes {
    match registry.options.has_certificates() {
        true => registry.modes(&node.namespace, &own.labels),
        false => Modes {
            all: Mode::Disable,
            ports: [].into(),
        },
    }
}

/// What a connection is for.
#[derive(Clone, Copy)]
enum Passed<'a> {
    /// A port of a service.
    To(&'a OwnPort),
    /// A port that no service has.
    Any,
}

/// What the chains of a node have in common.
struct Server<'a> {
    mesh: &'a MeshConfig,
    /// What a request has to pass.
    http: Vec<HttpFilter>,
    /// What a connection has to pass that is not read.
    tcp: Vec<pb::Filter>,
}

impl Server<'_> {
    fn chains(
        &self,
        port: Option<u32>,
        passed: Passed<'_>,
        mode: Mode,
        out: &mut Vec<pb::FilterChain>,
    ) {
        let protocol = match passed {
            Passed::To(own) => own.protocol,
            Passed::Any => Protocol::Unset,
        };
        let ways = ways(protocol, mode).iter();
        out.extend(ways.map(|way| self.chain(port, passed, *way)));
    }

    fn chain(&self, port: Option<u32>, passed: Passed<'_>, way: Way) -> pb::FilterChain {
        let of = port.unwrap_or_default();
        let (name, cluster) = match (passed, way.is_http) {
            (Passed::To(_), _) => (format!("0.0.0.0_{of}"), format!("inbound|{of}||")),
            (Passed::Any, true) => (CATCH_ALL_HTTP.to_owned(), PASSTHROUGH.to_owned()),
            (Passed::Any, false) => (NAME.to_owned(), PASSTHROUGH.to_owned()),
        };
        let domains = &self.mesh.trust_domains;
        let spoken = if way.is_http { SPOKEN } else { SPOKEN_TCP };
        let filters = match way.is_http {
            true => {
                let (service, prefix) = match passed {
                    Passed::To(own) => (Some(own), format!("inbound_{name};")),
                    Passed::Any => (None, format!("{PASSTHROUGH};")),
                };
                let to = manager::To {
                    port: service,
                    cluster,
                    prefix,
                };
                vec![manager::filter(self.mesh, &to, &self.http)]
            }
            false => {
                let passed = self.tcp.iter().cloned();
                passed.chain([tcp_proxy(&cluster)]).collect()
            }
        };
        let transport = if way.is_tls { "tls" } else { "raw_buffer" };
        let offered = way.offered.iter().copied();
        pb::FilterChain {
            name,
            filter_chain_match: Some(pb::FilterChainMatch {
                destination_port: port.map(proto::uint32),
                transport_protocol: transport.to_owned(),
                application_protocols: offered.map(str::to_owned).collect(),
                ..pb::FilterChainMatch::default()
            }),
            filters,
            transport_socket: way.ends.then(|| tls::downstream(domains, spoken)),
            ..pb::FilterChain::default()
        }
    }
}

/// Where a connection to the listener itself ends.
fn black_hole() -> pb::FilterChain {
    pb::FilterChain {
        name: "virtualInbound-blackhole".to_owned(),
        filter_chain_match: Some(pb::FilterChainMatch {
            destination_port: Some(proto::uint32(PORT)),
            ..pb::FilterChainMatch::default()
        }),
        filters: vec![tcp_proxy(mesh_core::istiod::BLACK_HOLE)],
        ..pb::FilterChain::default()
    }
}

fn tcp_proxy(cluster: &str) -> pb::Filter {
    let proxy = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..TcpProxy::default()
    };
    pb::Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(pb::filter::ConfigType::TypedConfig(proto::any(&proxy))),
    }
}
