//! Services of the mesh whose endpoints have names (ServiceEntry with `resolution: DNS`).

use http::StatusCode;
use mesh_tower::Mesh;
use mesh_tower::client::CallInfo;

use crate::support::outside::{Names, Server};
use crate::support::{Folder, node, text_of};

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
    let builder = Mesh::builder().yaml(folder.path()).node(node()).seed(1);
    let mesh = builder.resolver(names.clone()).build().unwrap();
    (folder, mesh)
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
