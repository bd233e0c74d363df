//! Routes of `reviews:9080` that a test writes as Envoy's protos.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, VirtualHost, WeightedCluster, route, route_action,
    weighted_cluster::ClusterWeight,
};
use envoy_types::pb::google::protobuf::{Duration, UInt32Value};
use envoy_types::util::pack_any;
use mesh_istio::Config;
use mesh_tower::{Builder, Mesh};
use mesh_xds::ResourceType;
use prost::Message;

use super::ads::Scripted;
use super::{Folder, node};

/// A control plane that serves a folder's resources, with one route configuration changed.
pub(crate) struct Ruled {
    server: Scripted,
    address: SocketAddr,
}

impl Ruled {
    pub(crate) async fn start(
        folder: &Folder,
        change: impl FnOnce(&mut RouteConfiguration),
    ) -> Self {
        let mut resources = Config::load(folder.path())
            .unwrap()
            .config
            .resources(&node());
        let held = resources.routes.get_mut("9080").unwrap();
        let mut configuration = RouteConfiguration::decode(&*held.value).unwrap();
        change(&mut configuration);
        *held = pack_any(configuration);
        let (server, address) = Scripted::start(resources).await;
        Self { server, address }
    }

    /// Changes the configuration once more, and pushes it.
    pub(crate) fn push(&self, change: impl FnOnce(&mut RouteConfiguration)) {
        self.server.push(ResourceType::Route, |held| {
            let held = held.routes.get_mut("9080").unwrap();
            let mut configuration = RouteConfiguration::decode(&*held.value).unwrap();
            change(&mut configuration);
            *held = pack_any(configuration);
        });
    }

    pub(crate) fn mesh(&self) -> Mesh {
        self.mesh_with(|builder| builder)
    }

    pub(crate) fn mesh_with(&self, change: impl FnOnce(Builder) -> Builder) -> Mesh {
        let builder = Mesh::builder()
            .xds(self.address.to_string())
            .node(node())
            .seed(7);
        change(builder).build().unwrap()
    }

    /// What the control plane was told to be wrong.
    pub(crate) fn nacks(&self) -> Vec<String> {
        self.server.nacks.lock().unwrap().clone()
    }
}

/// A mesh under a folder's rules with one change.
pub(crate) async fn ruled(
    folder: &Folder,
    change: impl FnOnce(&mut RouteConfiguration),
) -> (Ruled, Mesh) {
    let ruled = Ruled::start(folder, change).await;
    let mesh = ruled.mesh();
    (ruled, mesh)
}

/// The virtual host of `reviews`.
pub(crate) fn host(configuration: &mut RouteConfiguration) -> &mut VirtualHost {
    let named = |host: &&mut VirtualHost| host.name.starts_with("reviews");
    configuration.virtual_hosts.iter_mut().find(named).unwrap()
}

/// Its last route, which takes everything.
pub(crate) fn last(configuration: &mut RouteConfiguration) -> &mut Route {
    host(configuration).routes.last_mut().unwrap()
}

/// What that route does.
pub(crate) fn action(configuration: &mut RouteConfiguration) -> &mut RouteAction {
    match &mut last(configuration).action {
        Some(route::Action::Route(action)) => action,
        other => panic!("no route action: {other:?}"),
    }
}

/// The entry of a split with one cluster, made of a route to that cluster.
pub(crate) fn entry(action: &mut RouteAction) -> &mut ClusterWeight {
    use route_action::ClusterSpecifier::{Cluster, WeightedClusters};
    if let Some(Cluster(name)) = &action.cluster_specifier {
        let entry = ClusterWeight {
            name: name.clone(),
            weight: Some(UInt32Value { value: 1 }),
            ..ClusterWeight::default()
        };
        action.cluster_specifier = Some(WeightedClusters(WeightedCluster {
            clusters: vec![entry],
            ..WeightedCluster::default()
        }));
    }
    match &mut action.cluster_specifier {
        Some(WeightedClusters(split)) => &mut split.clusters[0],
        other => panic!("no cluster: {other:?}"),
    }
}

pub(crate) fn header(name: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    }
}

pub(crate) fn set(name: &str, value: &str) -> HeaderValueOption {
    header(name, value, HeaderAppendAction::OverwriteIfExistsOrAdd)
}

pub(crate) fn append(name: &str, value: &str) -> HeaderValueOption {
    header(name, value, HeaderAppendAction::AppendIfExistsOrAdd)
}

pub(crate) fn millis(millis: i64) -> Option<Duration> {
    Some(Duration {
        seconds: millis / 1000,
        nanos: (millis % 1000) as i32 * 1_000_000,
    })
}
