//! The control plane over real sockets, against a plain tonic client.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod delta;
#[allow(dead_code, reason = "a part of it is for others")]
#[path = "../../../../mesh-tower/tests/support/logs.rs"]
mod logs;
mod unselected;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioExecutor;
use mesh_control_plane::{ControlPlane, Nack, StartError};
use mesh_xds::{Node as MeshNode, ResourceType};
use prost::Message;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

const LIMIT: Duration = Duration::from_secs(10);
const PLAIN: &str = "outbound|9080||reviews.default.svc.cluster.local";
const V1: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";
const V2: &str = "outbound|9080|v2|reviews.default.svc.cluster.local";
const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

#[tokio::test]
async fn a_client_gets_clusters_endpoints_and_routes() {
    let (_dir, plane) = start(90).await;
    let mut client = Client::connect(plane.local_addr()).await;
    client.ask(ResourceType::Cluster, &[]).await;
    let clusters = client.next(ResourceType::Cluster).await;
    let names: Vec<_> = decode::<Cluster>(&clusters)
        .into_iter()
        .map(|c| c.name)
        .collect();
    for name in [PLAIN, V1, V2] {
        assert!(
            names.iter().any(|n| n == name),
            "{name} is missing in {names:?}"
        );
    }
    client.ask(ResourceType::Endpoints, &[V1, V2]).await;
    let endpoints: Vec<ClusterLoadAssignment> = decode(&client.next(ResourceType::Endpoints).await);
    let names: Vec<_> = endpoints.iter().map(|e| e.cluster_name.as_str()).collect();
    assert_eq!(names, [V1, V2]);
    client.ask(ResourceType::Route, &["9080"]).await;
    let routes = client.next(ResourceType::Route).await;
    assert_eq!(
        weights(&routes),
        [("v1".to_owned(), 90), ("v2".to_owned(), 10)]
    );
    assert!(
        routes.version_info.ends_with("/1"),
        "{}",
        routes.version_info
    );
    client.ask_url(LDS, &[]).await;
    let listeners = client.any().await;
    assert_eq!(
        (listeners.type_url.as_str(), listeners.resources.len()),
        (LDS, 0)
    );
}

#[tokio::test]
async fn an_edit_is_pushed_and_only_what_changed() {
    let (dir, plane) = start(90).await;
    let mut client = Client::settled(plane.local_addr()).await;
    write_rules(dir.path(), 50);
    let routes = client.next(ResourceType::Route).await;
    assert_eq!(
        weights(&routes),
        [("v1".to_owned(), 50), ("v2".to_owned(), 50)]
    );
    assert!(
        routes.version_info.ends_with("/2"),
        "{}",
        routes.version_info
    );
    client.ack(&routes, &["9080"]).await;

    // New endpoints: those alone.
    write_services(dir.path(), 7001, 7003);
    let endpoints = client.next(ResourceType::Endpoints).await;
    let moved: Vec<ClusterLoadAssignment> = decode(&endpoints);
    assert!(moved.iter().any(|e| e.cluster_name == V2), "{moved:?}");
    assert!(moved.iter().all(|e| e.cluster_name != V1), "{moved:?}");
}

#[tokio::test]
async fn a_changed_cluster_brings_its_endpoints_again() {
    let (dir, plane) = start(90).await;
    let mut client = Client::settled(plane.local_addr()).await;
    write_subsets(dir.path(), "ROUND_ROBIN");
    let clusters = client.next(ResourceType::Cluster).await;
    assert!(decode::<Cluster>(&clusters).iter().any(|c| c.name == V1));
    let endpoints: Vec<ClusterLoadAssignment> = decode(&client.next(ResourceType::Endpoints).await);
    let names: Vec<_> = endpoints.iter().map(|e| e.cluster_name.as_str()).collect();
    assert_eq!(names, [V1, V2]);
}

