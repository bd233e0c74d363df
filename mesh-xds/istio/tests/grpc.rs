//! The dialect of gRPC's own clients.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::*;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbPolicy,
};
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::route;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::google::protobuf::{Value, value::Kind};
use mesh_istio::Dialect;
use mesh_xds::{Node, Resources};
use prost::Message;

const ROUTES: &str = "outbound|9080||reviews.default.svc.cluster.local";
const OTHERS: &str = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: others, namespace: other }
spec:
  hosts: [db.other.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 5432, name: tcp, protocol: TCP }]
  endpoints: [{ address: 127.0.0.9 }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: outside, namespace: other }
spec:
  hosts: [books.example.com]
  resolution: NONE
  ports: [{ number: 80, name: http, protocol: HTTP }]
";

fn with_generator(generator: &str) -> Node {
    let kind = Some(Kind::StringValue(generator.to_owned()));
    let mut node = client();
    node.metadata.insert("GENERATOR".to_owned(), Value { kind });
    node
}

fn grpc(text: &str) -> Resources {
    load(text).config.resources(&with_generator("grpc"))
}

#[test]
fn the_dialect_is_the_generator_of_the_node() {
    let config = load(REVIEWS).config;
    for (node, expected) in [
        (client(), Dialect::Sidecar),
        (with_generator("grpc"), Dialect::Grpc),
        (with_generator("GRPC"), Dialect::Sidecar),
        (with_generator("agentgateway"), Dialect::Sidecar),
    ] {
        assert_eq!(Dialect::of(&node), expected);
        let of_grpc = expected == Dialect::Grpc;
        let resources = config.resources(&node);
        assert_eq!(!config.listeners(&node).is_empty(), of_grpc);
        assert_eq!(resources.routes.contains_key("9080"), !of_grpc);
        assert_eq!(resources.routes.contains_key(ROUTES), of_grpc);
        assert_eq!(
            resources.clusters.contains_key("PassthroughCluster"),
            !of_grpc
        );
    }
}

#[test]
fn a_listener_for_each_name_and_port() {
    let config = load(&format!("{REVIEWS}{OTHERS}")).config;
    let listeners = config.listeners(&with_generator("grpc"));
    let names: Vec<_> = listeners.keys().map(String::as_str).collect();
    // None for the port that carries no HTTP.
    let expected = [
        "books.example.com.:80",
        "books.example.com:80",
        "reviews.default.svc.cluster.local.:9080",
        "reviews.default.svc.cluster.local:9080",
        "reviews.default.svc:9080",
        "reviews.default:9080",
        "reviews:9080",
    ];
    assert_eq!(names, expected);

    let any = &listeners["reviews:9080"];
    assert_eq!(
        any.type_url,
        "type.googleapis.com/envoy.config.listener.v3.Listener"
    );
    let listener = Listener::decode(any.value.as_slice()).unwrap();
    assert_eq!(listener.name, "reviews:9080");
    let manager = listener.api_listener.unwrap().api_listener.unwrap();
    let manager = HttpConnectionManager::decode(manager.value.as_slice()).unwrap();
    let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier else {
        panic!("{manager:?}")
    };
    assert_eq!(rds.route_config_name, ROUTES);
    let source = rds.config_source.unwrap().config_source_specifier;
    assert!(matches!(source, Some(ConfigSourceSpecifier::Ads(_))));
    let filters: Vec<_> = manager
        .http_filters
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(
        filters,
        ["envoy.filters.http.fault", "envoy.filters.http.router"]
    );
}

