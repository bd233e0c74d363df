//! The `HttpConnectionManager` of what comes in, to a server or to a gateway: how a path is read, what is told of the caller's certificate, and what a
//! request has to pass.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::Cors;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use pb::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    SetCurrentClientCertDetails, UpgradeConfig,
};

use crate::kinds::mesh_config::{MeshConfig, Normalization};
use crate::kinds::service_entry::Protocol;
use crate::registry::OwnPort;

use super::proto;
use super::route::CORS;

/// How often a request that was not read yet is passed on again.
const RETRIES: u32 = 2;

/// Where the requests of a chain go.
pub(super) struct To<'a> {
    /// Nothing for the ports that no service has.
    pub(super) port: Option<&'a OwnPort>,
    pub(super) cluster: String,
    /// Of the statistics.
    pub(super) prefix: String,
}

/// The filter of a chain that speaks HTTP, with what requests have to pass.
pub(super) fn filter(
    mesh: &MeshConfig,
    to: &To<'_>,
    passed: &[pb::HttpFilter],
) -> listener::Filter {
    let http2 = to.port.is_some_and(|port| port.protocol == Protocol::Http2);
    packed(&pb::HttpConnectionManager {
        stat_prefix: to.prefix.clone(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes(to.port, &to.cluster))),
        http2_protocol_options: http2.then(core::Http2ProtocolOptions::default),
        use_remote_address: Some(proto::bool_value(false)),
        forward_client_cert_details: ForwardClientCertDetails::AppendForward.into(),
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            subject: Some(proto::bool_value(true)),
            dns: true,
            uri: true,
            ..Default::default()
        }),
        ..of_both(mesh, passed)
    })
}

/// That of a gateway, which routes by a table of this name. Whoever calls is outside of the mesh: what it says of its own
/// certificate is not passed on.
pub(super) fn of_gateway(
    mesh: &MeshConfig,
    table: String,
    prefix: String,
    passed: &[pb::HttpFilter],
) -> listener::Filter {
    let rds = pb::Rds {
        config_source: Some(core::ConfigSource {
            initial_fetch_timeout: Some(proto::duration(Duration::ZERO)),
            resource_api_version: core::ApiVersion::V3.into(),
            config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
                core::AggregatedConfigSource::default(),
            )),
            ..Default::default()
        }),
        route_config_name: table,
    };
    // They say nothing, and are there for routes that say something.
    let of_routes = [
        http_filter(
            "envoy.filters.http.fault",
            proto::any(&HttpFault::default()),
        ),
        http_filter(CORS, proto::any(&Cors::default())),
    ];
    let passed: Vec<_> = passed.iter().cloned().chain(of_routes).collect();
    packed(&pb::HttpConnectionManager {
        stat_prefix: prefix,
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        http_protocol_options: Some(core::Http1ProtocolOptions::default()),
        use_remote_address: Some(proto::bool_value(true)),
        forward_client_cert_details: ForwardClientCertDetails::SanitizeSet.into(),
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            subject: Some(proto::bool_value(true)),
            cert: true,
            dns: true,
            uri: true,
            ..Default::default()
        }),
        ..of_both(mesh, &passed)
    })
}

/// What servers and gateways have in common.
fn of_both(mesh: &MeshConfig, passed: &[pb::HttpFilter]) -> pb::HttpConnectionManager {
    let (normalize, merge, slashes) = normalization(mesh.normalization);
    let router = http_filter("envoy.filters.http.router", proto::any(&Router::default()));
    pb::HttpConnectionManager {
        http_filters: passed.iter().cloned().chain([router]).collect(),
        server_name: "istio-envoy".to_owned(),
        stream_idle_timeout: Some(proto::duration(Duration::ZERO)),
        proxy_100_continue: true,
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..Default::default()
        }],
        normalize_path: Some(proto::bool_value(normalize)),
        merge_slashes: merge,
        path_with_escaped_slashes_action: slashes.into(),
        ..Default::default()
    }
}

fn packed(manager: &pb::HttpConnectionManager) -> listener::Filter {
    listener::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(proto::any(
            manager,
        ))),
    }
}

/// `normalize_path`, `merge_slashes` and what becomes of escaped slashes.
fn normalization(of: Normalization) -> (bool, bool, PathWithEscapedSlashesAction) {
    let keep = PathWithEscapedSlashesAction::KeepUnchanged;
    match of {
        Normalization::None => (false, false, keep),
        Normalization::Base => (true, false, keep),
        Normalization::MergeSlashes => (true, true, keep),
        Normalization::DecodeAndMergeSlashes => {
            (true, true, PathWithEscapedSlashesAction::UnescapeAndForward)
        }
    }
}

/// Every request goes to the application.
fn routes(port: Option<&OwnPort>, cluster: &str) -> route::RouteConfiguration {
    let number = port.map_or(0, |port| port.number);
    let host = port.map_or("", |port| &*port.host);
    let http2 = port.is_some_and(|port| port.protocol == Protocol::Http2);
    let none = || Some(proto::duration(Duration::ZERO));
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
            cluster.to_owned(),
        )),
        timeout: none(),
        retry_policy: (!http2).then(|| route::RetryPolicy {
            retry_on: "reset-before-request".to_owned(),
            num_retries: Some(proto::uint32(RETRIES)),
            ..Default::default()
        }),
        max_stream_duration: Some(route::route_action::MaxStreamDuration {
            max_stream_duration: none(),
            grpc_timeout_header_max: none(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let all = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    };
    let route = route::Route {
        name: "default".to_owned(),
        r#match: Some(all),
        action: Some(route::route::Action::Route(action)),
        decorator: Some(route::Decorator {
            operation: format!("{host}:{number}/*"),
            ..Default::default()
        }),
        ..Default::default()
    };
    route::RouteConfiguration {
        name: cluster.to_owned(),
        virtual_hosts: vec![route::VirtualHost {
            name: format!("inbound|http|{number}"),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..Default::default()
        }],
        validate_clusters: Some(proto::bool_value(false)),
        ..Default::default()
    }
}

fn http_filter(name: &str, config: envoy_types::pb::google::protobuf::Any) -> pb::HttpFilter {
    pb::HttpFilter {
        name: name.to_owned(),
        config_type: Some(pb::http_filter::ConfigType::TypedConfig(config)),
        ..pb::HttpFilter::default()
    }
}