#[tokio::test]
async fn a_bad_edit_changes_nothing_and_the_next_good_one_does() {
    let (dir, plane) = start(90).await;
    let mut client = Client::settled(plane.local_addr()).await;
    let file = dir.path().join("rules.yaml");
    put(
        &file,
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec: {hots: [a]}\n",
    );
    until("the bad edit is seen", || plane.rejected().is_some()).await;
    let text = plane.rejected().unwrap().to_string();
    assert!(
        text.contains("rules.yaml:4:") && text.contains("hots"),
        "{text}"
    );
    assert_eq!(plane.generation(), 1);
    // A newcomer gets the last good.
    let mut other = Client::connect(plane.local_addr()).await;
    other.ask(ResourceType::Route, &["9080"]).await;
    assert_eq!(
        weights(&other.next(ResourceType::Route).await),
        [("v1".to_owned(), 90), ("v2".to_owned(), 10)]
    );

    write_rules(dir.path(), 30);
    let routes = client.next(ResourceType::Route).await;
    assert_eq!(
        weights(&routes),
        [("v1".to_owned(), 30), ("v2".to_owned(), 70)]
    );
    assert!(
        routes.version_info.ends_with("/2"),
        "{}",
        routes.version_info
    );
    until("it is in force", || plane.rejected().is_none()).await;
}

#[tokio::test]
async fn a_refusal_is_recorded_and_not_answered() {
    let (dir, plane) = start(90).await;
    let mut client = Client::settled(plane.local_addr()).await;
    write_rules(dir.path(), 50);
    let routes = client.next(ResourceType::Route).await;
    client.nack(&routes, &["9080"], "weights look odd").await;
    until("the refusal is recorded", || !plane.nacks().is_empty()).await;
    let expected = Nack {
        node: node("reviews").id,
        type_url: ResourceType::Route.type_url().to_owned(),
        version: routes.version_info.clone(),
        message: "weights look odd".to_owned(),
    };
    assert_eq!(plane.nacks(), [expected]);
    // The next thing that it is sent is the next edit, not the refused version again.
    write_rules(dir.path(), 20);
    assert_eq!(weights(&client.next(ResourceType::Route).await)[0].1, 20);
}

#[tokio::test]
async fn garbage_on_the_port_stops_nobody() {
    let (_dir, plane) = start(90).await;
    let garbage: [&[u8]; 5] = [
        b"\x00\x01\x02\x03garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for bytes in garbage {
        let mut socket = TcpStream::connect(plane.local_addr()).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as any; what counts is that there is one.
        let _ = tokio::time::timeout(LIMIT, socket.read_to_end(&mut answer))
            .await
            .expect("the connection is ended");
    }
    Client::settled(plane.local_addr()).await;
}

#[tokio::test]
async fn garbage_in_messages_is_an_error_of_that_stream() {
    let (_dir, plane) = start(90).await;
    let messages: [(&[u8], &str); 4] = [
        (&[0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff], "no protobuf"),
        (
            &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3],
            "a length beyond the limit",
        ),
        (&[1, 0, 0, 0, 1, 0], "compressed, though nothing was agreed"),
        (&[9, 0, 0, 0, 1, 0], "an unknown flag"),
    ];
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    for (message, what) in messages {
        let path =
            "envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
        let request = http::Request::post(format!("http://{}/{path}", plane.local_addr()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::copy_from_slice(message)))
            .unwrap();
        let response = tokio::time::timeout(LIMIT, client.request(request))
            .await
            .expect("in time")
            .unwrap();
        let headers = response.headers().clone();
        let body = tokio::time::timeout(LIMIT, response.into_body().collect())
            .await
            .expect("an end in time")
            .unwrap();
        let status = body
            .trailers()
            .unwrap_or(&headers)
            .get("grpc-status")
            .unwrap_or_else(|| panic!("{what}"))
            .clone();
        assert_ne!(status, "0", "{what}");
    }
    Client::settled(plane.local_addr()).await;
}

#[tokio::test]
async fn a_bad_first_request_is_refused_by_name() {
    let (_dir, plane) = start(90).await;
    for (node, expected) in [
        (None, "node.id"),
        (Some("envoy-1"), "envoy-1"),
        (Some("pod~127.0.0.1~a.b~c"), "pod~127"),
    ] {
        let mut client = Client::connect(plane.local_addr()).await;
        client.node = node.map(|id| Node {
            id: id.to_owned(),
            ..Node::default()
        });
        client.ask(ResourceType::Cluster, &[]).await;
        let status = client.responses.message().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(expected), "{}", status.message());
    }
}

