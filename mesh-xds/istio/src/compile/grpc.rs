//! The dialect of gRPC's own xDS clients (istiod's generator `grpc`): a `Listener` by `host:port` that names a route
//! configuration, which names clusters, which name their endpoints. Endpoints are those of the sidecar dialect.

pub(super) mod inbound;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::google::protobuf::Any;

use crate::host;
use crate::kinds::load_balancer::Algorithm;
use crate::kinds::service_entry::Protocol;
use crate::kinds::tls_settings::ClientTls;
use crate::kinds::traffic_policy::Effective;
use crate::registry::{Service, ServicePort};

use super::route::{self, Gateways};
use super::sidecar::{self, Rules};
use super::{View, cluster_name, matcher, policy, proto, tls};

/// The listeners of all services, under each name by which a workload of the namespace may call them.
pub(super) fn listeners(view: &View<'_>) -> Vec<listener::Listener> {
    let mut out = Vec::new();
    for service in &view.services {
        let address = service.addresses.first().map_or("0.0.0.0", String::as_str);
        for port in routed(view, service) {
            let route = cluster_name(port.number, "", &service.host);
            for name in names(view, service) {
                let name = format!("{name}:{}", port.number);
                out.push(api_listener(&name, address, &route, port));
            }
        }
    }
    out
}

/// The route configurations, each of one service's port.
pub(super) fn routes(view: &View<'_>) -> Vec<pb::RouteConfiguration> {
    let mesh = sidecar::mesh();
    let gateways = Gateways(&mesh);
    let rules = Rules::new(view, &gateways);
    let mut out = Vec::new();
    for service in &view.services {
        let rule = rules.of(&service.host);
        for port in routed(view, service) {
            let routes = sidecar::service_routes(view, service, rule, &gateways, port.number);
            // gRPC compares the port too where the target has one.
            let domains = sidecar::domains(view, service)
                .into_iter()
                .flat_map(|name| [name.clone(), format!("{name}:{}", port.number)])
                .collect();
            let host = route::virtual_host(
                format!("{}:{}", service.host, port.number),
                domains,
                routes.into_iter().map(as_grpc_reads).collect(),
            );
            out.push(pb::RouteConfiguration {
                name: cluster_name(port.number, "", &service.host),
                virtual_hosts: vec![host],
                ..pb::RouteConfiguration::default()
            });
        }
    }
    out
}

/// A cluster: always of endpoints by EDS, in turns unless a rule says least requests or a hash, and with no limit but
/// that of requests (gRFC A32). istiod sends no more in this dialect.
pub(super) fn cluster(name: &str, policy: Effective<'_>) -> cluster::Cluster {
    let (lb_policy, lb_config) = match policy.balancer.map(|lb| &lb.algorithm) {
        Some(Algorithm::LeastRequest) => (cluster::cluster::LbPolicy::LeastRequest, None),
        Some(Algorithm::Hash(hash)) => policy::hashed(hash.table),
        _ => (cluster::cluster::LbPolicy::RoundRobin, None),
    };
    // Of other modes istiod sends nothing in this dialect: a client of it would call in plaintext.
    let transport_socket = match policy.tls {
        Some(ClientTls::Istio(_)) => Some(tls::by_providers()),
        _ => None,
    };
    let most = policy.pool.map(|pool| pool.http.max_requests);
    let thresholds = |most| cluster::circuit_breakers::Thresholds {
        max_requests: Some(proto::uint32(most)),
        ..Default::default()
    };
    let circuit_breakers = most
        .filter(|most| *most > 0)
        .map(|most| cluster::CircuitBreakers {
            thresholds: vec![thresholds(most)],
            ..Default::default()
        });
    cluster::Cluster {
        name: name.to_owned(),
        alt_stat_name: format!("{name};"),
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: name.to_owned(),
        }),
        lb_policy: lb_policy.into(),
        lb_config,
        circuit_breakers,
        transport_socket,
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::Eds.into(),
        )),
        ..cluster::Cluster::default()
    }
}

fn routed<'a>(view: &View<'_>, service: &'a Service) -> impl Iterator<Item = &'a ServicePort> {
    let ports = view.ports(service);
    ports.filter(|port| port.protocol != Protocol::Opaque)
}

fn names(view: &View<'_>, service: &Service) -> Vec<String> {
    let mut names = vec![service.host.clone()];
    names.extend(host::short_names(&service.host, view.namespace));
    names
}

fn api_listener(name: &str, address: &str, route: &str, port: &ServicePort) -> listener::Listener {
    let rds = http::Rds {
        config_source: Some(ads()),
        route_config_name: route.to_owned(),
    };
    let manager = http::HttpConnectionManager {
        route_specifier: Some(http::http_connection_manager::RouteSpecifier::Rds(rds)),
        http_filters: vec![
            filter(
                "envoy.filters.http.fault",
                proto::any(&HttpFault::default()),
            ),
            filter("envoy.filters.http.router", proto::any(&Router::default())),
        ],
        ..http::HttpConnectionManager::default()
    };
    let address = core::SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.number)),
        ..core::SocketAddress::default()
    };
    listener::Listener {
        name: name.to_owned(),
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(address)),
        }),
        api_listener: Some(listener::ApiListener {
            api_listener: Some(proto::any(&manager)),
        }),
        ..listener::Listener::default()
    }
}

fn filter(name: &str, config: Any) -> http::HttpFilter {
    http::HttpFilter {
        name: name.to_owned(),
        config_type: Some(http::http_filter::ConfigType::TypedConfig(config)),
        ..http::HttpFilter::default()
    }
}

fn ads() -> core::ConfigSource {
    core::ConfigSource {
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource::default(),
        )),
        ..core::ConfigSource::default()
    }
}

/// gRPC reads `max_stream_duration` where Envoy reads `timeout` (gRFC A31). istiod leaves a route without a rule, and so
/// without a limit, as it is.
// `max_grpc_timeout` is deprecated in Envoy, and what istiod sends to it.
#[allow(deprecated)]
fn as_grpc_reads(mut route: pb::Route) -> pb::Route {
    // Of filters that it does not know, gRPC refuses the whole route configuration (gRFC A39).
    route.typed_per_filter_config.remove(route::CORS);
    // Of segments it knows nothing either, and takes a regular expression that says the same.
    if let Some(path) = route
        .r#match
        .as_mut()
        .and_then(|m| m.path_specifier.as_mut())
        && let pb::route_match::PathSpecifier::PathSeparatedPrefix(prefix) = path
    {
        let regex = format!("{}(?:/.*)?", regex::escape(prefix));
        *path = pb::route_match::PathSpecifier::SafeRegex(matcher::regex_matcher(&regex));
    }
    if route.metadata.is_some()
        && let Some(pb::route::Action::Route(action)) = &mut route.action
    {
        action.max_grpc_timeout = None;
        action.max_stream_duration = Some(pb::route_action::MaxStreamDuration {
            max_stream_duration: action.timeout,
            ..Default::default()
        });
    }
    route
}
