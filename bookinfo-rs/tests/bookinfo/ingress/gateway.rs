//! What a `Gateway` says of its servers: TLS, redirects, policies, upgrades; and another one, for what leaves the mesh.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bookinfo_rs::ingress::Limits;
use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_control_plane::{ControlPlane, Options};
use mesh_tower::{Mesh, Node};
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SigningKey};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{exchange, ingress_before, listen, serving};
use crate::support::{Rules, entries, recorder, rules};

const HOST: &str = "books.example";

/// What a check of framing refuses; in another protocol it is as good as anything.
const AMBIGUOUS: &[u8] =
    b"PUT /app HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";

fn object(kind: &str, name: &str, spec: &str) -> String {
    let group = match kind {
        "Gateway" | "VirtualService" => "networking",
        _ => "security",
    };
    format!(
        "---\napiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: default }}\nspec: {spec}\n"
    )
}

fn router() -> Node {
    Node::router("ingress", "default", [("istio", "ingressgateway")])
}

/// A gateway with these servers, all of which lead to one backend.
fn gateway(servers: &str, backend: SocketAddr) -> Rules {
    rules(router(), &objects(servers, backend))
}

fn objects(servers: &str, backend: SocketAddr) -> String {
    let mut yaml = entries(&[("echo", 9080, backend)]);
    yaml.push('\n');
    let spec = format!("{{ selector: {{ istio: ingressgateway }}, servers: [ {servers} ] }}");
    yaml += &object("Gateway", "g", &spec);
    yaml += &object(
        "VirtualService",
        "v",
        "{ hosts: ['*'], gateways: [g], http: [ { route: [ { destination: { host: echo.default.svc.cluster.local, port: { number: 9080 } } } ] } ] }",
    );
    yaml
}

/// An ingress in plaintext with policies that select it: those need a mesh with certificates.
async fn with_policy(policy: &str, backend: SocketAddr) -> (SocketAddr, (TempDir, Mesh)) {
    let folder = TempDir::new().unwrap();
    let yaml = objects(PLAIN, backend) + policy;
    std::fs::write(folder.path().join("rules.yaml"), yaml).unwrap();
    let options = Options::default().certificates(true);
    let any = ([127, 0, 0, 1], 0).into();
    let plane = ControlPlane::start_with(folder.path(), any, options).await;
    let mut plane = plane.unwrap();
    let mesh = Mesh::builder()
        .xds(plane.local_addr().to_string())
        .node(router())
        .build()
        .unwrap();
    tokio::spawn(async move { plane.run().await });
    let address = serving(Limits::default(), mesh.clone(), 8080).await;
    (address, (folder, mesh))
}

/// Reads a head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await;
        let Ok(Ok(byte)) = byte else {
            panic!("{byte:?} after {:?}", String::from_utf8_lossy(&head))
        };
        head.push(byte);
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

/// A backend that agrees to change to this protocol, and then sends back what it is sent.
async fn changing(to: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let asked = head(&mut stream).await;
                let answer = match asked.contains("upgrade: websocket\r\n") {
                    true => format!(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {to}\r\nX-Secret: 1\r\n\r\n"
                    ),
                    false => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                        .to_owned(),
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
                if answer.starts_with("HTTP/1.1 200") {
                    return;
                }
                let (mut reading, mut writing) = stream.split();
                drop(tokio::io::copy(&mut reading, &mut writing).await);
            });
        }
    });
    address
}

async fn asks(address: SocketAddr, protocol: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /app HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Key: x\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    (stream, answer)
}

#[tokio::test]
async fn an_upgrade_passes_from_end_to_end() {
    let (address, _rules) = ingress_before(changing("websocket").await, Limits::default()).await;
    let (mut stream, answer) = asks(address, "WebSocket").await;
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("connection: upgrade\r\n"), "{answer}");
    assert!(answer.contains("upgrade: websocket\r\n"), "{answer}");
    // Nobody reads it as HTTP, in either direction.
    for _ in 0..3 {
        stream.write_all(AMBIGUOUS).await.unwrap();
        let mut back = vec![0; AMBIGUOUS.len()];
        let read = stream.read_exact(&mut back);
        let read = tokio::time::timeout(Duration::from_secs(10), read).await;
        assert!(matches!(read, Ok(Ok(_))), "{read:?}");
        assert_eq!(back, AMBIGUOUS);
    }
    // The end passes, too.
    stream.shutdown().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
    assert!(matches!(ended, Ok(Ok(0))), "{ended:?}");
}

