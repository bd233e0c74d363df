//! Services of the mesh whose endpoints have names (ServiceEntry with `resolution: DNS`).

use http::StatusCode;
use mesh_tower::Mesh;
use mesh_tower::client::CallInfo;

use crate::support::outside::{Leads, Names, Server};
use crate::support::{Folder, node, text_of, until};

/// A service outside of the mesh that the mesh knows, with a rule of its own.
const API: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: api, namespace: default }
spec:
  hosts: [api.example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [ { number: 80, name: http, protocol: HTTP } ]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: api, namespace: default }
spec:
  hosts: [api.example.com]
  http:
  - name: ours
    route: [ { destination: { host: api.example.com } } ]
";

fn mesh(names: &Names) -> (Folder, Mesh) {
    let folder = Folder::reviews("HTTP", &[]);
    folder.write("api.yaml", API);
    let mesh = of(&folder, names);
    (folder, mesh)
}

fn of(folder: &Folder, names: &Names) -> Mesh {
    let builder = Mesh::builder().yaml(folder.path()).node(node()).seed(1);
    builder.resolver(names.clone()).build().unwrap()
}

#[tokio::test]
async fn a_service_is_called_at_the_addresses_of_its_name() {
    let outside = Server::plain().await;
    let names = Names::to("api.example.com", &outside);
    let (_folder, mesh) = mesh(&names);
    let client = mesh.client().with_call_info();
    for _ in 0..3 {
        let response = client.get("http://api.example.com/").await.unwrap();
        let info = response.extensions().get::<CallInfo>().unwrap().clone();
        assert_eq!(&*info.route, "ours");
        assert_eq!(&*info.cluster, "outbound|80||api.example.com");
        assert_eq!(info.endpoint, Some(outside.address));
        assert_eq!(text_of(response).await.0, StatusCode::OK);
    }
    assert_eq!((outside.connections(), outside.requests()), (1, 3));
    assert_eq!(names.asked().len(), 1, "an answer counts for 60 s");
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_is_said() {
    let outside = Server::plain().await;
    let (_folder, mesh) = mesh(&Names::to("other.example.com", &outside));
    let error = mesh.client().get("http://api.example.com/").await;
    let error = error.unwrap_err();
    let said = error.to_string();
    assert_eq!(error.flags(), "UH", "{said}");
    assert!(
        said.contains("no address of \"api.example.com\"") && said.contains("check the name"),
        "{said}"
    );
}

/// `dnsRefreshRate` of the `MeshConfig`. At its default, of which the first test tells, this would wait in vain.
#[tokio::test]
async fn a_name_is_looked_up_again_as_often_as_the_mesh_says() {
    let (before, after) = (Server::plain().await, Server::plain().await);
    let names = Names::to("api.example.com", &before);
    let folder = Folder::reviews("HTTP", &[]);
    folder.write("api.yaml", API);
    folder.write("config.yaml", "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: { name: mesh }\nspec: { dnsRefreshRate: 10ms }\n");
    let client = of(&folder, &names).client();
    client.get("http://api.example.com/").await.unwrap();
    assert_eq!((before.requests(), after.requests()), (1, 0));
    names.lead("api.example.com", Leads::To(vec![after.address]));
    until("calls to follow the name", || async {
        client.get("http://api.example.com/").await.unwrap();
        after.requests() > 0
    })
    .await;
}
