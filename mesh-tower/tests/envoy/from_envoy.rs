//! An Envoy beside a client, and our server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use http::{StatusCode, Version};
use mesh_control_plane::{ControlPlane, Options};
use mesh_tower::{Files, Mesh, Node, PeerIdentity};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::proxy::{Envoy, free, get};
use crate::sidecar::{self, Certificate, Protocol};
use crate::support::grpc::{EchoClient, EchoServer, note};
use crate::support::tls::Authority;
use crate::support::{Folder, until};

const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/reviews";
const FRIEND: &str = "spiffe://cluster.local/ns/default/sa/friend";
const STRANGER: &str = "spiffe://cluster.local/ns/default/sa/stranger";

/// What came to the application: version, path, who the mesh says it is, and who the header says.
type Seen = Arc<Mutex<Vec<(Version, String, Option<String>, Option<String>)>>>;

/// Our server, with its control plane.
struct Server {
    address: SocketAddr,
    seen: Seen,
    plane: ControlPlane,
    _mesh: Mesh,
    _folder: Folder,
}

impl Server {
    /// In this mode. Its policies let the friend in, but not everywhere, and anybody to one path.
    async fn start(mode: &str, own: &Path) -> Self {
        let folder = Folder {
            dir: TempDir::new().unwrap(),
        };
        folder.write("service.yaml", SERVICE);
        let options = Options::default().certificates(true);
        let plane = ControlPlane::start_with(folder.path(), free(), options).await;
        let plane = plane.unwrap();
        let local = free().ip();
        let node = Node::sidecar("reviews-v1", "default").with_labels([("app", "reviews")]);
        let mesh = Mesh::builder()
            .xds(plane.local_addr().to_string())
            .node(node.with_ip(local))
            .certificates(Files::new(own))
            .build()
            .unwrap();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        let seen = Seen::default();
        tokio::spawn(listener.serve(application(Arc::clone(&seen))));
        folder.write("workload.yaml", &workload(address.port()));
        folder.write("policies.yaml", &policies(mode));
        // Before the policies are there, all that comes is answered.
        until("the policies", async || {
            let answer = get(address, Version::HTTP_11, "reviews", "/open").await;
            let is_denied = answer.is_some_and(|it| it.status() == StatusCode::FORBIDDEN);
            is_denied || mesh.stats().closed.contains_key("plaintext_refused")
        })
        .await;
        seen.lock().unwrap().clear();
        Self {
            address,
            seen,
            plane,
            _mesh: mesh,
            _folder: folder,
        }
    }

    /// How the one request came that the application has seen, of which the mesh says whose it is.
    fn proven(&self) -> (Version, String) {
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let (version, path, peer, xfcc) = seen.pop().unwrap();
        assert_eq!(seen, []);
        assert_eq!(peer.as_deref(), Some(FRIEND));
        let xfcc = xfcc.unwrap();
        let says = format!("By={REVIEWS};Hash=");
        let ends = format!(";URI={FRIEND}");
        assert!(xfcc.starts_with(&says) && xfcc.ends_with(&ends), "{xfcc}");
        (version, path)
    }
}

const SERVICE: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews, namespace: default }
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 9080, name: http, protocol: HTTP }]
  workloadSelector: { labels: { app: reviews } }
";

fn workload(port: u16) -> String {
    format!(
        "\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: reviews, namespace: default }}
spec:
  address: 127.0.0.1
  ports: {{ http: {port} }}
  labels: {{ app: reviews }}
  serviceAccount: reviews
"
    )
}

fn policies(mode: &str) -> String {
    format!(
        "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{ name: mode, namespace: default }}
spec: {{ mtls: {{ mode: {mode} }} }}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: friends, namespace: default }}
spec:
  rules:
  - from: [ {{ source: {{ principals: [cluster.local/ns/default/sa/friend] }} }} ]
  - to: [ {{ operation: {{ paths: [/anybody] }} }} ]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: shut, namespace: default }}
spec:
  action: DENY
  rules:
  - from: [ {{ source: {{ principals: [cluster.local/ns/default/sa/friend] }} }} ]
    to: [ {{ operation: {{ paths: [/shut, /test.Echo/Upload] }} }} ]
"
    )
}

fn application(seen: Seen) -> Router {
    Router::new()
        .route_service("/test.Echo/{method}", EchoServer::new("v1"))
        .fallback(|| async { "hello" })
        .layer(axum::middleware::map_request(move |request: Request| {
            let peer = request.extensions().get::<PeerIdentity>().unwrap();
            let peer = peer.spiffe().map(|id| id.as_str().to_owned());
            let xfcc = request.headers().get("x-forwarded-client-cert");
            let xfcc = xfcc.map(|value| value.to_str().unwrap().to_owned());
            let path = request.uri().path().to_owned();
            let told = (request.version(), path, peer, xfcc);
            seen.lock().unwrap().push(told);
            async { request }
        }))
}

/// The ways that lead from Envoy to a server, by the hosts that they are called by.
struct Ways {
    hosts: Vec<(String, String)>,
    clusters: Vec<Value>,
}