#[tokio::test]
async fn what_is_no_agreed_upgrade_does_not_pass() {
    let (address, _rules) = ingress_before(changing("websocket").await, Limits::default()).await;
    // The listener allows websocket alone.
    for other in ["websocket, h2c", "websocket2"] {
        let (_, answer) = asks(address, other).await;
        assert!(answer.starts_with("http/1.1 403 "), "{other}: {answer}");
    }
    // Envoy takes this one for a request like others.
    let (_, answer) = asks(address, "h2c").await;
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    // A header without `Connection: upgrade` asks for nothing, and what follows is judged as HTTP.
    let request = "GET /app HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n";
    let ambiguous = String::from_utf8_lossy(AMBIGUOUS);
    let answer = exchange(address, &format!("{request}{ambiguous}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("HTTP/1.1 400 "), "{answer}");
    // A backend that changes to something else.
    let (address, _rules) = ingress_before(changing("other").await, Limits::default()).await;
    let (_, answer) = asks(address, "websocket").await;
    assert!(answer.starts_with("http/1.1 502 "), "{answer}");
}

/// A certificate of its own for [`HOST`], in files, and what a server's `tls` says of it.
fn files(folder: &TempDir) -> (CertificateDer<'static>, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([HOST.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let [chain, file] = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&chain, certificate.pem()).unwrap();
    std::fs::write(&file, key.serialize_pem()).unwrap();
    let tls = format!(
        "mode: SIMPLE, serverCertificate: '{}', privateKey: '{}'",
        chain.display(),
        file.display()
    );
    (certificate.der().clone(), tls)
}

async fn secured(
    address: SocketAddr,
    believed: &CertificateDer<'static>,
    protocol: &str,
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(believed.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await.unwrap()
}

async fn exchanged(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "still open after {answer:?}");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn tls_ends_at_the_gateway() {
    let folder = TempDir::new().unwrap();
    let (certificate, tls) = files(&folder);
    let (backend, seen) = recorder(StatusCode::OK, "hello").await;
    let server = format!(
        "{{ port: {{ number: 8443, name: https, protocol: HTTPS }}, hosts: [{HOST}], tls: {{ {tls} }} }}"
    );
    let rules = gateway(&server, backend);
    let address = listen(Limits::default(), &rules, 8443).await;

    let get = format!(
        "GET /app HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Client-Cert: By=me\r\nConnection: close\r\n\r\n"
    );
    let stream = secured(address, &certificate, "http/1.1").await;
    let answer = exchanged(stream, get.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let told = seen.last();
    assert_eq!(told["x-forwarded-proto"], "https");
    assert_eq!(told.get("x-forwarded-client-cert"), None);

    let stream = secured(address, &certificate, "h2").await;
    let connection =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = connection.await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("https://{HOST}/two"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        (response.status(), response.version()),
        (StatusCode::OK, Version::HTTP_2)
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hello");
    assert_eq!(seen.paths(), ["/app", "/two"]);

    // Framing is looked at behind TLS, too, and nothing comes in without it.
    let stream = secured(address, &certificate, "http/1.1").await;
    let answer = exchanged(stream, AMBIGUOUS).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut plain = TcpStream::connect(address).await.unwrap();
    drop(plain.write_all(get.as_bytes()).await);
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer).await);
    assert_eq!(String::from_utf8_lossy(&answer), "");
    assert_eq!(seen.paths().len(), 2);
}

#[tokio::test]
async fn plaintext_is_sent_to_https() {
    let (backend, seen) = recorder(StatusCode::OK, "hello").await;
    let server = "{ port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'], tls: { httpsRedirect: true } }";
    let rules = gateway(server, backend);
    let address = listen(Limits::default(), &rules, 8080).await;
    // Nobody is believed who says that it came by TLS.
    let get = format!(
        "GET /app?x=1 HTTP/1.1\r\nHost: {HOST}:8080\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
    );
    let answer = exchange(address, &get).await;
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
    let location = format!("location: https://{HOST}:8080/app?x=1\r\n");
    assert!(answer.contains(&location), "{answer}");
    assert_eq!(seen.paths().len(), 0);
}

const PLAIN: &str = "{ port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] }";

async fn status(address: SocketAddr, path: &str, headers: &str) -> String {
    let get = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n");
    let answer = exchange(address, &get).await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_policy_that_selects_the_gateway_is_asked() {
    let (backend, seen) = recorder(StatusCode::OK, "hello").await;
    let deny = object(
        "AuthorizationPolicy",
        "deny",
        &format!(
            "{{ {SELECTS}, action: DENY, rules: [ {{ to: [ {{ operation: {{ paths: [/secret], ports: ['8080'] }} }} ] }} ] }}"
        ),
    );
    let (address, _held) = with_policy(&deny, backend).await;
    assert_eq!(status(address, "/secret", "").await, "403");
    // The path that is judged is the one that is sent on.
    assert_eq!(status(address, "/a/../secret", "").await, "403");
    assert_eq!(seen.paths(), [""; 0]);
    assert_eq!(status(address, "/open", "").await, "200");
    assert_eq!(status(address, "/a/../open", "").await, "200");
    assert_eq!(seen.paths(), ["/open", "/open"]);
}

/// Who signs tokens, with Ed25519.
struct Issuer(KeyPair);

impl Issuer {
    fn new() -> Self {
        Self(KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap())
    }

    fn token(&self, claims: &str) -> String {
        let [header, claims] =
            [r#"{"alg":"EdDSA"}"#, claims].map(|json| URL_SAFE_NO_PAD.encode(json));
        let message = format!("{header}.{claims}");
        let signature = self.0.sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The rule that the gateway believes it.
    fn rules(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.der_bytes());
        let key = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}]}}"#);
        let spec = format!("{{ {SELECTS}, jwtRules: [ {{ issuer: me, jwks: '{key}' }} ] }}");
        object("RequestAuthentication", "jwt", &spec)
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

const SELECTS: &str = "selector: { matchLabels: { istio: ingressgateway } }";

#[tokio::test]
async fn tokens_are_verified_at_the_gateway() {
    let (backend, seen) = recorder(StatusCode::OK, "hello").await;
    let issuer = Issuer::new();
    let good = issuer.token(r#"{"iss":"me","sub":"ada"}"#);
    let (head, _) = good.rsplit_once('.').unwrap();
    let bad = [
        issuer.token(r#"{"iss":"me","sub":"ada","exp":1000000000}"#),
        Issuer::new().token(r#"{"iss":"me","sub":"ada"}"#),
        format!("{head}.{}", URL_SAFE_NO_PAD.encode([1; 64])),
        head.to_owned(),
    ];

    let (address, _held) = with_policy(&issuer.rules(), backend).await;
    for bad in &bad {
        assert_eq!(status(address, "/bad", &bearer(bad)).await, "401", "{bad}");
    }
    assert_eq!(seen.paths(), [""; 0]);
    assert_eq!(status(address, "/good", &bearer(&good)).await, "200");
    // That there must be one is for a policy to say.
    assert_eq!(status(address, "/none", "").await, "200");
    assert_eq!(seen.paths(), ["/good", "/none"]);

    let (backend, seen) = recorder(StatusCode::OK, "hello").await;
    let only = format!(
        "{{ {SELECTS}, rules: [ {{ from: [ {{ source: {{ requestPrincipals: [me/ada] }} }} ] }} ] }}"
    );
    let policy = object("AuthorizationPolicy", "only-ada", &only);
    let (address, _held) = with_policy(&(issuer.rules() + &policy), backend).await;
    assert_eq!(status(address, "/none", "").await, "403");
    let eve = issuer.token(r#"{"iss":"me","sub":"eve"}"#);
    assert_eq!(status(address, "/eve", &bearer(&eve)).await, "403");
    for bad in &bad {
        assert_eq!(status(address, "/bad", &bearer(bad)).await, "401", "{bad}");
    }
    assert_eq!(seen.paths(), [""; 0]);
    assert_eq!(status(address, "/good", &bearer(&good)).await, "200");
    assert_eq!(seen.paths(), ["/good"]);
}

#[tokio::test]
async fn with_another_gateway_it_is_an_egress() {
    let (outside, seen) = recorder(StatusCode::OK, "from outside").await;
    let mut yaml = entries(&[("api.example.com", 80, outside)]);
    yaml.push('\n');
    yaml += &object(
        "Gateway",
        "egress",
        "{ selector: { istio: egressgateway }, servers: [ { port: { number: 8080, name: http, protocol: HTTP }, hosts: [api.example.com] } ] }",
    );
    yaml += &object(
        "VirtualService",
        "out",
        "{ hosts: [api.example.com], gateways: [egress], http: [ { route: [ { destination: { host: api.example.com, port: { number: 80 } } } ] } ] }",
    );
    let node = Node::router("egress", "default", [("istio", "egressgateway")]);
    let rules = rules(node, &yaml);
    let address = listen(Limits::default(), &rules, 8080).await;
    let get = |host: &str| format!("GET /v1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = exchange(address, &get("api.example.com")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("from outside"),
        "{answer}"
    );
    assert_eq!(seen.last()["host"], "api.example.com");
    // Nothing else leaves.
    let answer = exchange(address, &get("other.example.com")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}
