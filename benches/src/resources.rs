//! Resources as control planes send them, as far as the benches need them.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use route::route_action::ClusterSpecifier;

/// The route of this number.
pub(crate) fn leading(
    at: usize,
    matching: route::RouteMatch,
    to: ClusterSpecifier,
) -> route::Route {
    use route::route::Action;
    let action = route::RouteAction {
        cluster_specifier: Some(to),
        ..Default::default()
    };
    route::Route {
        name: format!("route-{at}"),
        r#match: Some(matching),
        action: Some(Action::Route(action)),
        ..Default::default()
    }
}

/// One cluster.
pub(crate) fn to(cluster: &str) -> ClusterSpecifier {
    ClusterSpecifier::Cluster(cluster.to_owned())
}

/// A match by path alone.
pub(crate) fn of_path(path: route::route_match::PathSpecifier) -> route::RouteMatch {
    route::RouteMatch {
        path_specifier: Some(path),
        ..Default::default()
    }
}

/// A cluster whose endpoints come by EDS.
pub(crate) fn eds(name: &str) -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy};
    use core::config_source::ConfigSourceSpecifier;
    let ads = ConfigSourceSpecifier::Ads(core::AggregatedConfigSource::default());
    let source = core::ConfigSource {
        config_source_specifier: Some(ads),
        resource_api_version: core::ApiVersion::V3.into(),
        ..Default::default()
    };
    cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(source),
            service_name: name.to_owned(),
        }),
        lb_policy: LbPolicy::LeastRequest.into(),
        ..Default::default()
    }
}

/// The one endpoint of a cluster.
pub(crate) fn assignment(name: &str, backend: SocketAddr) -> endpoint::ClusterLoadAssignment {
    use core::socket_address::PortSpecifier;
    use endpoint::lb_endpoint::HostIdentifier;
    let socket = core::SocketAddress {
        address: backend.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(backend.port().into())),
        ..Default::default()
    };
    let address = core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    };
    let one = endpoint::LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address),
            ..Default::default()
        })),
        ..Default::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![one],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A resource by its name, packed as it goes over the wire.
pub(crate) fn named(type_url: &str, name: &str, message: &impl Message) -> (String, Any) {
    let packed = Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    };
    (name.to_owned(), packed)
}
