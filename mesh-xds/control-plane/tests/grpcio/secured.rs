//! Mutual TLS and policies between gRPC's C core and us, both ways, by our rules in gRPC's dialect: C core as a client that
//! takes its credentials from the mesh (gRFC A29), and as a server that takes its listener from it (A36, A41).

use std::future::Ready;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use mesh_control_plane::ca::Authority;
use mesh_control_plane::{ControlPlane, Options};
use mesh_tower::{Builder, Dialect, Files, Mesh};
use mesh_xds::Node;
use tempfile::TempDir;
use tonic::Code;
use tonic::codegen::Service;
use tonic_prost::ProstCodec;

use crate::{Caller, LIMIT, Python, counts, put};

const OURS: &str = "xds:///ours:7070";
const THEIRS: &str = "xds:///theirs:7071";
const SAY: &str = "/mesh.test.Echo/Say";
const SHOUT: &str = "/mesh.test.Echo/Shout";

/// A folder of rules under which all is mutual TLS, its control plane, and who has a certificate.
struct Scene {
    python: String,
    folder: TempDir,
    plane: ControlPlane,
    authority: Authority,
}

impl Scene {
    async fn start(ours: u16, theirs: u16) -> Self {
        let python = std::env::var("MESH_GRPCIO").expect("MESH_GRPCIO names a python with grpcio");
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "services.yaml", &services(ours, theirs));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options::default().certificates(true);
        let plane = ControlPlane::start_with(folder.path(), any, options)
            .await
            .unwrap();
        let domain = "cluster.local".parse().unwrap();
        let authority = Authority::self_signed(&domain, SystemTime::now()).unwrap();
        Self {
            python,
            folder,
            plane,
            authority,
        }
    }

    fn policy(&self, spec: &str) {
        let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: guard, namespace: default }\n";
        put(
            self.folder.path(),
            "policy.yaml",
            &format!("{head}spec:\n{spec}"),
        );
    }

    fn without_policy(&self) {
        put(self.folder.path(), "policy.yaml", "# nothing\n");
    }

    /// The certificate of a service account, as files.
    fn certificate(&self, account: &str) -> TempDir {
        let id = format!("spiffe://cluster.local/ns/default/sa/{account}");
        let hour = Duration::from_hours(1);
        let issued = self
            .authority
            .issue(&id.parse().unwrap(), hour, SystemTime::now());
        let folder = tempfile::tempdir().unwrap();
        issued.unwrap().write(folder.path()).unwrap();
        folder
    }

    fn mesh(&self) -> Builder {
        Mesh::builder()
            .xds(self.plane.local_addr().to_string())
            .dialect(Dialect::Grpc)
            .node(Node::sidecar("ours", "default"))
    }

    fn bootstrap(&self, name: &str, certificates: &Path) -> String {
        let file = |name: &str| certificates.join(name);
        serde_json::json!({
            "xds_servers": [{
                "server_uri": self.plane.local_addr().to_string(),
                "channel_creds": [{ "type": "insecure" }],
                "server_features": ["xds_v3"],
            }],
            "node": {
                "id": format!("sidecar~127.0.0.1~{name}.default~default.svc.cluster.local"),
                "metadata": { "GENERATOR": "grpc", "NAMESPACE": "default" },
            },
            "certificate_providers": {
                "default": {
                    "plugin_name": "file_watcher",
                    "config": {
                        "certificate_file": file("cert-chain.pem"),
                        "private_key_file": file("key.pem"),
                        "ca_certificate_file": file("root-cert.pem"),
                        "refresh_interval": "600s",
                    },
                },
            },
            "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
        })
        .to_string()
    }

    /// A client of C core with the certificate of this account; without one it has what needs none.
    fn caller(&self, account: Option<&str>) -> Caller {
        let certificates = account.map(|account| self.certificate(account));
        let none = Path::new("/nowhere");
        let at = certificates.as_ref().map_or(none, TempDir::path);
        let bootstrap = self.bootstrap("caller", at);
        let how = if account.is_some() {
            "xds-client"
        } else {
            "client"
        };
        let mut caller = Caller::with(&self.python, how, bootstrap);
        caller.kept = certificates;
        caller
    }
}

/// Waits until one call goes so.
fn until(caller: &mut Caller, target: &str, method: &str, wanted: &str) {
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let seen = caller.by_method(target, 1, method);
        if seen == counts(&[(wanted, 1)]) {
            return;
        }
        let late = std::time::Instant::now() >= deadline;
        assert!(
            !late,
            "{method}: not {wanted}, but {seen:?}; {}",
            caller.log()
        );
    }
}

/// `MESH_GRPCIO=$(bash examples/interop/grpcio.sh install) cargo test -p mesh-control-plane --test grpcio -- --ignored`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs gRPC's C core: MESH_GRPCIO=$(bash examples/interop/grpcio.sh install), then -- --ignored"]
async fn grpc_core_calls_us_by_certificate_and_policy() {
    let port = free_port();
    let scene = Scene::start(port, free_port()).await;
    scene.policy(
        "  selector: { matchLabels: { app: ours } }
  rules:
  - from: [{ source: { principals: [cluster.local/ns/default/sa/caller] } }]
    to: [{ operation: { paths: [/mesh.test.Echo/Say] } }]
",
    );
    let own = scene.certificate("ours");
    let mesh = scene
        .mesh()
        .certificates(Files::new(own.path()))
        .build()
        .unwrap();
    let listener = mesh.listen(&format!("127.0.0.1:{port}")).await.unwrap();
    tokio::spawn(listener.serve(Echo));

    let mut caller = scene.caller(Some("caller"));
    let mut stranger = scene.caller(Some("stranger"));
    until(&mut caller, OURS, "Say", "ours");
    assert_eq!(caller.by_method(OURS, 20, "Say"), counts(&[("ours", 20)]));
    let denied = counts(&[("PERMISSION_DENIED", 1)]);
    assert_eq!(
        caller.by_method(OURS, 1, "Shout"),
        denied,
        "{}",
        caller.log()
    );
    assert_eq!(
        stranger.by_method(OURS, 1, "Say"),
        denied,
        "{}",
        stranger.log()
    );
    // Without a certificate nobody is there.
    let mut nobody = scene.caller(None);
    let address = format!("127.0.0.1:{port}");
    let seen = nobody.by_method(&address, 1, "Say");
    assert_eq!(seen, counts(&[("UNAVAILABLE", 1)]), "{}", nobody.log());
    // The refusals were the policy's.
    scene.without_policy();
    until(&mut stranger, OURS, "Shout", "ours");
    until(&mut caller, OURS, "Shout", "ours");
    assert_eq!(scene.plane.nacks(), []);
    assert_eq!(mesh.status().rejected, []);
}

