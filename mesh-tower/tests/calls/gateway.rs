//! A gateway's listener, from the YAML of a `Gateway` and its files to what clients of TLS see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use mesh_tower::{Builder, GatewayChain, Mesh, Node, PeerIdentity, Security};
use rcgen::{CertificateParams, SanType};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fetched_keys::{self, Desk, HOST, NOT_FETCHED, URI, Way, control_plane};
use super::tokens::Issuer;
use crate::support::outside::{Leads, Names};
use crate::support::tls::{Authority, Leaf};
use crate::support::until;

const A: &str = "a.example";
const B: &str = "b.example";
const CLIENT: &str = "client.example";
static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// A gateway with two servers behind one port, whose files are of these authorities.
struct Scene {
    folder: TempDir,
    servers: Authority,
    clients: Authority,
    mesh: Mesh,
    address: SocketAddr,
}

fn node() -> Node {
    Node::router("gw", "default", [("istio", "gw")])
}

fn named(host: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(host.try_into().unwrap())];
    params
}

impl Scene {
    /// Of server `b`, what its `tls` says beside its certificate.
    async fn new(of_b: &str, security: Security) -> Self {
        Self::with(A, of_b, |builder| builder.security(security)).await
    }

    /// The same, whose server `a` is for these hosts.
    async fn with(of_a: &str, of_b: &str, more: impl FnOnce(Builder) -> Builder) -> Self {
        let folder = TempDir::new().unwrap();
        let [servers, clients] = ["servers", "clients"].map(Authority::called);
        for host in [A, B] {
            write(&folder, host, &servers.issue(&named(host)));
        }
        std::fs::write(folder.path().join("ca.pem"), clients.pem()).unwrap();
        let config = folder.path().join("config");
        std::fs::create_dir(&config).unwrap();
        let files = folder.path().display();
        let pair = |host: &str| {
            format!("serverCertificate: '{files}/{host}.pem', privateKey: '{files}/{host}.key'")
        };
        let of_b = of_b.replace("CA", &format!("caCertificates: '{files}/ca.pem'"));
        let yaml = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: g, namespace: default }}\nspec:\n  \
             selector: {{ istio: gw }}\n  servers:\n  \
             - {{ port: {{ number: 8443, name: a, protocol: HTTPS }}, hosts: ['{of_a}'], tls: {{ mode: SIMPLE, {} }} }}\n  \
             - {{ port: {{ number: 8443, name: b, protocol: HTTPS }}, hosts: [{B}], tls: {{ {of_b}, {} }} }}\n  \
             - {{ port: {{ number: 8080, name: c, protocol: HTTP }}, hosts: ['*'] }}\n",
            pair(A),
            pair(B),
        );
        std::fs::write(config.join("gateway.yaml"), yaml).unwrap();
        let builder = Mesh::builder().yaml(&config).node(node());
        let mesh = more(builder).build().unwrap();
        let address = serve(&mesh, 8443).await;
        Self {
            folder,
            servers,
            clients,
            mesh,
            address,
        }
    }

    /// What the application says to a client that means this server.
    async fn told(&self, host: &str, client: Option<&Leaf>) -> std::io::Result<String> {
        let config = self.config(client, &BOTH);
        ask(connect(self.address, host, config).await?).await
    }

    fn config(
        &self,
        client: Option<&Leaf>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.servers.der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match client.map(Leaf::der) {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
        }
    }
}

fn write(folder: &TempDir, host: &str, leaf: &Leaf) {
    let file = |end: &str| folder.path().join(format!("{host}.{end}"));
    std::fs::write(file("pem"), leaf.certificate.pem()).unwrap();
    std::fs::write(file("key"), leaf.key.serialize_pem()).unwrap();
}

/// Serves a port of the gateway by an application that tells which chain let a request in, and who asks.
async fn serve(mesh: &Mesh, port: u16) -> SocketAddr {
    let app = Router::new().fallback(async |request: Request| {
        let chain = request.extensions().get::<GatewayChain>().unwrap();
        let peer = request.extensions().get::<PeerIdentity>().unwrap();
        let who = peer.certificate().map(|it| it.sans.dns.join(","));
        let is_asked = request.headers().contains_key("x-other");
        let of_proxies = request
            .headers()
            .iter()
            .filter(|(name, _)| is_asked && name.as_str().starts_with("x-"));
        let told: String = of_proxies
            .map(|(name, value)| format!(" {name}={value:?}"))
            .collect();
        let named = request.headers().get("connection");
        let named = named.map(|it| format!(" [{}]", it.to_str().unwrap()));
        let named = named.filter(|_| is_asked).unwrap_or_default();
        format!("{} {who:?}{told}{named}", chain.route_config_name())
    });
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    assert_ne!(address.port(), port);
    tokio::spawn(listener.as_gateway_port(port).serve(app));
    address
}

