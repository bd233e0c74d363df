//! Hosts that the mesh does not know, by `outboundTrafficPolicy`: `ALLOW_ANY` passes through, `REGISTRY_ONLY` refuses.

use http::StatusCode;
use mesh_tower::client::CallInfo;
use mesh_tower::{Mesh, MeshClient};

use crate::support::outside::{Names, Server};
use crate::support::{Backend, Folder, URL, node, text_of, until};

fn mesh(folder: &Folder, names: &Names) -> Mesh {
    let builder = Mesh::builder().yaml(folder.path()).node(node()).seed(1);
    builder.resolver(names.clone()).build().unwrap()
}

/// The mesh's rules for hosts that it does not know.
pub(super) fn policy(folder: &Folder, mode: &str) {
    folder.write("mesh.yaml", &format!(
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{ name: mesh }}\nspec: {{ outboundTrafficPolicy: {{ mode: {mode} }} }}\n"
    ));
}

async fn status(client: &MeshClient, uri: &str) -> StatusCode {
    client.get(uri).await.unwrap().status()
}

#[tokio::test]
async fn a_host_that_no_rule_is_for_is_passed_through() {
    let (reviews, outside) = (Backend::start("v1").await, Server::plain().await);
    let folder = Folder::reviews("HTTP", &[("v1", reviews.address)]);
    let names = Names::to("api.example.com", &outside);
    let mesh = mesh(&folder, &names);
    let client = mesh.client().with_call_info();
    // On a port that has virtual hosts, on one that has none, and on the default one.
    for (uri, port) in [
        ("http://api.example.com:9080/", 9080),
        ("http://api.example.com:4711/", 4711),
        ("http://api.example.com/", 80),
    ] {
        let response = client.get(uri).await.unwrap();
        let info = response.extensions().get::<CallInfo>().unwrap().clone();
        assert_eq!(
            (&*info.route, &*info.cluster),
            ("allow_any", "PassthroughCluster")
        );
        assert_eq!(info.endpoint, Some(outside.address));
        assert_eq!(text_of(response).await.0, StatusCode::OK);
        assert_eq!(names.asked().last().unwrap().1, port);
    }
    assert_eq!(outside.connections(), 3);
    client.get("http://api.example.com/").await.unwrap();
    assert_eq!((outside.connections(), outside.requests()), (3, 4));
    let edges = mesh.stats().edges;
    let passed: Vec<_> = edges
        .iter()
        .filter(|edge| &*edge.cluster == "PassthroughCluster")
        .collect();
    assert_eq!((passed.len(), passed[0].requests), (1, 4));

    // What the mesh has rules for stays inside.
    let response = client.get(URL).await.unwrap();
    assert!(text_of(response).await.1.starts_with("v1"));
    assert_eq!(outside.requests(), 4);
    // A name that is mistyped says what became of it.
    let error = client.get("http://revues:9080/").await.unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("cannot resolve \"revues\"") && said.contains("no route for this host"),
        "{said}"
    );
}

#[tokio::test]
async fn registry_only_lets_none_out_and_the_policy_can_change() {
    let (reviews, outside) = (Backend::start("v1").await, Server::plain().await);
    let folder = Folder::reviews("HTTP", &[("v1", reviews.address)]);
    policy(&folder, "REGISTRY_ONLY");
    let names = Names::to("api.example.com", &outside);
    let client = mesh(&folder, &names).client();
    for uri in [
        "http://api.example.com:9080/",
        "http://api.example.com:4711/",
        "http://api.example.com/",
    ] {
        // What the configuration answers is no error.
        assert_eq!(status(&client, uri).await, StatusCode::BAD_GATEWAY, "{uri}");
    }
    assert_eq!(status(&client, URL).await, StatusCode::OK);
    assert!(names.asked().is_empty());

    policy(&folder, "ALLOW_ANY");
    until("the other policy", || async {
        status(&client, "http://api.example.com:4711/").await == StatusCode::OK
    })
    .await;
    assert_eq!(
        status(&client, "http://api.example.com/").await,
        StatusCode::OK
    );
}