/// `MESH_GRPCIO=$(bash examples/interop/grpcio.sh install) cargo test -p mesh-control-plane --test grpcio -- --ignored`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs gRPC's C core: MESH_GRPCIO=$(bash examples/interop/grpcio.sh install), then -- --ignored"]
async fn we_call_grpc_core_by_certificate_and_policy() {
    let port = free_port();
    let scene = Scene::start(free_port(), port).await;
    scene.policy(
        "  selector: { matchLabels: { app: theirs } }
  action: DENY
  rules:
  - from: [{ source: { principals: [cluster.local/ns/default/sa/ours] } }]
    to: [{ operation: { paths: [/mesh.test.Echo/Shout] } }]
",
    );
    let their = scene.certificate("theirs");
    let bootstrap = scene.bootstrap("theirs", their.path());
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut server = Python::run(
        &scene.python,
        &["xds-server", "", &port.to_string()],
        |command| {
            command
                .env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap)
                .stderr(log.reopen().unwrap());
        },
    );
    // It listens once its listener came, and tells no port before that.
    server.line();
    let log = || std::fs::read_to_string(log.path()).unwrap_or_default();

    let own = scene.certificate("ours");
    let mesh = scene
        .mesh()
        .certificates(Files::new(own.path()))
        .build()
        .unwrap();
    let reached = reaches(&mesh, SAY, Code::Ok).await;
    assert!(reached.is_ok(), "{reached:?}; {}", log());
    let denied = call(&mesh, SHOUT).await;
    assert_eq!(denied, Err(Code::PermissionDenied), "{}", log());
    // Another account is none that is denied; and who has no certificate gets nowhere.
    let other = scene.certificate("other");
    let other = scene
        .mesh()
        .certificates(Files::new(other.path()))
        .build()
        .unwrap();
    let reached = reaches(&other, SHOUT, Code::Ok).await;
    assert!(reached.is_ok(), "{reached:?}; {}", log());
    let nobody = scene.mesh().build().unwrap();
    assert_eq!(call(&nobody, SAY).await, Err(Code::Unavailable));
    let mut plain = scene.caller(None);
    let seen = plain.by_method(&format!("127.0.0.1:{port}"), 1, "Say");
    assert_eq!(seen, counts(&[("UNAVAILABLE", 1)]), "{}", plain.log());

    scene.without_policy();
    let reached = reaches(&mesh, SHOUT, Code::Ok).await;
    assert!(reached.is_ok(), "{reached:?}; {}", log());
    assert_eq!(scene.plane.nacks(), []);
}

async fn call(mesh: &Mesh, path: &'static str) -> Result<(), Code> {
    let channel = mesh.channel(THEIRS).unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|_| Code::Unknown)?;
    let path = http::uri::PathAndQuery::from_static(path);
    let codec = ProstCodec::<(), ()>::default();
    let answer = client.unary(tonic::Request::new(()), path, codec).await;
    answer.map(drop).map_err(|status| status.code())
}

/// Calls until a call goes so.
async fn reaches(mesh: &Mesh, path: &'static str, wanted: Code) -> Result<(), Option<Code>> {
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let code = call(mesh, path).await.err().unwrap_or(Code::Ok);
        if code == wanted {
            return Ok(());
        }
        if std::time::Instant::now() >= deadline {
            return Err(Some(code));
        }
        tokio::task::yield_now().await;
    }
}

/// Answers each gRPC call with the name.
#[derive(Clone)]
struct Echo;

impl<B> Service<Request<B>> for Echo {
    type Response = Response<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let message = Full::new(Bytes::from_static(b"\0\0\0\0\x04ours"));
        let body = message.with_trailers(std::future::ready(Some(Ok(trailers))));
        let mut response = Response::new(body.boxed());
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        std::future::ready(Ok(response))
    }
}

/// One that nobody listened on a moment ago.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// Both services, each of one workload at 127.0.0.1, called over mutual TLS and nothing else.
fn services(ours: u16, theirs: u16) -> String {
    let mut out = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: default }
spec: { mtls: { mode: STRICT } }
"
    .to_owned();
    for (name, number, port) in [("ours", 7070, ours), ("theirs", 7071, theirs)] {
        out += &format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name}, namespace: default }}
spec:
  hosts: [{name}.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{ number: {number}, name: grpc, protocol: GRPC, targetPort: {port} }}]
  workloadSelector: {{ labels: {{ app: {name} }} }}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: {name}, namespace: default }}
spec: {{ address: 127.0.0.1, labels: {{ app: {name} }}, serviceAccount: {name} }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: {name}, namespace: default }}
spec: {{ host: {name}, trafficPolicy: {{ tls: {{ mode: ISTIO_MUTUAL }} }} }}
"
        );
    }
    out
}