/// Sends all that it will ever send, closes its side, and only then reads.
#[tokio::test]
async fn a_half_duplex_client_gets_its_answers_and_an_end() {
    let (_dir, plane) = start(90).await;
    let request = |t: ResourceType, names: &[&str], node| DiscoveryRequest {
        node,
        type_url: t.type_url().to_owned(),
        resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
        ..DiscoveryRequest::default()
    };
    let requests = [
        request(ResourceType::Cluster, &[], Some(node("reviews"))),
        request(ResourceType::Endpoints, &[V1], None),
        request(ResourceType::Route, &["9080"], None),
    ];
    let mut client =
        AggregatedDiscoveryServiceClient::connect(format!("http://{}", plane.local_addr()))
            .await
            .unwrap();
    let mut responses = client
        .stream_aggregated_resources(tokio_stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let mut types = Vec::new();
    while let Some(response) = tokio::time::timeout(LIMIT, responses.message())
        .await
        .expect("in time")
        .unwrap()
    {
        types.push(ResourceType::from_type_url(&response.type_url).unwrap());
    }
    types.sort_unstable();
    let asked = [
        ResourceType::Cluster,
        ResourceType::Endpoints,
        ResourceType::Route,
    ];
    assert_eq!(types, asked);
}

#[tokio::test]
async fn a_silent_client_holds_up_nobody_and_gets_the_newest() {
    let (dir, plane) = start(90).await;
    let mut silent = Client::settled(plane.local_addr()).await;
    let mut other = Client::settled(plane.local_addr()).await;
    for weight in [10, 20, 30, 40] {
        write_rules(dir.path(), weight);
        let routes = other.next(ResourceType::Route).await;
        assert_eq!(weights(&routes)[0].1, weight);
        other.ack(&routes, &["9080"]).await;
    }
    let mut last = 0;
    while last != 40 {
        last = weights(&silent.next(ResourceType::Route).await)[0].1;
    }
}

#[tokio::test]
async fn the_end_is_told_and_a_restart_has_other_versions() {
    let (dir, plane) = start(90).await;
    let mut client = Client::settled(plane.local_addr()).await;
    let before = client.version.clone();
    plane.shutdown().await;
    let end = tokio::time::timeout(LIMIT, client.responses.message())
        .await
        .expect("in time");
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    let plane = ControlPlane::start(dir.path(), loopback()).await.unwrap();
    let client = Client::settled(plane.local_addr()).await;
    assert_ne!(before, client.version);
}

#[tokio::test]
async fn what_prevents_a_start_is_said_with_its_flag() {
    let (dir, plane) = start(90).await;
    let error = ControlPlane::start(dir.path(), plane.local_addr())
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::Listen(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&plane.local_addr().to_string()) && text.contains("--listen"),
        "{text}"
    );

    let missing = dir.path().join("nothing-here");
    let text = ControlPlane::start(&missing, loopback())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("nothing-here") && text.contains("--config"),
        "{text}"
    );

    put(
        &dir.path().join("bad.yaml"),
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: [",
    );
    let text = ControlPlane::start(dir.path(), loopback())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("bad.yaml:") && text.contains("--config"),
        "{text}"
    );
}

// What the tests stand on.

async fn start(weight: u32) -> (TempDir, ControlPlane) {
    let dir = tempfile::tempdir().unwrap();
    write_services(dir.path(), 7001, 7002);
    write_subsets(dir.path(), "LEAST_REQUEST");
    write_rules(dir.path(), weight);
    let plane = ControlPlane::start(dir.path(), loopback()).await.unwrap();
    (dir, plane)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Writes a file whole, as `meshctl apply` does.
fn put(file: &Path, text: &str) {
    let temporary = file.with_extension("tmp");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, file).unwrap();
}

fn write_services(dir: &Path, v1: u16, v2: u16) {
    let mut text = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews, namespace: default }
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 9080, name: http, protocol: HTTP }]
  endpoints:
"
    .to_owned();
    for (version, port) in [("v1", v1), ("v2", v2)] {
        let _ = writeln!(
            text,
            "  - {{ address: 127.0.0.1, ports: {{ http: {port} }}, labels: {{ version: {version} }} }}"
        );
    }
    put(&dir.join("services.yaml"), &text);
}

fn write_subsets(dir: &Path, simple: &str) {
    let text = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: reviews, namespace: default }}
spec:
  host: reviews
  trafficPolicy: {{ tls: {{ mode: DISABLE }}, loadBalancer: {{ simple: {simple} }} }}
  subsets:
  - {{ name: v1, labels: {{ version: v1 }} }}
  - {{ name: v2, labels: {{ version: v2 }} }}
"
    );
    put(&dir.join("subsets.yaml"), &text);
}

