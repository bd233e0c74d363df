//! What the servers of a node take, in gRPC's dialect: a listener for each port of a service and each address where a
//! server may be bound (gRFC A36), in istiod's names.
//!
//! gRPC has one way in for a port: PERMISSIVE is plaintext, unless the workload's label says that it is called over
//! mutual TLS.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use mesh_xds::Node;

use crate::kinds::peer_authentication::Mode;
use crate::registry::{ISTIO, Registry, TLS_MODE};

use super::super::authz::Policies;
use super::super::{inbound, proto, tls};
use super::filter;

const PREFIX: &str = "xds.istio.io/grpc/lds/inbound/";
/// Where servers are bound. istiod answers for whatever a server names; these are what can be told before it does.
const HOSTS: [(&str, &str); 4] = [
    ("0.0.0.0", "0.0.0.0"),
    ("[::]", "::"),
    ("127.0.0.1", "127.0.0.1"),
    ("[::1]", "::1"),
];

/// The listeners of a node.
pub(in crate::compile) fn listeners(registry: &Registry, node: &Node) -> Vec<pb::Listener> {
    let own = registry.own(node);
    let modes = inbound::modes(registry, node, &own);
    let policies = Policies::of(registry, &node.namespace, &own.labels);
    let is_labelled = own.labels.get(TLS_MODE).is_some_and(|mode| mode == ISTIO);
    let mut out = Vec::new();
    for port in own.ports.keys() {
        let is_secured = match modes.on(*port) {
            Mode::Strict => true,
            Mode::Permissive => is_labelled,
            Mode::Disable => false,
        };
        let chain = chain(&policies, is_secured);
        for (shown, host) in HOSTS {
            out.push(listener(
                &format!("{PREFIX}{shown}:{port}"),
                host,
                *port,
                &chain,
            ));
        }
    }
    out
}

fn listener(name: &str, host: &str, port: u32, chain: &pb::FilterChain) -> pb::Listener {
    let socket = core::SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..core::SocketAddress::default()
    };
    pb::Listener {
        name: name.to_owned(),
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(socket)),
        }),
        filter_chains: vec![chain.clone()],
        ..pb::Listener::default()
    }
}

fn chain(policies: &Policies<'_>, is_secured: bool) -> pb::FilterChain {
    let suffix = if is_secured { "mtls" } else { "plaintext" };
    let mut filters = policies.grpc();
    filters.push(filter(
        "envoy.filters.http.router",
        proto::any(&Router::default()),
    ));
    let manager = http::HttpConnectionManager {
        route_specifier: Some(http::http_connection_manager::RouteSpecifier::RouteConfig(
            catch_all(),
        )),
        http_filters: filters,
        ..http::HttpConnectionManager::default()
    };
    pb::FilterChain {
        name: format!("inbound-{suffix}"),
        filters: vec![pb::Filter {
            name: format!("inbound-hcm{suffix}"),
            config_type: Some(pb::filter::ConfigType::TypedConfig(proto::any(&manager))),
        }],
        transport_socket: is_secured.then(tls::downstream_by_providers),
        ..pb::FilterChain::default()
    }
}

/// All requests are the server's own.
fn catch_all() -> route::RouteConfiguration {
    let all = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..route::RouteMatch::default()
    };
    let route = route::Route {
        r#match: Some(all),
        action: Some(route::route::Action::NonForwardingAction(
            route::NonForwardingAction::default(),
        )),
        ..route::Route::default()
    };
    route::RouteConfiguration {
        name: "inbound".to_owned(),
        virtual_hosts: vec![route::VirtualHost {
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..route::VirtualHost::default()
        }],
        ..route::RouteConfiguration::default()
    }
}
