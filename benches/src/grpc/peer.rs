//! tonic-xds and the control plane that it needs: a listener by the name of the target, as gRFC A27 has it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::google::protobuf::Any;
use http::uri::PathAndQuery;
use mesh_xds::ResourceType;
use prost::Message;
use tokio::net::TcpSocket;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use tonic_xds::{
    BootstrapConfig, ChannelCredentialType, XdsChannelBuilder, XdsChannelConfig, XdsChannelGrpc,
    XdsUri,
};

use super::client::{Caller, failed};
use super::echo::Payload;
use crate::error::BenchError;
use crate::folder::Protocol;
use crate::plane::{self, Held};
use crate::resources::{assignment, eds, leading, named, of_path, to};
use crate::server::Server;

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const CONNECTION_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// The cluster of the server, to which the last route alone leads.
const CALLED: &str = "called";
/// The cluster of all other routes: nothing listens there.
const ELSEWHERE: &str = "elsewhere";
/// The number of the route that takes the calls.
const LAST: usize = 999;
/// tonic-xds itself waits 30 s for its first configuration.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one arm calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// The name of the arm.
    pub(super) arm: &'static str,
    /// What follows `xds:///`, and the name of its listener and its route configuration.
    name: &'static str,
    /// How many routes it has.
    routes: usize,
}

pub(super) const ONE: Target = Target {
    arm: "tonic-xds, 1 route",
    name: "one:9080",
    routes: 1,
};

pub(super) const MANY: Target = Target {
    arm: "tonic-xds, 1,000 routes",
    name: "many:9080",
    routes: LAST + 1,
};

/// A channel to each of the targets, each with an xDS client of its own.
pub(super) struct Peers {
    pub(super) one: Caller<XdsChannelGrpc>,
    pub(super) many: Caller<XdsChannelGrpc>,
    /// It is followed for as long as they live.
    _plane: Server,
}

/// Starts the control plane and the channels; each has called the server through its last route.
pub(super) async fn start(backend: SocketAddr) -> Result<Peers, BenchError> {
    let plane = Server::spawn(&["plane-grpc", &backend.to_string()]).await?;
    Ok(Peers {
        one: ONE.caller(plane.address).await?,
        many: MANY.caller(plane.address).await?,
        _plane: plane,
    })
}

impl Target {
    async fn caller(self, plane: SocketAddr) -> Result<Caller<XdsChannelGrpc>, BenchError> {
        let channel = self.channel(plane)?;
        tokio::time::timeout(PATIENCE, self.check(&channel))
            .await
            .map_err(|_| failed(self.arm, "nothing came back"))??;
        Ok(Caller::new(self.arm, channel, Duration::ZERO))
    }

    fn channel(self, plane: SocketAddr) -> Result<XdsChannelGrpc, BenchError> {
        let failed = |reason: String| failed(self.arm, reason);
        // Without the scheme tonic-xds 0.1.0-alpha.4 never opens its stream, and says nothing of it.
        let bootstrap = BootstrapConfig::builder(format!("http://{plane}"))
            .channel_creds([ChannelCredentialType::Insecure])
            .node_id("bench")
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let target = XdsUri::parse(&format!("xds:///{}", self.name))
            .map_err(|error| failed(error.to_string()))?;
        XdsChannelBuilder::new(XdsChannelConfig::new(target).with_bootstrap(bootstrap))
            .build_grpc_channel()
            .map_err(|error| failed(error.to_string()))
    }

    /// Whether the last route, and none before it, leads to the server.
    async fn check(self, channel: &XdsChannelGrpc) -> Result<(), BenchError> {
        let last = self.outcome(channel, LAST).await?;
        let before = self.outcome(channel, LAST - 1).await?;
        // The server answers UNIMPLEMENTED for a service that it does not have.
        if last == Code::Ok && !matches!(before, Code::Ok | Code::Unimplemented) {
            return Ok(());
        }
        let told = format!("{}: last route {last:?}, before it {before:?}", self.arm);
        Err(BenchError::Configuration(told))
    }

    /// How a call ends that the route of this number takes.
    async fn outcome(self, channel: &XdsChannelGrpc, at: usize) -> Result<Code, BenchError> {
        let path = PathAndQuery::try_from(format!("{}Echo", Protocol::Grpc.prefix(at)))
            .map_err(|error| failed(self.arm, error.to_string()))?;
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready()
            .await
            .map_err(|error| failed(self.arm, error.to_string()))?;
        let request = Request::new(Payload { data: Bytes::new() });
        let codec = ProstCodec::<Payload, Payload>::default();
        let answer = grpc.unary(request, path, codec).await;
        Ok(answer.map_or_else(|status| status.code(), |_| Code::Ok))
    }

