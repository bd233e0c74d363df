//! Rules that change from one authorizer to another: each request is decided by the one that its rules name.

use std::net::SocketAddr;

use axum::Router;
use envoy_types::pb::envoy::service::auth::v3::OkHttpResponse;
use mesh_istio::Options;
use mesh_tower::Mesh;
use mesh_xds::{ResourceType, Resources};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::ext_authz::{Grpc, header, node, ok, told};
use super::fetched_keys::{Desk, URI, Way, rules as fetched, service};
use super::tokens::Issuer;
use crate::support::ads::Scripted;
use crate::support::until;

/// Two authorizers, of whom one is asked about `app`.
const RULES: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: first, namespace: default }
spec:
  hosts: [first.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ { number: 9000, name: grpc, protocol: GRPC } ]
  endpoints: [ { address: 127.0.0.1, ports: { grpc: FIRST } } ]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: second, namespace: default }
spec:
  hosts: [second.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ { number: 9000, name: grpc, protocol: GRPC } ]
  endpoints: [ { address: 127.0.0.1, ports: { grpc: SECOND } } ]
---
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: { name: mesh, namespace: istio-system }
spec:
  extensionProviders:
  - name: first
    envoyExtAuthzGrpc: { service: first.default.svc.cluster.local, port: 9000, includeRequestBodyInCheck: { maxRequestBytes: 64 } }
  - name: second
    envoyExtAuthzGrpc: { service: second.default.svc.cluster.local, port: 9000, includeRequestBodyInCheck: { maxRequestBytes: 64 } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: default }
spec:
  selector: { matchLabels: { app: asking } }
  action: CUSTOM
  provider: { name: ASKED }
  rules: [ {} ]
";

/// What a request carries to its application from the authorizer that let it pass.
async fn authorizer(name: &'static str) -> SocketAddr {
    let allows = OkHttpResponse {
        headers: vec![header("x-by", name)],
        ..OkHttpResponse::default()
    };
    Grpc::start(move |_| ok(allows.clone())).await.1
}

struct Scene {
    plane: Scripted,
    authorizers: [SocketAddr; 2],
    address: SocketAddr,
    _mesh: Mesh,
}

impl Scene {
    /// A server that asks the first.
    async fn start() -> Self {
        let authorizers = [authorizer("first").await, authorizer("second").await];
        let (plane, address) = Scripted::start(resources(authorizers, "first", "")).await;
        let mesh = Mesh::builder().xds(address.to_string()).node(node());
        let mesh = mesh.build().unwrap();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(Router::new().fallback(told)));
        let this = Self {
            plane,
            authorizers,
            address,
            _mesh: mesh,
        };
        assert_eq!(this.decided().await, by("first"));
        this
    }

    /// Has the second asked from now on.
    fn change(&self, more: &str) {
        let next = resources(self.authorizers, "second", more);
        self.plane.push(ResourceType::Listener, |held| *held = next);
    }

    /// The answer to a request of its own connection.
    async fn decided(&self) -> (u16, String) {
        let mut paused = Paused::new(self.address).await;
        paused.finish().await
    }
}

const BODY: &str = "whole";

fn by(name: &str) -> (u16, String) {
    (200, format!("/p host=asking x-by={name} [{BODY}]"))
}

fn resources(authorizers: [SocketAddr; 2], asked: &str, more: &str) -> Resources {
    let [first, second] = authorizers.map(|address| address.port().to_string());
    let rules = RULES.replace("FIRST", &first).replace("SECOND", &second);
    let rules = rules.replace("ASKED", asked) + more;
    let options = Options::default().certificates(true);
    let loaded = options.parse([("rules.yaml".into(), rules)]);
    loaded.unwrap().config.resources(&node())
}

/// A request whose head has met the rules, and whose authorizer is not asked before its body is there.
struct Paused(BufReader<TcpStream>);

impl Paused {
    async fn new(address: SocketAddr) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        let length = BODY.len();
        let head = format!(
            "POST /p HTTP/1.1\r\nhost: asking\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // Who is to show the body to the authorizer wants it.
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
        stream.read_line(&mut line).await.unwrap();
        Self(stream)
    }

    async fn finish(&mut self) -> (u16, String) {
        self.0.write_all(BODY.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

#[tokio::test]
async fn a_request_is_decided_by_whom_its_rules_name_though_they_have_changed() {
    let scene = Scene::start().await;
    let mut paused = Paused::new(scene.address).await;
    scene.change("");
    until("the second", async || scene.decided().await == by("second")).await;
    assert_eq!(paused.finish().await, by("first"));
    // The control: the first is asked by nobody else.
    assert_eq!(scene.decided().await, by("second"));
}

#[tokio::test]
async fn while_new_rules_wait_for_keys_the_former_authorizer_decides() {
    let scene = Scene::start().await;
    let issuer = Issuer::new();
    let desk = Desk::new(Way::Late(issuer.keys()));
    let keys = [
        service(desk.serve(&issuer).await),
        fetched(URI).replace("500ms", "5s"),
    ]
    .join("---\n");
    let next = resources(scene.authorizers, "second", &format!("---\n{keys}"));
    // The cluster of the keys, before the rules that name it.
    scene.plane.push(ResourceType::Cluster, |held| {
        held.clusters.clone_from(&next.clusters);
        held.endpoints.clone_from(&next.endpoints);
    });
    scene.change(&format!("---\n{keys}"));
    until("the fetch", async || desk.asked() > 0).await;
    assert_eq!(scene.decided().await, by("first"));
    desk.open();
    until("the rules", async || scene.decided().await == by("second")).await;
    assert_eq!(*scene.plane.nacks.lock().unwrap(), Vec::<String>::new());
}