async fn connect(
    address: SocketAddr,
    host: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

async fn ask(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
) -> std::io::Result<String> {
    let (_, told) = sent(stream, "host: a\r\nconnection: close\r\n").await?;
    Ok(told)
}

/// Status and body of the answer to a request with these headers.
async fn sent(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    headers: &str,
) -> std::io::Result<(String, String)> {
    let request = format!("GET / HTTP/1.1\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok((status.to_owned(), body.to_owned()))
}

#[tokio::test]
async fn sni_chooses_the_certificate() {
    let scene = Scene::new("mode: SIMPLE", Security::AsConfigured).await;
    // Each is verified by the name that was asked for.
    for (host, name) in [(A, "https.8443.a.g.default"), (B, "https.8443.b.g.default")] {
        let told = scene.told(host, None).await.unwrap();
        assert_eq!(told, format!("{name} None"));
    }
    let stranger = scene.told("c.example", None).await.unwrap_err();
    assert!(stranger.to_string().contains("AccessDenied"), "{stranger}");
}

#[tokio::test]
async fn a_renewed_file_is_served() {
    let scene = Scene::new("mode: SIMPLE", Security::AsConfigured).await;
    let shown = async || {
        let config = scene.config(None, &BOTH);
        let stream = connect(scene.address, A, config).await.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        chain[0].clone()
    };
    let first = shown().await;
    assert_eq!(shown().await, first, "it stays while nothing is renewed");
    let renewed = scene.servers.issue(&named(A));
    write(&scene.folder, A, &renewed);
    until("the renewed certificate", async || {
        shown().await == *renewed.certificate.der()
    })
    .await;
    // Half of a pair is not taken: the last good one stays.
    std::fs::write(scene.folder.path().join("a.example.key"), "no PEM").unwrap();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(3)).await;
    tokio::time::resume();
    assert_eq!(shown().await, *renewed.certificate.der());
}

#[tokio::test]
async fn a_mutual_gateway_asks_for_a_certificate() {
    let scene = Scene::new("mode: MUTUAL, CA", Security::AsConfigured).await;
    let of_clients = scene.clients.issue(&named(CLIENT));
    let told = scene.told(B, Some(&of_clients)).await.unwrap();
    assert_eq!(told, format!("https.8443.b.g.default Some({CLIENT:?})"));
    let alert = async |leaf: Option<&Leaf>| scene.told(B, leaf).await.unwrap_err().to_string();
    assert!(alert(None).await.contains("CertificateRequired"));
    let stranger = scene.servers.issue(&named(CLIENT));
    let refused = alert(Some(&stranger)).await;
    assert!(refused.contains("UnknownCA"), "{refused}");
    // The control: the server beside it asks nobody, and is shown none.
    for client in [None, Some(&of_clients), Some(&stranger)] {
        let told = scene.told(A, client).await.unwrap();
        assert_eq!(told, "https.8443.a.g.default None");
    }
}

#[tokio::test]
async fn names_of_a_mutual_gateway_are_asked_for() {
    let of_b = format!("mode: MUTUAL, CA, subjectAltNames: [{CLIENT}]");
    let scene = Scene::new(&of_b, Security::AsConfigured).await;
    let one = scene.clients.issue(&named(CLIENT));
    assert!(scene.told(B, Some(&one)).await.is_ok());
    let other = scene.clients.issue(&named("other.example"));
    scene.told(B, Some(&other)).await.unwrap_err();
}

#[tokio::test]
async fn versions_are_those_of_the_server() {
    let of_b = "mode: SIMPLE, maxProtocolVersion: TLSV1_2";
    let scene = Scene::new(of_b, Security::AsConfigured).await;
    for (version, is_met) in [(&BOTH[..1], false), (&BOTH[1..], true)] {
        let met = connect(scene.address, B, scene.config(None, version)).await;
        assert_eq!(met.is_ok(), is_met, "{version:?}: {met:?}");
        connect(scene.address, A, scene.config(None, version))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_port_in_plaintext_is_closed_where_tls_is_required() {
    for (security, is_open) in [(Security::AsConfigured, true), (Security::Required, false)] {
        let scene = Scene::new("mode: SIMPLE", security).await;
        let address = serve(&scene.mesh, 8080).await;
        let told = ask(TcpStream::connect(address).await.unwrap()).await;
        let served = told.is_ok_and(|told| told == "http.8080 None");
        assert_eq!(served, is_open, "{security:?}");
        assert!(scene.told(A, None).await.is_ok());
        // By another port of the gateway, and by one that it does not have.
        for port in [8443, 9999] {
            let address = serve(&scene.mesh, port).await;
            let told = ask(TcpStream::connect(address).await.unwrap()).await;
            assert!(
                told.is_err() || told.is_ok_and(|told| told.is_empty()),
                "{port}"
            );
        }
    }
}

/// A connection that stays open, after its first answer.
async fn kept(scene: &Scene, client: &Leaf) -> TlsStream<TcpStream> {
    let config = scene.config(Some(client), &BOTH);
    let mut stream = connect(scene.address, B, config).await.unwrap();
    assert!(is_served(&mut stream).await);
    stream
}

async fn is_served(stream: &mut TlsStream<TcpStream>) -> bool {
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut answer = [0; 1024];
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let read = stream.read(&mut answer).await.unwrap_or_default();
    answer[..read].starts_with(b"HTTP/1.1 200 ")
}

/// Waits for its end, without an answer.
async fn ended(stream: &mut TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
    drop(end.await.expect("the connection stays"));
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_client_of_a_root_that_is_withdrawn_is_gone_within_the_time_that_was_asked_for() {
    let soon = |builder: Builder| builder.revocation_within(Duration::from_secs(2));
    let of_b = "mode: MUTUAL, CA";
    let (soon, late) = tokio::join!(Scene::with(A, of_b, soon), Scene::with(A, of_b, |it| it));
    let [of_soon, of_late] = [&soon, &late].map(|scene| scene.clients.issue(&named(CLIENT)));
    let mut soon_over = kept(&soon, &of_soon).await;
    let mut stays = kept(&late, &of_late).await;
    for scene in [&soon, &late] {
        let other = Authority::called("others").pem();
        std::fs::write(scene.folder.path().join("ca.pem"), other).unwrap();
    }
    ended(&mut soon_over).await;
    // The control: by default half a minute passes before anybody looks, if nobody new comes.
    assert!(is_served(&mut stays).await);
    until("the other root", async || {
        late.told(B, Some(&of_late)).await.is_err()
    })
    .await;
    ended(&mut stays).await;
}

/// A gateway with rules about tokens, whose keys are fetched from here.
async fn at_gateway(
    uri: &str,
    service: Option<&str>,
    more: impl FnOnce(Builder) -> Builder,
) -> (SocketAddr, impl Sized) {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: g, namespace: default }\nspec:\n  \
         selector: { istio: gw }\n  servers: [ { port: { number: 8080, name: c, protocol: HTTP }, hosts: ['*'] } ]\n";
    let tokens = fetched_keys::rules(uri).replace("500ms", "5s");
    let rules: Vec<&str> = [gateway, &tokens].into_iter().chain(service).collect();
    let (folder, plane) = control_plane(&rules.join("---\n")).await;
    let builder = Mesh::builder().xds(plane.local_addr().to_string());
    let mesh = more(builder.node(node())).build().unwrap();
    (serve(&mesh, 8080).await, (mesh, folder, plane))
}

#[tokio::test]
async fn a_gateway_fetches_keys_from_a_service_of_the_mesh() {
    let issuer = Issuer::new();
    let desk = Desk::new(Way::Keys(issuer.keys()));
    let service = fetched_keys::service(desk.serve(&issuer).await);
    let nowhere = |builder: Builder| builder.resolver(Names::of(HOST, Leads::Nowhere));
    let (address, _held) = at_gateway(URI, Some(&service), nowhere).await;
    let answer = fetched_keys::ask(address, &issuer.token(300)).await;
    assert_eq!(answer, (200, "http.8080 None".to_owned()));
    assert_eq!(desk.asked(), 1);
    let foreign = fetched_keys::ask(address, &Issuer::new().token(300)).await;
    assert_eq!(foreign, (401, "Jwt verification fails".to_owned()));

    // The control: no service has them.
    let (address, _held) = at_gateway(URI, None, nowhere).await;
    let answer = fetched_keys::ask(address, &issuer.token(300)).await;
    assert_eq!(answer, (401, NOT_FETCHED.to_owned()));
    assert_eq!(desk.asked(), 1);
}

#[tokio::test]
async fn a_gateway_fetches_keys_from_outside() {
    let issuer = Issuer::new();
    let authority = Authority::new();
    for (name, expected) in [
        (HOST, (200, "http.8080 None")),
        ("other.example", (401, NOT_FETCHED)),
    ] {
        let desk = Desk::new(Way::Keys(issuer.keys()));
        let plane = desk
            .serve_tls(&issuer, &authority.issue(&named(name)))
            .await;
        let more = |builder: Builder| {
            let builder = builder.outside_roots(authority.pem()).unwrap();
            builder.resolver(Names::of(HOST, Leads::To(vec![plane.address])))
        };
        let (address, _held) = at_gateway("https://issuer.example/keys", None, more).await;
        let (status, text) = fetched_keys::ask(address, &issuer.token(300)).await;
        assert_eq!((status, &*text), expected, "{name}");
        assert!(plane.seen().opened > 0);
    }
}

/// A client that is asked for no certificate under one name must not come to the host that asks for one, by naming it in
/// `Host` alone.
#[tokio::test]
async fn a_host_that_asks_for_a_certificate_is_not_reached_by_the_name_of_another() {
    let of_clients = |scene: &Scene| scene.clients.issue(&named(CLIENT));
    for (of_b, is_met) in [("mode: MUTUAL, CA", false), ("mode: SIMPLE", true)] {
        let scene = Scene::with("*.example", of_b, |it| it).await;
        let leaf = of_clients(&scene);
        let status = async |sni: &str, client: Option<&Leaf>, host: &str| {
            let config = scene.config(client, &BOTH);
            let stream = connect(scene.address, sni, config).await.unwrap();
            let headers = format!("host: {host}\r\nconnection: close\r\n");
            sent(stream, &headers).await.unwrap().0
        };
        for host in [B, "B.Example", "b.example:8443", "b.example."] {
            let expected = if is_met { "200" } else { "421" };
            assert_eq!(status(A, None, host).await, expected, "{of_b} {host}");
            assert_eq!(
                status(A, Some(&leaf), host).await,
                expected,
                "{of_b} {host}"
            );
            // By its own name, and the other way round: who has shown more than is asked for.
            assert_eq!(status(B, Some(&leaf), host).await, "200", "{of_b} {host}");
        }
        for (sni, host) in [(A, A), (A, "c.example"), (B, A)] {
            assert_eq!(status(sni, Some(&leaf), host).await, "200", "{of_b} {host}");
        }
    }
}

/// What a client names in `Connection` is for the next hop alone, so a proxy behind the gateway takes it off: that must not
/// be what the gateway itself has written, or somebody whom it asks.
#[tokio::test]
async fn a_client_cannot_have_taken_off_what_the_gateway_writes() {
    let scene = Scene::new("mode: MUTUAL, CA", Security::AsConfigured).await;
    let leaf = scene.clients.issue(&named(CLIENT));
    let stream = connect(scene.address, B, scene.config(Some(&leaf), &BOTH)).await;
    let headers = "host: b.example\r\nconnection: close, x-forwarded-client-cert, x-mine\r\nx-mine: 1\r\nx-other: 2\r\n\
        x-envoy-original-path: /admin\r\nx-envoy-expected-rq-timeout-ms: 1\r\n";
    let (_, told) = sent(stream.unwrap(), headers).await.unwrap();
    assert!(
        told.contains(" x-forwarded-client-cert=") && told.contains(" x-other="),
        "{told}"
    );
    assert!(
        told.contains("[close]") && !told.contains(" x-mine="),
        "{told}"
    );
    // It is no workload of the mesh, which could say what its side did.
    assert!(!told.contains(" x-envoy-"), "{told}");
}