    /// An `api_listener` whose routes come by RDS under the target's name.
    fn listener(self) -> listener::Listener {
        use core::config_source::ConfigSourceSpecifier;
        use hcm::http_connection_manager::RouteSpecifier;
        let ads = ConfigSourceSpecifier::Ads(core::AggregatedConfigSource::default());
        let rds = hcm::Rds {
            route_config_name: self.name.to_owned(),
            config_source: Some(core::ConfigSource {
                config_source_specifier: Some(ads),
                ..Default::default()
            }),
        };
        // gRFC A39: the router is the last of the filters, and never missing.
        let router = hcm::HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(packed(
                ROUTER,
                &Router::default(),
            ))),
            ..Default::default()
        };
        let manager = hcm::HttpConnectionManager {
            route_specifier: Some(RouteSpecifier::Rds(rds)),
            http_filters: vec![router],
            ..Default::default()
        };
        listener::Listener {
            name: self.name.to_owned(),
            api_listener: Some(listener::ApiListener {
                api_listener: Some(packed(CONNECTION_MANAGER, &manager)),
            }),
            ..Default::default()
        }
    }

    /// One virtual host, of whose routes the last one takes the calls.
    fn table(self) -> route::RouteConfiguration {
        let host = route::VirtualHost {
            name: self.name.to_owned(),
            domains: vec![self.name.to_owned()],
            routes: (LAST + 1 - self.routes..=LAST).map(numbered).collect(),
            ..Default::default()
        };
        route::RouteConfiguration {
            name: self.name.to_owned(),
            virtual_hosts: vec![host],
            ..Default::default()
        }
    }
}

fn numbered(at: usize) -> route::Route {
    use route::route_match::PathSpecifier;
    let matching = of_path(PathSpecifier::Prefix(Protocol::Grpc.prefix(at)));
    let cluster = if at == LAST { CALLED } else { ELSEWHERE };
    leading(at, matching, to(cluster))
}

fn packed(type_url: &str, message: &impl Message) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    }
}

/// The control plane's process: prints its address, serves until its input ends.
pub(crate) fn serve_plane(backend: SocketAddr) -> Result<(), BenchError> {
    // Bound and never listening: connections are refused for as long as this process lives.
    let refusing = TcpSocket::new_v4()?;
    refusing.bind(([127, 0, 0, 1], 0).into())?;
    plane::serve(held(backend, refusing.local_addr()?))
}

fn held(backend: SocketAddr, refusing: SocketAddr) -> Held {
    let of = |kind: ResourceType| kind.type_url();
    let targets = [ONE, MANY];
    let listeners = targets.map(|target| named(LISTENER, target.name, &target.listener()));
    let tables = targets.map(|target| named(of(ResourceType::Route), target.name, &target.table()));
    let clusters = [(CALLED, backend), (ELSEWHERE, refusing)];
    let endpoints = clusters.map(|(name, address)| {
        let endpoint = assignment(name, address);
        named(of(ResourceType::Endpoints), name, &endpoint)
    });
    let clusters = clusters.map(|(name, _)| named(of(ResourceType::Cluster), name, &eds(name)));
    Held::from([
        (LISTENER, listeners.into()),
        (of(ResourceType::Route), tables.into()),
        (of(ResourceType::Cluster), clusters.into()),
        (of(ResourceType::Endpoints), endpoints.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads_to_the_server(route: &route::Route) -> bool {
        use route::route::Action;
        match &route.action {
            Some(Action::Route(action)) => action.cluster_specifier == Some(to(CALLED)),
            _ => false,
        }
    }

    #[test]
    fn the_last_route_alone_leads_to_the_server() {
        for target in [ONE, MANY] {
            let table = target.table();
            let routes = &table.virtual_hosts[0].routes;
            assert_eq!(routes.len(), target.routes);
            let (last, others) = routes.split_last().unwrap();
            assert!(leads_to_the_server(last));
            assert!(!others.iter().any(leads_to_the_server));
        }
    }

    #[test]
    fn the_last_number_alone_matches_the_calls() {
        let matching = |at: &usize| {
            let prefix = Protocol::Grpc.prefix(*at);
            Protocol::Grpc.path().starts_with(&prefix)
        };
        let numbers: Vec<usize> = (0..=LAST).filter(matching).collect();
        assert_eq!(numbers, [LAST]);
    }
}
