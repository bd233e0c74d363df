//! The incremental variant, against a plain tonic client.

use std::collections::{BTreeMap, HashMap};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};

use super::*;

const RATINGS: &str = "outbound|9080||ratings.default.svc.cluster.local";

#[tokio::test]
async fn an_edit_sends_only_what_it_changed() {
    let (dir, plane) = start(90).await;
    let mut client = DeltaClient::settled(plane.local_addr()).await;
    write_rules(dir.path(), 50);
    let routes = client.next(ResourceType::Route).await;
    assert_eq!(names(&routes), ["9080"]);
    assert_eq!(
        client.weights(),
        [("v1".to_owned(), 50), ("v2".to_owned(), 50)]
    );
    assert!(routes.system_version_info.ends_with("/2"), "{routes:?}");

    // New endpoints: those alone.
    write_services(dir.path(), 7001, 7003);
    let endpoints = client.next(ResourceType::Endpoints).await;
    assert_eq!(names(&endpoints), [V2]);

    // A new service: its cluster, and the routes of the port.
    write_ratings(dir.path());
    assert_eq!(names(&client.next(ResourceType::Cluster).await), [RATINGS]);
    assert_eq!(names(&client.next(ResourceType::Route).await), ["9080"]);

    // It goes: the routes first, so that nobody is left with a route to nowhere.
    std::fs::remove_file(dir.path().join("ratings.yaml")).unwrap();
    assert_eq!(names(&client.next(ResourceType::Route).await), ["9080"]);
    let clusters = client.next(ResourceType::Cluster).await;
    assert_eq!(clusters.removed_resources, [RATINGS]);
    assert_eq!(names(&clusters), [""; 0]);
    assert_eq!(plane.nacks(), []);
}

#[tokio::test]
async fn after_a_reconnect_only_what_differs_is_sent() {
    let (dir, plane) = start(90).await;
    write_ratings(dir.path());
    until("ratings is there", || plane.generation() == 2).await;
    let client = DeltaClient::settled(plane.local_addr()).await;
    let held = client.held;
    assert!(held[&ResourceType::Cluster].contains_key(RATINGS));
    drop((client.requests, client.responses));
    // Another process on the same folder, which has changed meanwhile.
    plane.shutdown().await;
    std::fs::remove_file(dir.path().join("ratings.yaml")).unwrap();
    write_services(dir.path(), 7001, 7003);
    let plane = ControlPlane::start(dir.path(), loopback()).await.unwrap();

    let mut client = DeltaClient::connect(plane.local_addr()).await;
    client.held = held;
    client.ask(ResourceType::Cluster, &["*"]).await;
    let clusters = client.next(ResourceType::Cluster).await;
    assert_eq!(names(&clusters), [""; 0]);
    let gone = client.next(ResourceType::Cluster).await;
    assert_eq!(gone.removed_resources, [RATINGS]);
    client.ask(ResourceType::Endpoints, &[V1, V2]).await;
    assert_eq!(names(&client.next(ResourceType::Endpoints).await), [V2]);

    // Who holds nothing gets all.
    let client = DeltaClient::settled(plane.local_addr()).await;
    assert_eq!(client.held[&ResourceType::Endpoints].len(), 2);
    assert!(client.held[&ResourceType::Cluster].len() > 3);
}

#[tokio::test]
async fn a_refusal_is_recorded_and_not_answered() {
    let (dir, plane) = start(90).await;
    let mut client = DeltaClient::settled(plane.local_addr()).await;
    client.refuse = Some("weights look odd");
    write_rules(dir.path(), 50);
    let routes = client.next(ResourceType::Route).await;
    client.refuse = None;
    until("the refusal is recorded", || !plane.nacks().is_empty()).await;
    let expected = Nack {
        node: node("reviews").id,
        type_url: ResourceType::Route.type_url().to_owned(),
        version: routes.system_version_info.clone(),
        message: "weights look odd".to_owned(),
    };
    assert_eq!(plane.nacks(), [expected]);
    write_rules(dir.path(), 20);
    client.next(ResourceType::Route).await;
    assert_eq!(client.weights()[0].1, 20);
}

