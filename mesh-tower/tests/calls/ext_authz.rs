//! The action CUSTOM: from its YAML to what a caller is answered, with authorizers of both kinds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, QueryParameter, address,
    header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{
    Authorization, AuthorizationServer,
};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use http::{HeaderMap, StatusCode};
use mesh_istio::Options;
use mesh_tower::{AccessLog, Builder, Mesh};
use mesh_xds::{Node, ResourceType, Resources};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::access_log::Written;
use crate::support::ads::Scripted;
use crate::support::{Closed, until};

/// What an authorizer was told of each request, and how it answers those of a path.
type Answers = Arc<dyn Fn(&AttributeContext) -> CheckResponse + Send + Sync>;

/// An authorizer of gRPC.
#[derive(Clone)]
pub(crate) struct Grpc {
    asked: Arc<Mutex<Vec<AttributeContext>>>,
    answers: Answers,
    /// Lets answers about `/gated` go.
    gate: Arc<Semaphore>,
}

#[tonic::async_trait]
impl Authorization for Grpc {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let told = request.into_inner().attributes.unwrap();
        let path = http(&told).path.clone();
        let answer = (self.answers)(&told);
        self.asked.lock().unwrap().push(told);
        match &*path {
            "/slow" => std::future::pending().await,
            "/gated" => {
                self.gate.acquire().await.unwrap().forget();
                Ok(tonic::Response::new(answer))
            }
            "/broken" => Err(tonic::Status::internal("it has no database")),
            _ => Ok(tonic::Response::new(answer)),
        }
    }
}

fn http(
    told: &AttributeContext,
) -> &envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest {
    told.request.as_ref().unwrap().http.as_ref().unwrap()
}

impl Grpc {
    pub(crate) async fn start(
        answers: impl Fn(&AttributeContext) -> CheckResponse + Send + Sync + 'static,
    ) -> (Self, SocketAddr) {
        let this = Self::new(answers);
        let mesh = Mesh::builder().build().unwrap();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(this.routes().prepare()));
        (this, address)
    }

    /// One that is served nowhere yet.
    pub(crate) fn new(
        answers: impl Fn(&AttributeContext) -> CheckResponse + Send + Sync + 'static,
    ) -> Self {
        Self {
            asked: Arc::default(),
            answers: Arc::new(answers),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(AuthorizationServer::new(self.clone()))
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|told| http(told).path.clone()).collect()
    }
}

/// A mesh's own services, of whom `app` is asked about by the provider `ext`.
pub(crate) const SERVICES: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ext, namespace: default }
spec:
  hosts: [ext.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ { number: 8000, name: http, protocol: HTTP }, { number: 9000, name: grpc, protocol: GRPC } ]
  endpoints: [ { address: 127.0.0.1, ports: { http: PORT, grpc: PORT } } ]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: default }
spec:
  selector: { matchLabels: { app: asking } }
  action: CUSTOM
  provider: { name: ext }
  rules: [ { to: [ { operation: { notPaths: [/open] } } ] } ]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny, namespace: default }
spec:
  selector: { matchLabels: { app: asking } }
  action: DENY
  rules: [ { when: [ { key: 'request.headers[x-role]', values: [banned] } ] } ]
---
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: { name: mesh, namespace: istio-system }
spec:
  extensionProviders:
  - name: ext
    PROVIDER
";

pub(crate) const GRPC: &str = "envoyExtAuthzGrpc: { service: ext.default.svc.cluster.local, port: 9000, timeout: 5s OPTIONS }";
const HTTP: &str = "envoyExtAuthzHttp: { service: ext.default.svc.cluster.local, port: 8000, timeout: 5s OPTIONS }";

pub(crate) fn node() -> Node {
    Node::sidecar("asking", "default").with_labels([("app", "asking")])
}

/// What istiod sends to the servers of the test's node.
fn resources(provider: &str, options: &str, authorizer: SocketAddr) -> Resources {
    resources_of(&node(), SERVICES, provider, options, authorizer)
}