fn write_rules(dir: &Path, weight: u32) {
    let rest = 100 - weight;
    let text = format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: reviews, namespace: default }}
spec:
  hosts: [reviews]
  http:
  - route:
    - {{ destination: {{ host: reviews, subset: v1 }}, weight: {weight} }}
    - {{ destination: {{ host: reviews, subset: v2 }}, weight: {rest} }}
"
    );
    put(&dir.join("rules.yaml"), &text);
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn node(name: &str) -> Node {
    MeshNode::sidecar(name, "default").to_proto()
}

fn decode<M: Message + Default>(response: &DiscoveryResponse) -> Vec<M> {
    (response.resources.iter())
        .inspect(|any| assert_eq!(any.type_url, response.type_url))
        .map(|any| M::decode(any.value.as_slice()).unwrap())
        .collect()
}

/// Subset and weight of each destination of the weighted route in a response.
fn weights(response: &DiscoveryResponse) -> Vec<(String, u32)> {
    weights_of(&decode(response))
}

fn weights_of(routes: &[RouteConfiguration]) -> Vec<(String, u32)> {
    use envoy_types::pb::envoy::config::route::v3::{
        route::Action, route_action::ClusterSpecifier,
    };
    let mut found = Vec::new();
    for route in routes
        .iter()
        .flat_map(|r| &r.virtual_hosts)
        .flat_map(|host| &host.routes)
    {
        let Some(Action::Route(action)) = &route.action else {
            continue;
        };
        let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier else {
            continue;
        };
        for cluster in &weighted.clusters {
            let subset = cluster.name.split('|').nth(2).unwrap().to_owned();
            found.push((subset, cluster.weight.unwrap_or_default().value));
        }
    }
    found
}

struct Client {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    /// Sent with the next request only.
    node: Option<Node>,
    version: String,
}

impl Client {
    /// Opens a stream; that it returns shows that the server answers with headers before the first request.
    async fn connect(address: SocketAddr) -> Self {
        let mut client = AggregatedDiscoveryServiceClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        let (requests, receiver) = mpsc::channel(16);
        let open = client.stream_aggregated_resources(ReceiverStream::new(receiver));
        let responses = tokio::time::timeout(LIMIT, open)
            .await
            .expect("headers in time")
            .unwrap()
            .into_inner();
        Self {
            requests,
            responses,
            node: Some(node("reviews")),
            version: String::new(),
        }
    }

    /// Follows all that `start` writes, and has acknowledged it.
    async fn settled(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        for (resource_type, names) in [
            (ResourceType::Cluster, &[][..]),
            (ResourceType::Endpoints, &[V1, V2]),
            (ResourceType::Route, &["9080"]),
        ] {
            client.ask(resource_type, names).await;
            let response = client.next(resource_type).await;
            client.ack(&response, names).await;
        }
        client
    }

    async fn ask(&mut self, resource_type: ResourceType, names: &[&str]) {
        self.ask_url(resource_type.type_url(), names).await;
    }

    async fn ask_url(&mut self, type_url: &str, names: &[&str]) {
        let request = DiscoveryRequest {
            node: self.node.take(),
            type_url: type_url.to_owned(),
            resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
            ..DiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    async fn ack(&mut self, response: &DiscoveryResponse, names: &[&str]) {
        self.requests.send(answer(response, names)).await.unwrap();
    }

    async fn nack(&mut self, response: &DiscoveryResponse, names: &[&str], message: &str) {
        let detail = RpcStatus {
            code: 3,
            message: message.to_owned(),
            ..RpcStatus::default()
        };
        let refusal = DiscoveryRequest {
            error_detail: Some(detail),
            ..answer(response, names)
        };
        self.requests.send(refusal).await.unwrap();
    }

    async fn any(&mut self) -> DiscoveryResponse {
        let message = tokio::time::timeout(LIMIT, self.responses.message())
            .await
            .expect("a response in time");
        let response = message.unwrap().expect("the stream goes on");
        self.version.clone_from(&response.version_info);
        response
    }

    /// The next response, which must be of this type.
    async fn next(&mut self, resource_type: ResourceType) -> DiscoveryResponse {
        let response = self.any().await;
        assert_eq!(response.type_url, resource_type.type_url());
        response
    }
}

fn answer(response: &DiscoveryResponse, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
        ..DiscoveryRequest::default()
    }
}
