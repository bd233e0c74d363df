//! Our client, and an Envoy before a service.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use http::Version;
use mesh_control_plane::{ControlPlane, Options};
use mesh_tower::{Files, Mesh, MeshClient};
use serde_json::json;
use tempfile::TempDir;

use crate::proxy::{Envoy, free};
use crate::sidecar::{self, Certificate, Protocol};
use crate::support::grpc::{EchoClient, EchoServer, note};
use crate::support::tls::Authority;
use crate::support::{Folder, node, outside, until};

const OWN: &str = "spiffe://cluster.local/ns/default/sa/productpage";
const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/reviews";

/// What came to the application behind Envoy: version, path, and what Envoy says of the client's certificate.
type Seen = Arc<Mutex<Vec<(Version, String, Option<String>)>>>;

async fn application() -> (std::net::SocketAddr, Seen) {
    let seen = Seen::default();
    let told = Arc::clone(&seen);
    let app = Router::new()
        .route_service("/test.Echo/{method}", EchoServer::new("v1"))
        .fallback(|| async { "hello" })
        .layer(axum::middleware::map_request(move |request: Request| {
            let xfcc = request.headers().get("x-forwarded-client-cert");
            let xfcc = xfcc.map(|value| value.to_str().unwrap().to_owned());
            let path = request.uri().path().to_owned();
            told.lock().unwrap().push((request.version(), path, xfcc));
            async { request }
        }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    (address, seen)
}

/// A service whose workload is an Envoy of this service account; without one it has no certificate.
fn service(
    name: &str,
    protocol: &str,
    account: Option<&str>,
    envoy: std::net::SocketAddr,
) -> String {
    let account = account.map_or(String::new(), |account| {
        format!("  serviceAccount: {account}\n")
    });
    let mode = if account.is_empty() {
        "DISABLE"
    } else {
        "ISTIO_MUTUAL"
    };
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name}, namespace: default }}
spec:
  hosts: [{name}.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{ number: 9080, name: http, protocol: {protocol} }}]
  workloadSelector: {{ labels: {{ app: {name} }} }}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: {name}, namespace: default }}
spec:
  address: {}
  ports: {{ http: {} }}
  labels: {{ app: {name} }}
{account}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: {name}, namespace: default }}
spec:
  host: {name}
  trafficPolicy: {{ tls: {{ mode: {mode} }} }}
",
        envoy.ip(),
        envoy.port()
    )
}

async fn text(client: &MeshClient, host: &str) -> String {
    let answer = client.get(&format!("http://{host}:9080/a")).await.unwrap();
    answer.into_body().text().await.unwrap()
}

/// `MESH_ENVOY=$(bash examples/interop/envoy.sh install) cargo test -p mesh-tower --test envoy -- --ignored`
#[tokio::test]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
async fn our_calls_are_taken_by_envoy() {
    let root = Authority::called("the mesh");
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    root.write_workload(ours.path(), OWN, &[&root]);
    root.write_workload(theirs.path(), REVIEWS, &[&root]);
    let (application, seen) = application().await;
    let own = Certificate {
        folder: theirs.path(),
    };
    let listeners = ["strict", "permissive"]
        .map(|mode| sidecar::inbound(mode, mode == "strict", own, "inbound"));
    let cluster = sidecar::cluster("inbound", Protocol::AsAsked, application);
    let envoy = Envoy::start(json!({ "listeners": listeners, "clusters": [cluster] })).await;

    let folder = services(&envoy).await;
    let options = Options::default().certificates(true);
    let plane = ControlPlane::start_with(folder.path(), free(), options);
    let plane = plane.await.unwrap();
    // Envoy does not know by whom it is certified.
    let (foreign, other) = (TempDir::new().unwrap(), Authority::called("another mesh"));
    other.write_workload(foreign.path(), OWN, &[&other, &root]);
    let foreign = certified(&plane, foreign.path()).await.client();
    let mesh = certified(&plane, ours.path()).await;
    let client = mesh.client();
    for mode in ["strict", "permissive"] {
        is_taken(&mesh, mode, &seen).await;
        // Another workload's name is wanted than Envoy has.
        let url = format!("http://{mode}-other:9080/");
        let error = client.get(&url).await.unwrap_err();
        assert!(error.is_tls(), "{error}");
        for part in [REVIEWS, "spiffe://cluster.local/ns/default/sa/other"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // Envoy says so after our handshake, before or after the request has left; what leaves late may drown it.
        let url = format!("http://{mode}-http:9080/");
        let says = "the peer refused us by the TLS alert UnknownCA";
        until("the reason", async || {
            let error = foreign.get(&url).await.unwrap_err();
            error.to_string().contains(says)
        })
        .await;
    }
    assert_eq!(*seen.lock().unwrap(), []);

    // The controls: what comes in plaintext is nobody's where it may come, and does not come where TLS is demanded.
    assert_eq!(text(&client, "permissive-plain").await, "hello");
    let plain = (Version::HTTP_11, "/a".to_owned(), None);
    assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), [plain]);
    let error = client.get("http://strict-plain:9080/").await.unwrap_err();
    assert!(error.is_reset(), "{error}");
    assert_eq!(*seen.lock().unwrap(), []);
    assert_eq!(plane.nacks(), []);
}