fn resources_and(more: &str, provider: &str, options: &str, authorizer: SocketAddr) -> Resources {
    let services = [SERVICES, more].concat();
    resources_of(&node(), &services, provider, options, authorizer)
}

pub(crate) fn resources_of(
    node: &Node,
    services: &str,
    provider: &str,
    options: &str,
    authorizer: SocketAddr,
) -> Resources {
    let rules = services
        .replace("PORT", &authorizer.port().to_string())
        .replace("PROVIDER", &provider.replace("OPTIONS", options));
    let loaded = Options::default()
        .certificates(true)
        .parse([("rules.yaml".into(), rules)]);
    loaded.unwrap().config.resources(node)
}

pub(crate) struct Scene {
    server: Scripted,
    address: SocketAddr,
    log: Written,
    pub(crate) mesh: Mesh,
}

impl Scene {
    async fn start(provider: &str, options: &str, authorizer: SocketAddr) -> Self {
        Self::of(resources(provider, options, authorizer), |it| it).await
    }

    pub(crate) async fn of(resources: Resources, more: impl FnOnce(Builder) -> Builder) -> Self {
        let (server, address) = Scripted::start(resources).await;
        let log = Written::default();
        let builder = Mesh::builder()
            .xds(address.to_string())
            .node(node())
            .access_log(AccessLog::to(log.clone()));
        let mesh = more(builder).build().unwrap();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(Router::new().fallback(told)));
        let nacks = Arc::clone(&server.nacks);
        let this = Self {
            server,
            address,
            log,
            mesh,
        };
        assert_eq!(this.get("/open", &[]).await.0, 200, "rules have come");
        assert_eq!(*nacks.lock().unwrap(), Vec::<String>::new());
        this
    }

    pub(crate) async fn get(&self, target: &str, headers: &[&str]) -> (u16, String, String) {
        self.send("GET", target, headers, "").await
    }

    /// Status, head in lower case, and body.
    async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &str,
    ) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: asking\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    /// The last line of the access log, of so many.
    async fn line(&self, count: usize) -> String {
        self.log.wait(count).await.swap_remove(count - 1)
    }
}

/// What the application sees of a request.
pub(crate) async fn told(request: Request) -> String {
    let (head, body) = request.into_parts();
    let mut told = head.uri.to_string();
    let mut lines: Vec<String> = head
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-") || *name == "host")
        .map(|(name, value)| format!(" {name}={}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    told.extend(lines);
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    told.push_str(&format!(" [{}]", String::from_utf8_lossy(&body)));
    told
}

pub(crate) fn header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }
}

fn appended(name: &str, value: &str) -> HeaderValueOption {
    #[allow(deprecated, reason = "authorizers use it")]
    HeaderValueOption {
        append: Some(envoy_types::pb::google::protobuf::BoolValue { value: true }),
        ..header(name, value)
    }
}

pub(crate) fn ok(response: OkHttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(RpcStatus::default()),
        http_response: Some(HttpResponse::OkResponse(response)),
        ..CheckResponse::default()
    }
}

fn denied(response: DeniedHttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(RpcStatus {
            code: 7,
            ..RpcStatus::default()
        }),
        http_response: Some(HttpResponse::DeniedResponse(response)),
        ..CheckResponse::default()
    }
}

/// Allows all, and `/no` not.
pub(crate) fn simple(told: &AttributeContext) -> CheckResponse {
    match &*http(told).path {
        "/no" => denied(DeniedHttpResponse {
            status: Some(HttpStatus { code: 401 }),
            headers: vec![header("x-why", "no ticket"), header("content-length", "3")],
            body: "buy one".to_owned(),
        }),
        "/mine" => CheckResponse {
            status: Some(RpcStatus {
                code: 13,
                ..RpcStatus::default()
            }),
            http_response: Some(HttpResponse::ErrorResponse(DeniedHttpResponse {
                status: Some(HttpStatus { code: 500 }),
                headers: vec![header("x-why", "no database")],
                body: "mine".to_owned(),
            })),
            ..CheckResponse::default()
        },
        "/bare" => CheckResponse {
            status: Some(RpcStatus {
                code: 7,
                ..RpcStatus::default()
            }),
            ..CheckResponse::default()
        },
        _ => ok(OkHttpResponse::default()),
    }
}

