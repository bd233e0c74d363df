//! `mesh.csds()` asked by tonic's own client: before there is a control plane, after it has answered, of a
//! folder, and when there is nobody left to ask.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::admin::v3::ClientResourceStatus;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use envoy_types::pb::envoy::service::status::v3::{ClientConfig, ClientStatusRequest};
use envoy_types::pb::envoy::r#type::matcher::v3::NodeMatcher;
use mesh_control_plane::ControlPlane;
use mesh_tower::Mesh;
use mesh_xds::ResourceType;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Backend, Closed, Folder, URL, node, until};

type Client = ClientStatusDiscoveryServiceClient<Channel>;

/// The service of a mesh on a listener of another, as on a port for operators; beside it the mesh that listens.
async fn served(mesh: &Mesh) -> (Client, Mesh) {
    let operators = Mesh::builder().build().unwrap();
    let listener = operators.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    tokio::spawn(listener.serve(mesh.csds()));
    (client_of(address).await, operators)
}

/// An answer that does not come is an error, and no test that never ends.
async fn client_of(address: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.timeout(Duration::from_secs(20));
    Client::new(endpoint.connect().await.unwrap())
}

async fn fetched(client: &Client) -> Vec<ClientConfig> {
    let response = client
        .clone()
        .fetch_client_status(ClientStatusRequest::default())
        .await;
    response.unwrap().into_inner().config
}

/// Type, name and status of each resource.
fn listed(config: &ClientConfig) -> Vec<(ResourceType, &str, &'static str)> {
    let all = config.generic_xds_configs.iter();
    all.map(|one| {
        let status = ClientResourceStatus::try_from(one.client_status).unwrap();
        let of = ResourceType::from_type_url(&one.type_url).unwrap();
        (of, &*one.name, status.as_str_name())
    })
    .collect()
}

const TABLE: (ResourceType, &str) = (ResourceType::Route, "9080");
const V1: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";

fn is_all_there(config: &ClientConfig) -> bool {
    let all = listed(config);
    let has = |of, name| all.contains(&(of, name, "ACKED"));
    has(TABLE.0, TABLE.1) && has(ResourceType::Cluster, V1) && has(ResourceType::Endpoints, V1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_before_the_control_plane_exists_and_after_it_has_answered() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v1", 1)]);
    let closed = Closed::new();
    let address = closed.address;
    let mesh = Mesh::builder()
        .xds(format!("http://{address}"))
        .node(node())
        .seed(7)
        .build()
        .unwrap();
    let (client, _operators) = served(&mesh).await;

    let [early] = &fetched(&client).await[..] else {
        panic!("one client")
    };
    assert_eq!(early.node, Some(node().to_proto()));
    assert_eq!(listed(early), []);
    let waiting = tokio::spawn({
        let client = mesh.client();
        async move { client.get(URL).await.map(|response| response.status()) }
    });
    let requested = [(TABLE.0, TABLE.1, "REQUESTED")];
    until("the call to want its table", || async {
        listed(&fetched(&client).await[0]) == requested
    })
    .await;
    until("the first failed connection", || async {
        mesh.status().last_error.is_some()
    })
    .await;
    assert_eq!(listed(&fetched(&client).await[0]), requested);

    drop(closed);
    let _control_plane = ControlPlane::start(folder.path(), address).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 200);
    let [late] = &fetched(&client).await[..] else {
        panic!("one client")
    };
    assert!(is_all_there(late), "{:?}", listed(late));
    let cluster = late.generic_xds_configs.iter().find(|one| one.name == V1);
    assert!(!cluster.unwrap().version_info.is_empty());
    assert!(cluster.unwrap().xds_config.is_some());
}

#[tokio::test]
async fn a_folder_is_asked_in_the_same_way_and_a_stream_gets_an_answer_for_each_request() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v1", 1)]);
    let mesh = folder.mesh(7);
    let (client, _operators) = served(&mesh).await;
    mesh.client().get(URL).await.unwrap();

    let (requests, sent) = tokio::sync::mpsc::channel(1);
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let answers = client.clone().stream_client_status(sent).await;
    let mut answers = answers.unwrap().into_inner();
    for with_contents in [true, false] {
        let request = ClientStatusRequest {
            exclude_resource_contents: !with_contents,
            ..ClientStatusRequest::default()
        };
        requests.send(request).await.unwrap();
        let answer = answers.next().await.unwrap().unwrap();
        let [config] = &answer.config[..] else {
            panic!("one client")
        };
        assert!(is_all_there(config), "{:?}", listed(config));
        assert_eq!(config.client_scope, folder.path().display().to_string());
        let mut all = config.generic_xds_configs.iter();
        assert_eq!(all.any(|one| one.xds_config.is_some()), with_contents);
    }
    drop(requests);
    assert!(answers.next().await.is_none(), "the end");
}

#[tokio::test]
async fn a_client_chooses_among_no_clients() {
    let mesh = Mesh::builder().build().unwrap();
    let (mut client, _operators) = served(&mesh).await;
    let request = ClientStatusRequest {
        node_matchers: vec![NodeMatcher::default()],
        ..ClientStatusRequest::default()
    };
    let refused = client.fetch_client_status(request.clone()).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let requests = tokio_stream::once(request);
    let answers = client.stream_client_status(requests).await.unwrap();
    let refused = answers.into_inner().next().await.unwrap();
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn without_a_source_of_rules_and_after_the_mesh_there_is_no_client() {
    let mesh = Mesh::builder().build().unwrap();
    let (client, _operators) = served(&mesh).await;
    assert_eq!(fetched(&client).await, []);

    let closed = Closed::new();
    let mesh = Mesh::builder()
        .xds(format!("http://{}", closed.address))
        .node(node())
        .build()
        .unwrap();
    let (client, _operators) = served(&mesh).await;
    assert_eq!(fetched(&client).await.len(), 1);
    drop(mesh);
    until("the mesh to end", || async {
        fetched(&client).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn it_is_a_service_of_tonic_beside_others() {
    let mesh = Mesh::builder().build().unwrap();
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    let services = tonic::service::Routes::new(mesh.csds());
    tokio::spawn(listener.serve(services.prepare()));
    assert_eq!(fetched(&client_of(address).await).await, []);
}
