//! Rules in the words of Gateway API, from a folder: a canary by an `HTTPRoute`, and calls of gRPC by a `GRPCRoute`.

use std::net::SocketAddr;

use axum::Router;
use http::{HeaderMap, HeaderName, Request, Response, Uri, Version};
use mesh_tower::{Body, CallInfo, Mesh};

use crate::support::stage::Stage;
use crate::support::{Backend, Folder, URL, answers, get, within_five_sigma};

/// A service with one endpoint.
fn service(name: &str, at: SocketAddr) -> String {
    service_of("HTTP", name, at)
}

/// One of this protocol.
fn service_of(protocol: &str, name: &str, at: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: {name}, namespace: default }}\nspec:\n  hosts: [{name}.default.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{ number: 9080, name: http, protocol: {protocol} }}]\n  endpoints: [{{ address: {}, ports: {{ http: {} }} }}]\n---\n",
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

/// A server that answers with its name and with what it got of `x-set`, `x-gone` and the path; in headers,
/// as a gRPC call that ends at once.
async fn greeter(name: &'static str) -> Backend {
    let app = move |uri: Uri, version: Version, got: HeaderMap| async move {
        assert_eq!(version, Version::HTTP_2);
        let mut answer = Response::new(());
        let headers = answer.headers_mut();
        for key in ["x-set", "x-gone"].map(HeaderName::from_static) {
            headers.extend(got.get(&key).map(|value| (key, value.clone())));
        }
        headers.insert("x-path", uri.path().parse().unwrap());
        headers.insert("x-name", name.parse().unwrap());
        headers.insert("content-type", "application/grpc".parse().unwrap());
        headers.insert("grpc-status", "0".parse().unwrap());
        answer.map(|()| axum::body::Body::empty())
    };
    Backend::serve(name, Router::new().fallback(app)).await
}

/// `reviews` is at `v1`, and there is `reviews-v2`; calls to reviews are by these rules of a `GRPCRoute`, if any.
fn by_rules(v1: &Backend, v2: SocketAddr, rules: Option<&str>) -> (Folder, Mesh) {
    let folder = Folder::reviews("GRPC", &[("v1", v1.address)]);
    folder.write("v2.yaml", &service_of("GRPC", "reviews-v2", v2));
    if let Some(rules) = rules {
        let head = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: { name: greeter, namespace: default }\nspec:\n  parentRefs: [ { group: '', kind: Service, name: reviews } ]\n";
        folder.write("route.yaml", &format!("{head}  rules:\n{rules}"));
    }
    let mesh = folder.mesh(7);
    (folder, mesh)
}

/// A call of gRPC without a message: what the answer begins with.
async fn call(mesh: &Mesh, path: &str, headers: &[(&str, &str)]) -> Response<()> {
    let mut request = Request::post(format!("http://reviews:9080{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = mesh.client().with_call_info().send(request).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.map(drop)
}

fn header<'a>(answer: &'a Response<()>, name: &str) -> &'a str {
    let value = answer.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_grpc_route_matches_services_and_methods() {
    let (v1, v2) = (greeter("v1").await, greeter("v2").await);
    let rules = "  - name: the method
    matches: [ { method: { service: pkg.Greeter, method: Hello } } ]
    backendRefs: [ { name: reviews-v2, port: 9080 } ]
  - name: a caller
    matches: [ { method: { service: pkg.Greeter }, headers: [ { name: end-user, value: jason } ] } ]
    backendRefs: [ { name: reviews-v2, port: 9080 } ]
  - backendRefs: [ { name: reviews, port: 9080 } ]
";
    let (_folder, mesh) = by_rules(&v1, v2.address, Some(rules));
    let (_plain, without) = by_rules(&v1, v2.address, None);
    let jason: &[_] = &[("end-user", "jason")];
    for (path, headers, name, route) in [
        ("/pkg.Greeter/Hello", &[][..], "v2", "the method"),
        ("/pkg.Greeter/Bye", &[], "v1", "default.greeter.2"),
        ("/pkg.Greeter/Bye", jason, "v2", "a caller"),
        ("/pkg.Greeter/Hello2", &[], "v1", "default.greeter.2"),
        ("/pkg.Greeters/Hello", jason, "v1", "default.greeter.2"),
    ] {
        let answer = call(&mesh, path, headers).await;
        assert_eq!(
            (header(&answer, "x-name"), header(&answer, "x-path")),
            (name, path)
        );
        let info = answer.extensions().get::<CallInfo>().unwrap();
        assert_eq!(&*info.route, route, "{path}");
        let answer = call(&without, path, headers).await;
        assert_eq!(header(&answer, "x-name"), "v1", "{path}");
    }
}

#[tokio::test]
async fn filters_of_a_grpc_route_change_headers_and_copy_calls() {
    let (v1, mut v2) = (greeter("v1").await, Stage::start().await);
    let rules = "  - matches: [ { method: { service: pkg.Greeter } } ]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: { set: [ { name: x-set, value: by the rule } ], remove: [ x-gone ] }
    - type: ResponseHeaderModifier
      responseHeaderModifier: { add: [ { name: x-added, value: '1' } ], remove: [ x-path ] }
    - type: RequestMirror
      requestMirror: { backendRef: { name: reviews-v2, port: 9080 } }
    backendRefs: [ { name: reviews, port: 9080 } ]
  - backendRefs: [ { name: reviews, port: 9080 } ]
";
    let (_folder, mesh) = by_rules(&v1, v2.backend.address, Some(rules));
    let sent = [("x-set", "by the caller"), ("x-gone", "1")];
    let seen = |answer: &Response<()>| {
        let names = ["x-name", "x-set", "x-gone", "x-added", "x-path"];
        names.map(|name| header(answer, name).to_owned())
    };
    let other = call(&mesh, "/pkg.Other/Hello", &sent).await;
    assert_eq!(
        seen(&other),
        ["v1", "by the caller", "1", "", "/pkg.Other/Hello"]
    );
    assert_eq!(mesh.stats().mirrors.begun, 0);
    let greeter = call(&mesh, "/pkg.Greeter/Hello", &sent).await;
    assert_eq!(seen(&greeter), ["v1", "by the rule", "", "1", ""]);
    let copy = v2.arrival().await;
    assert_eq!(copy.request.uri().path(), "/pkg.Greeter/Hello");
    assert_eq!(copy.request.headers()["content-type"], "application/grpc");
    assert_eq!(copy.request.headers()["x-set"], "by the rule");
    assert_eq!(mesh.stats().mirrors.begun, 1);
    copy.answer("unseen");
}