#[tokio::test]
async fn both_variants_tell_the_same() {
    let (_dir, plane) = start(90).await;
    let delta = DeltaClient::settled(plane.local_addr()).await;
    let mut sotw = Client::connect(plane.local_addr()).await;
    for (resource_type, names) in FOLLOWED {
        sotw.ask(resource_type, names).await;
        let sent = sotw.next(resource_type).await;
        let of_delta: Vec<_> = (delta.held[&resource_type].values())
            .map(|resource| resource.resource.clone().unwrap())
            .collect();
        assert_eq!(of_delta, sent.resources, "{resource_type}");
    }
}

#[tokio::test]
async fn a_bad_first_request_is_refused_by_name() {
    let (_dir, plane) = start(90).await;
    let mut client = DeltaClient::connect(plane.local_addr()).await;
    client.node = None;
    client.ask(ResourceType::Cluster, &[]).await;
    let status = client.responses.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("node.id"), "{status}");
}

// What the tests stand on.

const FOLLOWED: [(ResourceType, &[&str]); 3] = [
    (ResourceType::Cluster, &[]),
    (ResourceType::Endpoints, &[V1, V2]),
    (ResourceType::Route, &["9080"]),
];

fn write_ratings(dir: &Path) {
    let text = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ratings, namespace: default }
spec:
  hosts: [ratings.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 9080, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: 7009 } }]
";
    put(&dir.join("ratings.yaml"), text);
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    (response.resources.iter())
        .map(|r| r.name.as_str())
        .collect()
}

/// A client that acknowledges all it gets, unless told to refuse, and keeps it.
struct DeltaClient {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// Sent with the next request only.
    node: Option<Node>,
    held: BTreeMap<ResourceType, BTreeMap<String, Resource>>,
    refuse: Option<&'static str>,
}

impl DeltaClient {
    /// Opens a stream; that it returns shows that the server answers with headers before the first request.
    async fn connect(address: SocketAddr) -> Self {
        let mut client = AggregatedDiscoveryServiceClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        let (requests, receiver) = mpsc::channel(16);
        let open = client.delta_aggregated_resources(ReceiverStream::new(receiver));
        let responses = tokio::time::timeout(LIMIT, open)
            .await
            .expect("headers in time")
            .unwrap()
            .into_inner();
        Self {
            requests,
            responses,
            node: Some(node("reviews")),
            held: BTreeMap::new(),
            refuse: None,
        }
    }

    /// Follows all that `start` writes, and has acknowledged it.
    async fn settled(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        for (resource_type, names) in FOLLOWED {
            client.ask(resource_type, names).await;
            client.next(resource_type).await;
        }
        client
    }

    /// Begins to follow, and tells what it holds of the type.
    async fn ask(&mut self, resource_type: ResourceType, names: &[&str]) {
        let held = self.held.get(&resource_type).into_iter().flatten();
        let versions: HashMap<_, _> = held
            .map(|(name, resource)| (name.clone(), resource.version.clone()))
            .collect();
        let request = DeltaDiscoveryRequest {
            node: self.node.take(),
            type_url: resource_type.type_url().to_owned(),
            resource_names_subscribe: names.iter().map(|n| (*n).to_owned()).collect(),
            initial_resource_versions: versions,
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next response, which must be of this type.
    async fn next(&mut self, resource_type: ResourceType) -> DeltaDiscoveryResponse {
        let message = tokio::time::timeout(LIMIT, self.responses.message())
            .await
            .expect("a response in time");
        let response = message.unwrap().expect("the stream goes on");
        assert_eq!(response.type_url, resource_type.type_url());
        let error_detail = self.refuse.map(|message| RpcStatus {
            code: 3,
            message: message.to_owned(),
            ..RpcStatus::default()
        });
        if error_detail.is_none() {
            let held = self.held.entry(resource_type).or_default();
            held.retain(|name, _| !response.removed_resources.contains(name));
            let sent = response.resources.iter().cloned();
            held.extend(sent.map(|resource| (resource.name.clone(), resource)));
        }
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(answer).await.unwrap();
        response
    }

    /// The weights in the routes that it holds.
    fn weights(&self) -> Vec<(String, u32)> {
        let held = self.held[&ResourceType::Route].values();
        let routes: Vec<_> = held
            .map(|r| r.resource.as_ref().unwrap())
            .map(|any| RouteConfiguration::decode(any.value.as_slice()).unwrap())
            .collect();
        weights_of(&routes)
    }
}