#[test]
fn routes_name_hosts_with_and_without_port() {
    let rule = "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews, namespace: default }
spec:
  hosts: [reviews]
  http:
  - match: [{ headers: { end-user: { exact: jason } } }]
    route: [{ destination: { host: reviews, subset: v2 } }]
  - route:
    - { destination: { host: reviews, subset: v1 }, weight: 80 }
    - { destination: { host: reviews, subset: v2 }, weight: 20 }
";
    let configuration = routes(&grpc(&format!("{REVIEWS}{rule}")), ROUTES);
    assert!(!configuration.ignore_port_in_host_matching);
    let [host] = &configuration.virtual_hosts[..] else {
        panic!("{configuration:?}")
    };
    assert_eq!(host.domains[..2], [HOST.to_owned(), format!("{HOST}:9080")]);
    for name in ["reviews", "reviews:9080", "reviews.default:9080"] {
        assert!(host.domains.iter().any(|d| d == name), "{name}");
    }
    let targets: Vec<_> = host.routes.iter().map(target).collect();
    let of = |subset: &str| format!("outbound|9080|{subset}|{HOST}");
    assert_eq!(
        targets,
        [of("v2"), format!("{}=80,{}=20", of("v1"), of("v2"))]
    );
    for route in &host.routes {
        let Some(route::Action::Route(action)) = &route.action else {
            panic!("{route:?}")
        };
        // gRPC reads this one.
        let limit = action.max_stream_duration.as_ref().unwrap();
        assert_eq!(limit.max_stream_duration, action.timeout);
        assert!(action.timeout.is_some());
    }
    // A service without rules has a route too.
    let plain = routes(&grpc(REVIEWS), ROUTES);
    let [only] = &plain.virtual_hosts[0].routes[..] else {
        panic!("{plain:?}")
    };
    assert_eq!(target(only), ROUTES);
}

#[test]
fn clusters_are_of_endpoints_and_take_turns_unless_told() {
    let rule = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: books, namespace: default }
spec:
  host: books.example.com
  subsets:
  - { name: least, labels: { version: v1 }, trafficPolicy: { loadBalancer: { simple: LEAST_REQUEST } } }
  - { name: older, labels: { version: v1 }, trafficPolicy: { loadBalancer: { simple: LEAST_CONN } } }
  - { name: random, labels: { version: v1 }, trafficPolicy: { loadBalancer: { simple: RANDOM } } }
";
    let resources = grpc(&format!("{REVIEWS}{OTHERS}{rule}"));
    let book = |subset: &str| format!("outbound|80|{subset}|books.example.com");
    for (name, policy) in [
        (ROUTES.to_owned(), LbPolicy::RoundRobin),
        (book(""), LbPolicy::RoundRobin),
        (book("least"), LbPolicy::LeastRequest),
        // istiod knows only the newer word here.
        (book("older"), LbPolicy::RoundRobin),
        (book("random"), LbPolicy::RoundRobin),
    ] {
        let cluster = cluster(&resources, &name);
        assert_eq!(cluster.lb_policy(), policy, "{name}");
        assert_eq!(
            cluster.cluster_discovery_type,
            Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            "{name}"
        );
        assert_eq!(cluster.eds_cluster_config.unwrap().service_name, name);
        // Also where there are none: the client hears that, and need not wait.
        assert!(resources.endpoints.contains_key(&name), "{name}");
    }
    let of_sidecar = compile(REVIEWS);
    assert_eq!(of_sidecar.endpoints[ROUTES], resources.endpoints[ROUTES]);
}

#[test]
fn a_service_with_an_address_is_called_by_it_too() {
    let vip = format!(
        "{REVIEWS}{}",
        OTHERS.replace(
            "resolution: NONE",
            "resolution: NONE\n  addresses: [10.0.0.7]"
        )
    );
    let config = load(&vip).config;
    let listeners = config.listeners(&with_generator("grpc"));
    let address = |name: &str| {
        let listener = Listener::decode(listeners[name].value.as_slice()).unwrap();
        let Some(Address::SocketAddress(of)) = listener.address.unwrap().address else {
            panic!("no address")
        };
        of.address
    };
    assert_eq!(address("books.example.com:80"), "10.0.0.7");
    assert_eq!(address("reviews:9080"), "0.0.0.0");
    let routes = routes(&grpc(&vip), "outbound|80||books.example.com");
    let domains = &routes.virtual_hosts[0].domains;
    for name in ["10.0.0.7", "10.0.0.7:80"] {
        assert!(domains.iter().any(|d| d == name), "{domains:?}");
    }
}
