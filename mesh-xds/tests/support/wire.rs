//! Resources and responses as a control plane sends them.

use std::net::{Ipv4Addr, SocketAddr};

use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
};
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ConfigSource, SocketAddress, address,
    config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster, route,
    route_action::ClusterSpecifier, route_match::PathSpecifier, weighted_cluster::ClusterWeight,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use http::http_connection_manager::RouteSpecifier;
use http::http_filter::ConfigType;
use mesh_xds::ResourceType;
use prost::Message;

pub(crate) const CDS: ResourceType = ResourceType::Cluster;
pub(crate) const EDS: ResourceType = ResourceType::Endpoints;
pub(crate) const RDS: ResourceType = ResourceType::Route;
pub(crate) const LDS: ResourceType = ResourceType::Listener;
/// The types of the dialect of sidecars.
pub(crate) const SIDECAR: [ResourceType; 3] = [CDS, EDS, RDS];

pub(crate) fn any(of: ResourceType, message: &impl Message) -> Any {
    Any {
        type_url: of.type_url().to_owned(),
        value: message.encode_to_vec(),
    }
}

/// An EDS cluster whose load assignment has another name than itself, if one is given.
pub(crate) fn cluster_message(name: &str, service: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            service_name: service.to_owned(),
            ..EdsClusterConfig::default()
        }),
        ..Cluster::default()
    }
}

pub(crate) fn cluster(name: &str) -> Any {
    any(CDS, &cluster_message(name, ""))
}

pub(crate) fn clusters(names: &[&str]) -> Vec<Any> {
    names.iter().map(|name| cluster(name)).collect()
}

/// A cluster that has a name and good wire form, but an `lb_policy` that does not exist.
pub(crate) fn bad_cluster(name: &str) -> Any {
    let message = Cluster {
        lb_policy: 99,
        ..cluster_message(name, "")
    };
    any(CDS, &message)
}

pub(crate) fn addr(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// An IP address or a name, and a port.
pub(crate) fn address(host: &str, port: u16) -> Address {
    let socket = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    };
    Address {
        address: Some(address::Address::SocketAddress(socket)),
    }
}

pub(crate) fn lb_endpoint(at: SocketAddr) -> LbEndpoint {
    let endpoint = Endpoint {
        address: Some(address(&at.ip().to_string(), at.port())),
        ..Endpoint::default()
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    }
}

pub(crate) fn assignment(name: &str, addresses: &[SocketAddr]) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: addresses.iter().copied().map(lb_endpoint).collect(),
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}

/// A load assignment of one endpoint on this port.
pub(crate) fn endpoints(name: &str, port: u16) -> Any {
    any(EDS, &assignment(name, &[addr(port)]))
}

/// One route per entry, in order; each is a split over clusters by weight.
pub(crate) fn host_message(name: &str, domains: &[&str], split: &[(&str, u32)]) -> VirtualHost {
    let weights = split.iter().map(|(name, weight)| ClusterWeight {
        name: (*name).to_owned(),
        weight: Some(UInt32Value { value: *weight }),
        ..ClusterWeight::default()
    });
    let specifier = ClusterSpecifier::WeightedClusters(WeightedCluster {
        clusters: weights.collect(),
        ..WeightedCluster::default()
    });
    let route = Route {
        name: format!("route of {name}"),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(specifier),
            ..RouteAction::default()
        })),
        ..Route::default()
    };
    VirtualHost {
        name: name.to_owned(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        routes: vec![route],
        ..VirtualHost::default()
    }
}

/// A host of this name and domain, all to these clusters in equal parts.
pub(crate) fn host(name: &str, clusters: &[&str]) -> VirtualHost {
    let split: Vec<_> = clusters.iter().map(|cluster| (*cluster, 1)).collect();
    host_message(name, &[name], &split)
}

pub(crate) fn routes(name: &str, hosts: Vec<VirtualHost>) -> Any {
    let message = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: hosts,
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    };
    any(RDS, &message)
}

/// A filter whose configuration is empty.
pub(crate) fn typed(name: &str, kind: &str) -> http::HttpFilter {
    http::HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any {
            type_url: format!("type.googleapis.com/{kind}"),
            value: Vec::new(),
        })),
        ..http::HttpFilter::default()
    }
}

pub(crate) fn router() -> http::HttpFilter {
    typed("router", "envoy.extensions.filters.http.router.v3.Router")
}

pub(crate) fn ads() -> Option<ConfigSource> {
    let specifier = ConfigSourceSpecifier::Ads(AggregatedConfigSource::default());
    Some(ConfigSource {
        config_source_specifier: Some(specifier),
        ..ConfigSource::default()
    })
}

/// One that leads to these routes.
pub(crate) fn manager(routes: &str) -> http::HttpConnectionManager {
    http::HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(http::Rds {
            config_source: ads(),
            route_config_name: routes.to_owned(),
        })),
        http_filters: vec![router()],
        ..http::HttpConnectionManager::default()
    }
}

pub(crate) fn listener_of(name: &str, manager: &http::HttpConnectionManager) -> Any {
    const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let api = Any {
        type_url: MANAGER.to_owned(),
        value: manager.encode_to_vec(),
    };
    let listener = Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(api),
        }),
        ..Listener::default()
    };
    any(LDS, &listener)
}

pub(crate) fn listener(name: &str, routes: &str) -> Any {
    listener_of(name, &manager(routes))
}

pub(crate) fn response(
    of: ResourceType,
    version: &str,
    nonce: &str,
    resources: Vec<Any>,
) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.to_owned(),
        nonce: nonce.to_owned(),
        type_url: of.type_url().to_owned(),
        resources,
        ..DiscoveryResponse::default()
    }
}

/// A request as the control plane reads it.
pub(crate) fn read(
    request: &mesh_xds::ads::Request,
) -> envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest {
    prost::Message::decode(&*prost::Message::encode_to_vec(request)).expect("is a DiscoveryRequest")
}