impl Ways {
    fn add(&mut self, host: &str, cluster: Value) {
        let name = cluster["name"].as_str().unwrap().to_owned();
        self.hosts.push((host.to_owned(), name));
        self.clusters.push(cluster);
    }

    /// All ways to one server.
    fn to(&mut self, mode: &str, endpoint: SocketAddr, [friend, stranger]: [Certificate<'_>; 2]) {
        use Protocol::{Http1, Http2};
        let name = |what: &str| format!("{mode}-{what}");
        for (what, protocol, own, is_shown, peer) in [
            ("http1", Http1, friend, true, REVIEWS),
            ("http2", Http2, friend, true, REVIEWS),
            ("stranger", Http1, stranger, true, REVIEWS),
            ("nobody", Http1, friend, false, REVIEWS),
            ("misled", Http1, friend, true, STRANGER),
        ] {
            let name = name(what);
            let cluster = sidecar::mutual(&name, protocol, endpoint, own, is_shown, peer);
            self.add(&name, cluster);
        }
        let plain = name("plain");
        self.add(&plain, sidecar::cluster(&plain, Http1, endpoint));
    }

    async fn envoy(self) -> Envoy {
        let hosts = self.hosts.iter();
        let hosts: Vec<_> = hosts.map(|(host, to)| (&**host, &**to)).collect();
        let listener = sidecar::outbound("out", &hosts);
        Envoy::start(json!({ "listeners": [listener], "clusters": self.clusters })).await
    }
}

/// `MESH_ENVOY=$(bash examples/interop/envoy.sh install) cargo test -p mesh-tower --test envoy -- --ignored`
#[tokio::test]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
async fn our_servers_take_envoys_calls() {
    let root = Authority::called("the mesh");
    let folders = [REVIEWS, FRIEND, STRANGER].map(|id| {
        let folder = TempDir::new().unwrap();
        root.write_workload(folder.path(), id, &[&root]);
        folder
    });
    let [own, friend, stranger] = folders.each_ref().map(TempDir::path);
    let theirs = [friend, stranger].map(|folder| Certificate { folder });
    let (mut servers, mut ways) = (
        Vec::new(),
        Ways {
            hosts: Vec::new(),
            clusters: Vec::new(),
        },
    );
    for mode in ["STRICT", "PERMISSIVE"] {
        let server = Server::start(mode, own).await;
        ways.to(mode, server.address, theirs);
        servers.push((mode, server));
    }
    let envoy = ways.envoy().await;
    let listener = envoy.listener("out").await;
    for (mode, server) in &servers {
        takes_who_is_proven(listener, mode, server).await;
        refuses_the_others(listener, mode, server).await;
        assert_eq!(server.plane.nacks(), []);
    }
}

async fn takes_who_is_proven(envoy: SocketAddr, mode: &str, server: &Server) {
    for (way, version) in [("http1", Version::HTTP_11), ("http2", Version::HTTP_2)] {
        let host = format!("{mode}-{way}");
        let asked = async |path| get(envoy, version, &host, path).await.unwrap();
        let answer = asked("/open").await;
        assert_eq!(
            (answer.status(), &**answer.body()),
            (StatusCode::OK, "hello")
        );
        assert_eq!(server.proven(), (version, "/open".to_owned()));
        let answer = asked("/shut").await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert_eq!(answer.body(), "RBAC: access denied");
    }
    let to = tonic::transport::Endpoint::from_shared(format!("http://{envoy}"));
    let origin = format!("http://{mode}-http2").parse().unwrap();
    let channel = to.unwrap().origin(origin).connect().await.unwrap();
    let mut client = EchoClient::new(channel);
    let answer = client.unary(note("hello", 0)).await.unwrap();
    assert_eq!(answer.into_inner().text, "v1 hello");
    assert_eq!(
        server.proven(),
        (Version::HTTP_2, "/test.Echo/Unary".to_owned())
    );
    let status = client.upload(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(*server.seen.lock().unwrap(), []);
}

async fn refuses_the_others(envoy: SocketAddr, mode: &str, server: &Server) {
    let asked = async |way: &str, path: &str| {
        let host = format!("{mode}-{way}");
        let answer = get(envoy, Version::HTTP_11, &host, path);
        answer.await.unwrap().status().as_u16()
    };
    assert_eq!(asked("stranger", "/open").await, 403, "{mode}");
    // Without a certificate, and of a server that is not whom Envoy looks for.
    for way in ["nobody", "misled"] {
        assert_eq!(asked(way, "/anybody").await, 503, "{mode} {way}");
    }
    assert_eq!(*server.seen.lock().unwrap(), []);
    // The controls: whom the policy takes without a proof.
    assert_eq!(asked("stranger", "/anybody").await, 200, "{mode}");
    let plain = match mode {
        "STRICT" => 503,
        _ => 200,
    };
    assert_eq!(asked("plain", "/anybody").await, plain, "{mode}");
    let seen = std::mem::take(&mut *server.seen.lock().unwrap());
    let peers: Vec<_> = seen.iter().map(|(_, _, peer, _)| peer.as_deref()).collect();
    assert_eq!(peers[0], Some(STRANGER));
    match mode {
        "STRICT" => assert_eq!(peers[1..], []),
        _ => assert_eq!(peers[1..], [None]),
    }
}