/// The services behind the two ways in: by each protocol, by a name that Envoy does not have, and in plaintext.
async fn services(envoy: &Envoy) -> Folder {
    let mut rules = String::new();
    for mode in ["strict", "permissive"] {
        let address = envoy.listener(mode).await;
        for (name, protocol, account) in [
            ("http", "HTTP", Some("reviews")),
            ("http2", "HTTP2", Some("reviews")),
            ("grpc", "GRPC", Some("reviews")),
            ("other", "HTTP", Some("other")),
            ("plain", "HTTP", None),
        ] {
            rules += &service(&format!("{mode}-{name}"), protocol, account, address);
        }
    }
    let folder = Folder {
        dir: TempDir::new().unwrap(),
    };
    folder.write("services.yaml", &rules);
    folder
}

/// A mesh that has read its certificate.
async fn certified(plane: &ControlPlane, certificates: &Path) -> Mesh {
    let mesh = Mesh::builder()
        .xds(plane.local_addr().to_string())
        .node(node())
        .certificates(Files::new(certificates))
        .resolver(outside::Names::default())
        .build()
        .unwrap();
    let expiry = "istio_agent_cert_expiry_seconds";
    until("the certificate", async || {
        mesh.prometheus().contains(expiry)
    })
    .await;
    mesh
}

async fn is_taken(mesh: &Mesh, mode: &str, seen: &Seen) {
    let client = mesh.client();
    for (protocol, version) in [("http", Version::HTTP_11), ("http2", Version::HTTP_2)] {
        let name = format!("{mode}-{protocol}");
        assert_eq!(text(&client, &name).await, "hello");
        assert_eq!(proven(seen), (version, "/a".to_owned()), "{name}");
    }
    for protocol in ["grpc", "http"] {
        let target = format!("xds:///{mode}-{protocol}:9080");
        let mut client = EchoClient::new(mesh.channel(&target).unwrap());
        let answer = client.unary(note("hello", 0)).await.unwrap();
        assert_eq!(answer.into_inner().text, "v1 hello");
        let unary = (Version::HTTP_2, "/test.Echo/Unary".to_owned());
        assert_eq!(proven(seen), unary, "{target}");
    }
}

/// How the one request came that the application has seen, of which Envoy says that it is ours.
fn proven(seen: &Seen) -> (Version, String) {
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    let (version, path, xfcc) = seen.pop().unwrap();
    assert_eq!(seen, []);
    let xfcc = xfcc.unwrap();
    let says = format!("By={REVIEWS};Hash=");
    assert!(
        xfcc.starts_with(&says) && xfcc.ends_with(&format!(";URI={OWN}")),
        "{xfcc}"
    );
    (version, path)
}
