//! What the tests share: backends on real sockets, and a mesh whose rules name them.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use bookinfo_rs::service::router;
use bookinfo_rs::service::settings::Settings;
use http::{HeaderMap, StatusCode};
use mesh_tower::{Mesh, Node};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// All headers that Bookinfo's services pass on as they are.
pub(crate) const FORWARDED: [&str; 19] = [
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "traceparent",
    "tracestate",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
];

/// A mesh, and the folder that rules it.
pub(crate) struct Rules {
    pub(crate) mesh: Mesh,
    /// Kept as long as the mesh.
    _dir: TempDir,
}

/// A ServiceEntry of each service (host, port) with one endpoint each.
pub(crate) fn entries(services: &[(&str, u16, SocketAddr)]) -> String {
    let mut yaml = String::new();
    for (host, port, endpoint) in services {
        let name = host.split('.').next().unwrap();
        let host = if host.contains('.') {
            (*host).to_owned()
        } else {
            format!("{host}.default.svc.cluster.local")
        };
        writeln!(
            yaml,
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{ name: {name}, namespace: default }}\n\
             spec:\n  hosts: [{host}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
             ports: [ {{ number: {port}, name: http, protocol: HTTP }} ]\n  \
             endpoints: [ {{ address: {}, ports: {{ http: {} }} }} ]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
             metadata: {{ name: {name}, namespace: default }}\n\
             spec: {{ host: {host}, trafficPolicy: {{ tls: {{ mode: DISABLE }} }} }}",
            endpoint.ip(),
            endpoint.port(),
        )
        .unwrap();
    }
    yaml
}

/// A mesh of this node, ruled by this YAML.
pub(crate) fn rules(node: Node, yaml: &str) -> Rules {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), yaml).unwrap();
    let mesh = Mesh::builder()
        .yaml(dir.path())
        .node(node)
        .seed(7)
        .build()
        .unwrap();
    Rules { mesh, _dir: dir }
}

/// A mesh in which these services are at these addresses.
pub(crate) fn mesh(services: &[(&str, SocketAddr)]) -> Rules {
    mesh_on(9080, services)
}

/// The same, with another port of the services.
pub(crate) fn mesh_on(port: u16, services: &[(&str, SocketAddr)]) -> Rules {
    let services: Vec<_> = services
        .iter()
        .map(|(name, address)| (*name, port, *address))
        .collect();
    rules(Node::sidecar("test", "default"), &entries(&services))
}

/// A service of Bookinfo's, ready for requests.
pub(crate) fn service(
    rules: &Rules,
    name: &str,
    version: &str,
    variables: &[(&str, &str)],
) -> Router {
    router(
        name,
        version,
        &rules.mesh,
        &Settings::from_pairs(variables.iter().copied()),
    )
    .unwrap()
}

/// Serves a router on a real socket.
pub(crate) async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// What a backend saw: path and headers of each request.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<(String, HeaderMap)>>>);

impl Seen {
    pub(crate) fn all(&self) -> Vec<(String, HeaderMap)> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.all().into_iter().map(|(path, _)| path).collect()
    }

    pub(crate) fn last(&self) -> HeaderMap {
        self.all().pop().expect("a request").1
    }
}

/// A backend that answers everything with this, and remembers what it was asked.
pub(crate) async fn recorder(status: StatusCode, body: &'static str) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let all = seen.clone();
    let app = Router::new().fallback(move |request: Request| async move {
        let (parts, _) = request.into_parts();
        all.0
            .lock()
            .unwrap()
            .push((parts.uri.to_string(), parts.headers));
        (status, body)
    });
    (serve(app).await, seen)
}

/// Sends a request into a router: status, headers and body.
pub(crate) async fn send(
    app: &Router,
    request: http::Request<Body>,
) -> (StatusCode, HeaderMap, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    (
        parts.status,
        parts.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

/// Sends `GET path`.
pub(crate) async fn get(app: &Router, path: &str) -> (StatusCode, String) {
    let request = http::Request::get(path).body(Body::empty()).unwrap();
    let (status, _, body) = send(app, request).await;
    (status, body)
}

/// Sends `GET path`, and reads JSON.
pub(crate) async fn get_json(app: &Router, path: &str) -> (StatusCode, Value) {
    let (status, body) = get(app, path).await;
    (
        status,
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{body:?}: {error}")),
    )
}
