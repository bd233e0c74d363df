//! A canary in the words of Gateway API, from a folder: an `HTTPRoute` of a service, by weights and by a header.

use std::net::SocketAddr;

use http::Request;

use crate::support::{Backend, Folder, URL, answers, get, within_five_sigma};

/// A service with one endpoint.
fn service(name: &str, at: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: {name}, namespace: default }}\nspec:\n  hosts: [{name}.default.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{ number: 9080, name: http, protocol: HTTP }}]\n  endpoints: [{{ address: {}, ports: {{ http: {} }} }}]\n---\n",
        at.ip(),
        at.port()
    )
}

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: reviews, namespace: default }
spec:
  parentRefs: [ { group: '', kind: Service, name: reviews } ]
  rules:
  - backendRefs:
    - { name: reviews-v1, port: 9080, weight: 80 }
    - { name: reviews-v2, port: 9080, weight: 20 }
  - matches:
    - path: { type: PathPrefix, value: /reviews }
      headers: [ { name: end-user, value: jason } ]
    backendRefs: [ { name: reviews-v2, port: 9080 } ]
";

#[tokio::test]
async fn a_canary_by_weights_and_by_a_header() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v0", v1.address)]);
    let services = service("reviews-v1", v1.address) + &service("reviews-v2", v2.address);
    folder.write("versions.yaml", &services);
    folder.write("route.yaml", ROUTE);
    let client = folder.mesh(7).client();
    let counts = answers(&client, 1000).await;
    let of = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert!(within_five_sigma(of("v2"), 1000, 0.2), "{counts:?}");
    assert_eq!(of("v1") + of("v2"), 1000);
    for _ in 0..50 {
        let (_, text) = get(&client, ("end-user", "jason")).await;
        assert!(text.starts_with("v2 "), "{text}");
    }
}

/// Gateway API asks for 500 where a backend does not exist; of a VirtualService it is 503.
#[tokio::test]
async fn a_backend_that_does_not_exist_is_500() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v0", v1.address)]);
    let route = ROUTE.replace("name: reviews-v1", "name: gone-v1");
    folder.write(
        "route.yaml",
        &route.replace("name: reviews-v2", "name: gone-v2"),
    );
    let error = folder.mesh(7).client().get(URL).await.unwrap_err();
    assert!(error.is_no_cluster(), "{error}");
    assert_eq!((error.status().as_u16(), error.flags()), (500, "NC"));
    let explained = folder.mesh(7).explain(&asked()).await.to_string();
    assert!(explained.contains("fails with 500 NC"), "{explained}");

    folder.write("route.yaml", "");
    folder.routes("  - route: [ { destination: { host: gone } } ]\n");
    let error = folder.mesh(7).client().get(URL).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.flags()), (503, "NC"));
}

fn asked() -> Request<()> {
    Request::get(URL).body(()).unwrap()
}
