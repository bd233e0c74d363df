//! A folder of YAML, backends behind `mesh.serve`, and counts.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its part, and a test that cannot be set up has failed"
)]

pub(crate) mod ads;
#[cfg(feature = "tls")]
pub(crate) mod agent;
pub(crate) mod faults;
pub(crate) mod frozen;
#[cfg(feature = "grpc")]
pub(crate) mod grpc;
pub(crate) mod logs;
pub(crate) mod outside;
#[cfg(feature = "tls")]
pub(crate) mod plane;
pub(crate) mod rules;
pub(crate) mod stage;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::http::Version;
use axum::routing::any;
use http::{Request, Response, StatusCode};
use mesh_tower::{Body, Builder, Mesh, MeshClient, Node};
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// A running backend that answers its name and the HTTP version in which it was asked.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) mesh: Mesh,
}

impl Backend {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::serve(
            name,
            Router::new().fallback(any(move |version: Version| async move {
                format!("{name} {version:?}")
            })),
        )
        .await
    }

    pub(crate) async fn serve(name: &'static str, app: Router) -> Self {
        Self::serve_at("127.0.0.1:0", name, app).await
    }

    pub(crate) async fn serve_at(address: &str, name: &'static str, app: Router) -> Self {
        let mesh = Mesh::builder().build().unwrap();
        let listener = mesh.listen(address).await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(app));
        Self {
            name,
            address,
            mesh,
        }
    }
}

/// An address that refuses connections, and that no other test gets while this lives.
pub(crate) struct Closed {
    pub(crate) address: SocketAddr,
    _bound: TcpSocket,
}

impl Closed {
    pub(crate) fn new() -> Self {
        let bound = TcpSocket::new_v4().unwrap();
        bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self {
            address: bound.local_addr().unwrap(),
            _bound: bound,
        }
    }
}

/// A folder of rules for one service, `reviews`, whose versions are backends.
pub(crate) struct Folder {
    pub(crate) dir: TempDir,
}

impl Folder {
    /// The service and its workloads; each backend's name is its version.
    pub(crate) fn reviews(protocol: &str, backends: &[(&str, SocketAddr)]) -> Self {
        let folder = Self {
            dir: TempDir::new().unwrap(),
        };
        let mut workloads = String::new();
        let mut versions = std::collections::BTreeSet::new();
        for (at, (version, address)) in backends.iter().enumerate() {
            versions.insert(*version);
            workloads.push_str(&format!(
                "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: reviews-{version}-{at}, namespace: default }}\nspec:\n  address: {}\n  ports: {{ http: {} }}\n  labels: {{ app: reviews, version: {version} }}\n",
                address.ip(), address.port(),
            ));
        }
        let subsets: String = versions
            .iter()
            .map(|version| format!("  - name: {version}\n    labels: {{ version: {version} }}\n"))
            .collect();
        folder.write("service.yaml", &format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: reviews, namespace: default }}\nspec:\n  hosts: [reviews.default.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{ number: 9080, name: http, protocol: {protocol} }}]\n  workloadSelector: {{ labels: {{ app: reviews }} }}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: reviews, namespace: default }}\nspec:\n  host: reviews\n  trafficPolicy: {{ tls: {{ mode: DISABLE }} }}\n  subsets:\n{subsets}",
        ));
        folder.write("workloads.yaml", &workloads);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a file in place by rename, as editors and `meshctl` do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let hidden = self.path().join(format!(".{name}.tmp"));
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, self.path().join(name)).unwrap();
    }

    /// A VirtualService for `reviews` with this `http` block.
    pub(crate) fn routes(&self, http: &str) {
        self.write("routes.yaml", &format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: reviews, namespace: default }}\nspec:\n  hosts: [reviews]\n  http:\n{http}"
        ));
    }

    /// All requests by weights over subsets.
    pub(crate) fn split(&self, weights: &[(&str, u32)]) {
        let routes: String = weights
            .iter()
            .map(|(subset, weight)| format!("    - destination: {{ host: reviews, subset: {subset} }}\n      weight: {weight}\n"))
            .collect();
        self.routes(&format!("  - route:\n{routes}"));
    }

    pub(crate) fn mesh(&self, seed: u64) -> Mesh {
        self.builder(seed).build().unwrap()
    }

    pub(crate) fn builder(&self, seed: u64) -> Builder {
        Mesh::builder()
            .yaml(self.path())
            .node(node())
            .seed(seed)
            // No test asks the resolver of the machine that it runs on.
            .resolver(outside::Names::default())
    }
}

pub(crate) fn node() -> Node {
    Node::sidecar("productpage-v1", "default").with_labels([("app", "productpage")])
}

pub(crate) const URL: &str = "http://reviews:9080/reviews/0";

/// Sends `count` GETs one after another and counts the first words of the answers.
pub(crate) async fn answers(client: &MeshClient, count: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..count {
        let response = client.get(URL).await.unwrap();
        let text = response.into_body().text().await.unwrap();
        let name = text.split(' ').next().unwrap_or_default().to_owned();
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// One GET with a header; the status and the text.
pub(crate) async fn get(client: &MeshClient, header: (&str, &str)) -> (StatusCode, String) {
    let request = Request::get(URL)
        .header(header.0, header.1)
        .body(Body::empty())
        .unwrap();
    text_of(client.send(request).await.unwrap()).await
}

pub(crate) async fn text_of(response: Response<Body>) -> (StatusCode, String) {
    let status = response.status();
    (status, response.into_body().text().await.unwrap())
}

/// Waits for a condition; a test that waits longer than this has failed.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited 20 s for {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether `hits` of `all` draws at probability `p` are within five standard deviations.
pub(crate) fn within_five_sigma(hits: usize, all: usize, p: f64) -> bool {
    let (hits, all) = (hits as f64, all as f64);
    (hits - all * p).abs() <= 5.0 * (all * p * (1.0 - p)).sqrt()
}