#[tokio::test]
async fn who_a_rule_matches_is_asked_about_and_nobody_else() {
    let (authorizer, address) = Grpc::start(simple).await;
    let scene = Scene::start(GRPC, "", address).await;

    let (status, _, body) = scene
        .get("/yes?a=b", &["x-one: 1", "x-two: a", "x-two: b"])
        .await;
    assert_eq!(
        (status, &*body),
        (200, "/yes?a=b host=asking x-one=1 x-two=a x-two=b []")
    );
    let (status, head, body) = scene.get("/no", &[]).await;
    assert_eq!((status, &*body), (401, "buy one"));
    assert!(head.contains("\r\nx-why: no ticket"), "{head}");
    assert!(head.contains("\r\ncontent-length: 7"), "{head}");
    let (status, _, body) = scene.get("/bare", &[]).await;
    assert_eq!((status, &*body), (403, ""));
    // It is not for the authorizer to say what a policy behind it denies.
    let (status, _, body) = scene.get("/yes", &["x-role: banned"]).await;
    assert_eq!((status, &*body), (403, "RBAC: access denied"));

    assert_eq!(scene.get("/open", &[]).await.0, 200);
    assert_eq!(authorizer.paths(), ["/yes?a=b", "/no", "/bare", "/yes"]);
    let line = &scene.log.wait(6).await[2];
    assert!(
        line.contains(r#"" 401 UAEX ext_authz_denied - "-""#),
        "{line}"
    );

    let asked = authorizer.asked.lock().unwrap();
    let request = http(&asked[0]);
    let headers: BTreeMap<_, _> = request.headers.iter().collect();
    let expected = [
        (":authority", "asking"),
        (":method", "GET"),
        (":path", "/yes?a=b"),
        (":scheme", "http"),
        ("content-length", "0"),
        ("x-one", "1"),
        ("x-two", "a,b"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let expected: BTreeMap<_, _> = expected.iter().map(|(a, b)| (a, b)).collect();
    assert_eq!(headers, expected);
    assert_eq!((&*request.method, &*request.host), ("GET", "asking"));
    assert_eq!((&*request.scheme, &*request.protocol), ("http", "HTTP/1.1"));
    assert_eq!(asked[0].source.as_ref().unwrap().principal, "");
    let of = |peer: &Option<_>| -> String {
        let peer: &envoy_types::pb::envoy::service::auth::v3::attribute_context::Peer =
            peer.as_ref().unwrap();
        match peer.address.as_ref().unwrap().address.as_ref().unwrap() {
            address::Address::SocketAddress(socket) => socket.address.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (of(&asked[0].source), of(&asked[0].destination)),
        ("127.0.0.1".to_owned(), "127.0.0.1".to_owned())
    );
}

#[tokio::test]
async fn what_an_authorizer_changes_is_what_the_application_sees() {
    let answers = |_: &AttributeContext| {
        let parameter = |key: &str, value: &str| QueryParameter {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        // As in Envoy, what a client sent does not stay for this.
        let absent = HeaderValueOption {
            append_action: HeaderAppendAction::AddIfAbsent.into(),
            ..header("x-given", "told")
        };
        ok(OkHttpResponse {
            headers: vec![
                header("x-user", "ada"),
                appended("x-list", "b"),
                // Only what is there is appended to.
                appended("x-nothing", "b"),
                absent,
                // None of these is an authorizer's affair.
                header("host", "elsewhere"),
                header(":path", "/admin"),
                header("x-envoy-original-path", "/admin"),
                header(
                    "x-forwarded-client-cert",
                    "URI=spiffe://cluster.local/ns/x/sa/y",
                ),
                header("content-length", "5"),
            ],
            headers_to_remove: ["x-secret", "host", ":method", "content-length"]
                .map(str::to_owned)
                .into(),
            query_parameters_to_set: vec![parameter("a", "2"), parameter("d", "4")],
            query_parameters_to_remove: vec!["b".to_owned()],
            response_headers_to_add: vec![
                header("x-session", "1"),
                appended("x-session", "2"),
                header("transfer-encoding", "chunked"),
            ],
            ..OkHttpResponse::default()
        })
    };
    let (_authorizer, address) = Grpc::start(answers).await;
    let scene = Scene::start(GRPC, "", address).await;
    let spoofed = [
        "x-user: root",
        "x-user: admin",
        "x-list: a",
        "x-given: first",
        "x-secret: s",
        "x-envoy-internal: true",
        "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/a/sa/b",
    ];
    let target = "/p?a=1&%61=3&b=2&%62=3&%62&c=3";
    let (status, head, body) = scene.get(target, &spoofed).await;
    assert_eq!(
        (status, &*body),
        (
            200,
            "/p?a=2&c=3&d=4 host=asking x-given=told x-list=a,b x-user=ada []"
        )
    );
    assert!(head.contains("\r\nx-session: 1\r\nx-session: 2"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn a_change_that_cannot_be_made_refuses_the_request() {
    let answers = |_: &AttributeContext| {
        ok(OkHttpResponse {
            headers: vec![header("x-user", "ada\r\nx-admin: yes")],
            ..OkHttpResponse::default()
        })
    };
    let (_authorizer, address) = Grpc::start(answers).await;
    // As in Envoy, also where failures allow.
    let scene = Scene::start(GRPC, ", failOpen: true", address).await;
    assert_eq!(scene.get("/p", &[]).await.0, 500);
    let line = scene.line(2).await;
    assert!(line.contains(r#"" 500 UAEX ext_authz_invalid "#), "{line}");
}

/// A head has no room for so many headers, and to put each behind the others copies all of them.
#[tokio::test]
async fn an_answer_with_more_changes_than_a_head_has_room_for_refuses_the_request() {
    const MANY: usize = 40_000;
    let each = |name: fn(usize) -> String, put: fn(&str, &str) -> HeaderValueOption| {
        (0..MANY).map(move |at| put(&name(at), "1"))
    };
    let distinct = |at| format!("x-{at:x}");
    let answers = move |told: &AttributeContext| match &*http(told).path {
        "/set" => ok(OkHttpResponse {
            headers: each(distinct, header).collect(),
            ..OkHttpResponse::default()
        }),
        "/joined" => ok(OkHttpResponse {
            headers: each(|_| "x-list".to_owned(), appended).collect(),
            ..OkHttpResponse::default()
        }),
        "/removed" => ok(OkHttpResponse {
            headers_to_remove: (0..MANY).map(distinct).collect(),
            ..OkHttpResponse::default()
        }),
        "/response" => ok(OkHttpResponse {
            response_headers_to_add: each(distinct, header).collect(),
            ..OkHttpResponse::default()
        }),
        "/query" => ok(OkHttpResponse {
            query_parameters_to_set: (0..MANY)
                .map(|at| QueryParameter {
                    key: format!("{at:x}"),
                    value: String::new(),
                })
                .collect(),
            ..OkHttpResponse::default()
        }),
        "/denied" => denied(DeniedHttpResponse {
            headers: each(distinct, header).collect(),
            ..DeniedHttpResponse::default()
        }),
        _ => ok(OkHttpResponse {
            headers: each(distinct, header).take(50).collect(),
            ..OkHttpResponse::default()
        }),
    };
    let (_authorizer, address) = Grpc::start(answers).await;
    // As any other change that cannot be made, also where failures allow.
    let scene = Scene::start(GRPC, ", failOpen: true", address).await;
    for target in [
        "/set",
        "/joined",
        "/removed",
        "/response",
        "/query",
        "/denied",
    ] {
        assert_eq!(scene.get(target, &[]).await.0, 500, "{target}");
    }
    // The control.
    let (status, _, body) = scene.get("/few", &[]).await;
    assert!(status == 200 && body.contains(" x-31=1"), "{status} {body}");
}

#[tokio::test]
async fn a_gateway_asks_as_a_workload_does() {
    const GATEWAY: &str = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: g, namespace: default }
spec:
  selector: { app: asking }
  servers: [ { port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] } ]
";
    let (authorizer, address) = Grpc::start(simple).await;
    let node = Node::router("gw", "default", [("app", "asking")]);
    let services = [SERVICES, GATEWAY].concat();
    let resources = resources_of(&node, &services, GRPC, "", address);
    let (_server, plane) = Scripted::start(resources).await;
    let mesh = Mesh::builder().xds(plane.to_string()).node(node).build();
    let listener = mesh.as_ref().unwrap().listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    tokio::spawn(
        listener
            .as_gateway_port(8080)
            .serve(Router::new().fallback(told)),
    );
    for (path, expected) in [("/open", 200), ("/p", 200), ("/no", 401)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1);
        assert_eq!(status, Some(&*expected.to_string()), "{path}: {answer}");
    }
    assert_eq!(authorizer.paths(), ["/p", "/no"]);
}

/// An authorizer may take its time, and what was let in need not be any more then.
#[tokio::test]
async fn who_is_not_let_in_any_more_is_not_served_because_an_authorizer_allows() {
    const STRICT: &str = "---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict, namespace: default }
spec: { mtls: { mode: STRICT } }
";
    for (more, expected) in [(STRICT, 503), ("", 200)] {
        let (authorizer, address) = Grpc::start(simple).await;
        let scene = Scene::start(GRPC, "", address).await;
        let asking = scene.get("/gated", &[]);
        let meanwhile = async {
            until("it is asked", async || !authorizer.paths().is_empty()).await;
            let next = resources_and(more, GRPC, "", address);
            scene
                .server
                .push(ResourceType::Listener, |held| *held = next);
            let is_open = async || {
                let mut stream = TcpStream::connect(scene.address).await.unwrap();
                let request = b"GET /open HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
                let (mut answer, sent) = (String::new(), stream.write_all(request).await);
                sent.is_ok()
                    && stream
                        .read_to_string(&mut answer)
                        .await
                        .is_ok_and(|read| read > 0)
            };
            until("the rules", async || is_open().await == more.is_empty()).await;
            authorizer.gate.add_permits(1);
        };
        let ((status, _, body), ()) = tokio::join!(asking, meanwhile);
        assert_eq!(status, expected, "{body}");
    }
}

#[tokio::test]
async fn an_authorizer_that_is_away_denies() {
    let away = Closed::new();
    for provider in [GRPC, HTTP] {
        let scene = Scene::start(provider, "", away.address).await;
        let (status, _, body) = scene.get("/p", &[]).await;
        assert_eq!((status, &*body), (403, ""));
        let line = scene.line(2).await;
        assert!(line.contains(r#"" 403 UAEX ext_authz_error "#), "{line}");
        // What it would not have been asked about is served.
        assert_eq!(scene.get("/open", &[]).await.0, 200);

        let scene = Scene::start(provider, r#", statusOnError: "503""#, away.address).await;
        assert_eq!(scene.get("/p", &[]).await.0, 503);
        // The control: the configuration says that the request may go on.
        let scene = Scene::start(provider, ", failOpen: true", away.address).await;
        let (status, _, body) = scene.get("/p", &[]).await;
        assert_eq!((status, &*body), (200, "/p host=asking []"));
    }
}

#[tokio::test]
async fn an_authorizer_that_does_not_answer_in_time_or_fails_denies() {
    let (authorizer, address) = Grpc::start(simple).await;
    let provider = GRPC.replace("5s", "0.2s");
    let scene = Scene::start(&provider, "", address).await;
    assert_eq!(scene.get("/slow", &[]).await.0, 403);
    assert_eq!(scene.get("/broken", &[]).await.0, 403);
    let (status, head, body) = scene.get("/mine", &[]).await;
    assert_eq!((status, &*body), (500, "mine"));
    assert!(head.contains("\r\nx-why: no database"), "{head}");
    assert_eq!(authorizer.paths(), ["/slow", "/broken", "/mine"]);
    let scene = Scene::start(&provider, ", failOpen: true", address).await;
    assert_eq!(scene.get("/slow", &[]).await.0, 200);
    assert_eq!(scene.get("/broken", &[]).await.0, 200);
    assert_eq!(scene.get("/mine", &[]).await.0, 200);
}

#[tokio::test]
async fn grpc_hears_of_a_denial_in_its_own_words() {
    let (_authorizer, address) = Grpc::start(simple).await;
    let scene = Scene::start(GRPC, "", address).await;
    let (status, head, body) = scene.get("/no", &["content-type: application/grpc"]).await;
    assert_eq!((status, &*body), (200, ""));
    for line in [
        "grpc-status: 16",
        "grpc-message: buy%20one",
        "x-why: no ticket",
    ] {
        assert!(head.contains(&format!("\r\n{line}")), "{head}");
    }
}

/// What an authorizer of HTTP was asked: the request line, its headers, its body.
type Heard = Arc<Mutex<Vec<(String, HeaderMap, String)>>>;

/// An authorizer of HTTP.
async fn by_http() -> (Heard, SocketAddr) {
    let heard = Heard::default();
    let asked = Arc::clone(&heard);
    let answer = async move |request: Request| -> Response {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = String::from_utf8(body.into()).unwrap();
        let line = format!("{} {}", head.method, head.uri);
        let path = head.uri.path().to_owned();
        heard.lock().unwrap().push((line, head.headers, body));
        let told = [
            ("x-user", "ada"),
            ("x-list", "b"),
            ("x-down", "yes"),
            ("x-why", "no ticket"),
            ("x-other", "o"),
            ("x-envoy-auth-headers-to-remove", "x-secret, host"),
        ];
        let status = match path.strip_prefix("/asked").unwrap_or(&path) {
            "/no" => StatusCode::UNAUTHORIZED,
            "/moved" => StatusCode::FOUND,
            "/broken" => StatusCode::BAD_GATEWAY,
            "/switched" => StatusCode::SWITCHING_PROTOCOLS,
            _ => StatusCode::OK,
        };
        let mut response = (status, told, "the authorizer's own").into_response();
        let place = http::HeaderValue::from_static("http://login.example/");
        response.headers_mut().insert("location", place);
        response
    };
    let app = Router::new().fallback(move |request: Request| {
        let answer = answer.clone();
        async move { answer(request).await }
    });
    let mesh = Mesh::builder().build().unwrap();
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    tokio::spawn(listener.serve(app));
    (asked, address)
}

#[tokio::test]
async fn an_authorizer_of_http_is_asked_by_the_request_itself() {
    let (heard, address) = by_http().await;
    let options = ", pathPrefix: /asked, includeRequestHeadersInCheck: [x-one, 'x-p*'], \
        includeAdditionalHeadersInCheck: { x-from: mesh }, headersToUpstreamOnAllow: [x-user, host], \
        headersToDownstreamOnAllow: [x-down], headersToDownstreamOnDeny: [x-why]";
    let scene = Scene::start(HTTP, options, address).await;
    let spoofed = [
        "x-one: 1",
        "x-pages: 2",
        "x-two: 2",
        "authorization: Bearer t",
        "x-user: root",
        "x-from: outside",
        "x-secret: s",
    ];
    let (status, head, body) = scene.send("POST", "/p?a=b", &spoofed, "whole").await;
    assert_eq!(
        (status, &*body),
        (
            200,
            "/p?a=b host=asking x-from=outside x-one=1 x-pages=2 x-two=2 x-user=ada [whole]"
        )
    );
    assert!(head.contains("\r\nx-down: yes"), "{head}");
    assert!(!head.contains("x-why"), "{head}");

    let (status, head, body) = scene.get("/no", &[]).await;
    assert_eq!((status, &*body), (401, "the authorizer's own"));
    assert!(head.contains("\r\nx-why: no ticket"), "{head}");
    assert!(
        !head.contains("x-other") && !head.contains("x-down"),
        "{head}"
    );
    let (status, head, _) = scene.get("/moved", &[]).await;
    assert_eq!(status, 302);
    assert!(
        head.contains("\r\nlocation: http://login.example/"),
        "{head}"
    );
    let (status, head, body) = scene.get("/broken", &[]).await;
    assert_eq!((status, &*body), (403, ""), "{head}");
    assert!(!head.contains("x-why"), "{head}");
    // No answer of HTTP's to a request (RFC 9110, 15.2): nobody is told that the protocol changes.
    let (status, head, _) = scene.get("/switched", &[]).await;
    assert_eq!(status, 403, "{head}");

    let heard = heard.lock().unwrap();
    let (line, headers, body) = &heard[0];
    assert_eq!((&**line, &**body), ("POST /asked/p?a=b", ""));
    let told: BTreeMap<_, _> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let expected = [
        ("authorization", "Bearer t"),
        ("content-length", "0"),
        ("host", "asking"),
        ("x-from", "mesh"),
        ("x-one", "1"),
        ("x-pages", "2"),
    ];
    assert_eq!(told, BTreeMap::from(expected));
    assert_eq!(heard.len(), 5);
}

#[tokio::test]
async fn without_a_list_a_denial_has_all_headers_of_the_authorizer() {
    let (_heard, address) = by_http().await;
    let scene = Scene::start(HTTP, "", address).await;
    let (status, head, body) = scene.get("/no", &[]).await;
    assert_eq!((status, &*body), (401, "the authorizer's own"));
    assert!(
        head.contains("\r\nx-other: o") && head.contains("\r\nx-why: no ticket"),
        "{head}"
    );
    let (_, head, body) = scene.get("/yes", &["x-user: me"]).await;
    assert_eq!(body, "/yes host=asking x-user=me []");
    assert!(!head.contains("x-down"), "{head}");
}

#[tokio::test]
async fn an_authorizer_sees_the_beginning_of_a_body_and_the_application_all_of_it() {
    let (authorizer, grpc) = Grpc::start(simple).await;
    let (heard, http_address) = by_http().await;
    let whole = ", includeRequestBodyInCheck: { maxRequestBytes: 8 }";
    let part = ", includeRequestBodyInCheck: { maxRequestBytes: 8, allowPartialMessage: true, packAsBytes: true }";

    let scene = Scene::start(GRPC, whole, grpc).await;
    let (status, _, body) = scene.send("POST", "/p", &[], "12345678").await;
    assert_eq!((status, &*body), (200, "/p host=asking [12345678]"));
    // One byte more: nobody is asked, and it is refused.
    assert_eq!(scene.send("POST", "/p", &[], "123456789").await.0, 413);
    assert_eq!(authorizer.paths().len(), 1);

    let scene = Scene::start(GRPC, part, grpc).await;
    let (status, _, body) = scene.send("POST", "/p", &[], "123456789").await;
    assert_eq!((status, &*body), (200, "/p host=asking [123456789]"));
    let (status, _, body) = scene.send("POST", "/p", &[], "12345678").await;
    assert_eq!((status, &*body), (200, "/p host=asking [12345678]"));
    {
        let asked = authorizer.asked.lock().unwrap();
        let seen = |at: usize| {
            let request = http(&asked[at]);
            let partial = request.headers["x-envoy-auth-partial-body"].clone();
            (request.body.clone(), request.raw_body.clone(), partial)
        };
        let all = |body: &str, raw: &str, partial: &str| {
            (body.to_owned(), raw.as_bytes().to_vec(), partial.to_owned())
        };
        assert_eq!(seen(0), all("12345678", "", "false"));
        assert_eq!(seen(1), all("", "12345678", "true"));
        assert_eq!(seen(2).1, b"12345678");
    }

    let scene = Scene::start(HTTP, part, http_address).await;
    let (status, _, body) = scene.send("POST", "/p", &[], "123456789").await;
    assert_eq!((status, &*body), (200, "/p host=asking [123456789]"));
    let heard = heard.lock().unwrap();
    let (_, headers, body) = &heard[0];
    assert_eq!(&**body, "12345678");
    assert_eq!(headers["content-length"], "8");
    assert_eq!(headers["x-envoy-auth-partial-body"], "true");
}
