//! What the tests share: Bookinfo as YAML, and readers of packed resources.
#![allow(dead_code, reason = "each test file uses a part of it")]

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, route, route_action::ClusterSpecifier,
};
use envoy_types::pb::google::protobuf::value::Kind;
use mesh_istio::{Config, Loaded, Rejected};
use mesh_xds::{Node, Resources};
use prost::Message;

pub(crate) const REVIEWS: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews, namespace: default }
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ { number: 9080, name: http, protocol: HTTP } ]
  workloadSelector: { labels: { app: reviews } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: reviews-v1, namespace: default }
spec:
  address: 127.0.11.1
  ports: { http: 19081 }
  labels: { app: reviews, version: v1 }
  serviceAccount: bookinfo-reviews
  locality: region1/zone1
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: reviews-v2
  namespace: default
spec:
  address: 127.0.11.2
  labels: { app: reviews, version: v2 }
  locality: region1/zone2/rack7
  weight: 3
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews, namespace: default }
spec:
  host: reviews
  trafficPolicy: { tls: { mode: DISABLE } }
  subsets:
  - { name: v1, labels: { version: v1 } }
  - { name: v2, labels: { version: v2 }, trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } } }
  - { name: v3, labels: { version: v3 } }
";

pub(crate) const HOST: &str = "reviews.default.svc.cluster.local";

pub(crate) fn load(text: &str) -> Loaded {
    Config::parse([("test.yaml".into(), text.to_owned())])
        .unwrap_or_else(|e| panic!("rejected:\n{e}\n\n{text}"))
}

pub(crate) fn reject(text: &str) -> Rejected {
    match Config::parse([("test.yaml".into(), text.to_owned())]) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(rejected) => rejected,
    }
}

pub(crate) fn client() -> Node {
    Node::sidecar("productpage-v1", "default")
        .with_labels([("app", "productpage"), ("version", "v1")])
}

pub(crate) fn compile(text: &str) -> Resources {
    load(text).config.resources(&client())
}

pub(crate) fn cluster(resources: &Resources, name: &str) -> Cluster {
    let any = resources
        .clusters
        .get(name)
        .unwrap_or_else(|| panic!("no cluster {name}"));
    assert_eq!(
        any.type_url,
        "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    );
    Cluster::decode(any.value.as_slice()).expect("a cluster")
}

pub(crate) fn assignment(resources: &Resources, name: &str) -> ClusterLoadAssignment {
    let any = resources
        .endpoints
        .get(name)
        .unwrap_or_else(|| panic!("no endpoints {name}"));
    ClusterLoadAssignment::decode(any.value.as_slice()).expect("an assignment")
}

/// `address:port` of every endpoint.
pub(crate) fn addresses(resources: &Resources, name: &str) -> Vec<String> {
    let assignment = assignment(resources, name);
    assignment
        .endpoints
        .iter()
        .flat_map(|l| &l.lb_endpoints)
        .map(address)
        .collect()
}

pub(crate) fn address(endpoint: &LbEndpoint) -> String {
    use envoy_types::pb::envoy::config::core::v3::{
        address::Address, socket_address::PortSpecifier,
    };
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
        panic!("no endpoint")
    };
    let Some(Address::SocketAddress(a)) =
        endpoint.address.as_ref().and_then(|a| a.address.as_ref())
    else {
        panic!("no address")
    };
    let Some(PortSpecifier::PortValue(port)) = a.port_specifier else {
        panic!("no port")
    };
    format!("{}:{port}", a.address)
}

pub(crate) fn routes(resources: &Resources, name: &str) -> RouteConfiguration {
    let any = resources
        .routes
        .get(name)
        .unwrap_or_else(|| panic!("no routes {name}"));
    RouteConfiguration::decode(any.value.as_slice()).expect("routes")
}

/// The routes of a virtual host by its name.
pub(crate) fn host_routes(configuration: &RouteConfiguration, name: &str) -> Vec<Route> {
    let host = configuration.virtual_hosts.iter().find(|h| h.name == name);
    host.unwrap_or_else(|| panic!("no virtual host {name}"))
        .routes
        .clone()
}

/// Where a route goes: `cluster` or `cluster=weight,...`, or what else it does.
pub(crate) fn target(route: &Route) -> String {
    match &route.action {
        Some(route::Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => name.clone(),
            Some(ClusterSpecifier::WeightedClusters(all)) => {
                let each = all
                    .clusters
                    .iter()
                    .map(|c| format!("{}={}", c.name, c.weight.map_or(0, |w| w.value)));
                each.collect::<Vec<_>>().join(",")
            }
            other => format!("{other:?}"),
        },
        Some(route::Action::DirectResponse(direct)) => format!("status {}", direct.status),
        other => format!("{other:?}"),
    }
}

/// A text of Istio's filter metadata.
pub(crate) fn istio(
    metadata: Option<&envoy_types::pb::envoy::config::core::v3::Metadata>,
    key: &str,
) -> String {
    let value = metadata
        .and_then(|m| m.filter_metadata.get("istio"))
        .and_then(|s| s.fields.get(key));
    match value.and_then(|v| v.kind.as_ref()) {
        Some(Kind::StringValue(s)) => s.clone(),
        other => panic!("no text under {key}: {other:?}"),
    }
}
