//! tonic-xds and the control plane that it needs: a listener by the name of the target, as gRFC A27 has it.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::google::protobuf::Any;
use mesh_xds::ResourceType;
use prost::Message;
use tonic_xds::{
    BootstrapConfig, ChannelCredentialType, XdsChannelBuilder, XdsChannelConfig, XdsChannelGrpc,
    XdsUri,
};

use super::client::failed;
use crate::error::BenchError;
use crate::folder::Protocol;
use crate::plane::{self, Held};
use crate::resources::{assignment, eds, leading, named, of_path, to};

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const CONNECTION_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const CLUSTER: &str = "called";

/// A target, and how many routes it has.
const TARGETS: [(&str, usize); 2] = [("one:9080", 1), ("many:9080", 1_000)];

/// A channel to each of the targets.
pub(super) fn channels(plane: SocketAddr) -> Result<[XdsChannelGrpc; 2], BenchError> {
    let [(one, _), (many, _)] = TARGETS;
    Ok([channel(plane, one)?, channel(plane, many)?])
}

fn channel(plane: SocketAddr, target: &str) -> Result<XdsChannelGrpc, BenchError> {
    let failed = |reason: String| failed("tonic-xds", reason);
    let bootstrap = BootstrapConfig::builder(plane.to_string())
        .channel_creds([ChannelCredentialType::Insecure])
        .node_id("bench")
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let target =
        XdsUri::parse(&format!("xds:///{target}")).map_err(|error| failed(error.to_string()))?;
    XdsChannelBuilder::new(XdsChannelConfig::new(target).with_bootstrap(bootstrap))
        .build_grpc_channel()
        .map_err(|error| failed(error.to_string()))
}

/// The control plane's process: prints its address, serves until its input ends.
pub(crate) fn serve_plane(backend: SocketAddr) -> Result<(), BenchError> {
    plane::serve(held(backend))
}

fn held(backend: SocketAddr) -> Held {
    let of = |kind: ResourceType| kind.type_url();
    let listeners = TARGETS.map(|(target, _)| named(LISTENER, target, &listening(target)));
    let tables = TARGETS.map(|(target, routes)| {
        let table = table(target, routes);
        named(of(ResourceType::Route), target, &table)
    });
    let cluster = named(of(ResourceType::Cluster), CLUSTER, &eds(CLUSTER));
    let endpoints = assignment(CLUSTER, backend);
    let endpoints = named(of(ResourceType::Endpoints), CLUSTER, &endpoints);
    Held::from([
        (LISTENER, listeners.into()),
        (of(ResourceType::Route), tables.into()),
        (of(ResourceType::Cluster), [cluster].into()),
        (of(ResourceType::Endpoints), [endpoints].into()),
    ])
}

/// An `api_listener` whose routes come by RDS under the target's name.
fn listening(target: &str) -> listener::Listener {
    use core::config_source::ConfigSourceSpecifier;
    let ads = ConfigSourceSpecifier::Ads(core::AggregatedConfigSource::default());
    let rds = hcm::Rds {
        route_config_name: target.to_owned(),
        config_source: Some(core::ConfigSource {
            config_source_specifier: Some(ads),
            ..Default::default()
        }),
    };
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)),
        ..Default::default()
    };
    let manager = Any {
        type_url: CONNECTION_MANAGER.to_owned(),
        value: manager.encode_to_vec(),
    };
    listener::Listener {
        name: target.to_owned(),
        api_listener: Some(listener::ApiListener {
            api_listener: Some(manager),
        }),
        ..Default::default()
    }
}

/// As many routes, of which the last one takes the calls.
fn table(target: &str, routes: usize) -> route::RouteConfiguration {
    use route::route_match::PathSpecifier;
    let numbers = 1_000 - routes..1_000;
    let host = route::VirtualHost {
        name: target.to_owned(),
        domains: vec![target.to_owned()],
        routes: numbers
            .map(|at| {
                let prefix = Protocol::Grpc.prefix(at);
                leading(at, of_path(PathSpecifier::Prefix(prefix)), to(CLUSTER))
            })
            .collect(),
        ..Default::default()
    };
    route::RouteConfiguration {
        name: target.to_owned(),
        virtual_hosts: vec![host],
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_route_alone_takes_the_calls() {
        for (target, routes) in TARGETS {
            let table = table(target, routes);
            let host = &table.virtual_hosts[0];
            assert_eq!(host.routes.len(), routes);
            let matching = |at| {
                let prefix = Protocol::Grpc.prefix(at);
                Protocol::Grpc.path().starts_with(&prefix)
            };
            assert_eq!(
                (0..1_000).filter(|at| matching(*at)).collect::<Vec<_>>(),
                [999]
            );
        }
    }
}
