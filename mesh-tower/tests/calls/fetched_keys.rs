//! Keys of tokens that servers fetch (`jwksUri`): through the mesh to a service of it, and by https to a host outside.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::JwtAuthentication;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter;
use envoy_types::pb::google::protobuf::{Any, Duration};
use futures_util::future::join_all;
use http::StatusCode;
use mesh_control_plane::ControlPlane;
use mesh_istio::Options;
use mesh_tower::{Builder, Mesh};
use mesh_xds::{ResourceType, Resources};
use prost::Message;
use rcgen::CertificateParams;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::tokens::{ISSUER, Issuer, POLICY, bearer};
use crate::support::ads::Scripted;
use crate::support::outside::{Leads, Names};
use crate::support::plane::{Plane, shows};
use crate::support::tls::{Authority, Leaf};
use crate::support::{node, until};

pub(crate) const HOST: &str = "issuer.example";
/// How a request is refused whose keys are not there.
pub(crate) const NOT_FETCHED: &str = "Jwks remote fetch is failed";

/// How keys are answered.
#[derive(Clone)]
pub(crate) enum Way {
    Keys(String),
    Status(StatusCode),
    /// To keys that are good.
    Redirect,
    /// When the gate is opened.
    Late(String),
}

/// A server of keys.
#[derive(Clone)]
pub(crate) struct Desk {
    way: Arc<Mutex<Way>>,
    gate: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
    elsewhere: Arc<AtomicUsize>,
}

impl Desk {
    pub(crate) fn new(way: Way) -> Self {
        Self {
            way: Arc::new(Mutex::new(way)),
            gate: Arc::new(Semaphore::new(0)),
            asked: Arc::default(),
            elsewhere: Arc::default(),
        }
    }

    fn answers(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }

    /// One who waits is answered.
    pub(crate) fn open(&self) {
        self.gate.add_permits(1);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn app(&self, good: &Issuer) -> Router {
        let (good, elsewhere) = (good.keys(), Arc::clone(&self.elsewhere));
        let elsewhere = move || async move {
            elsewhere.fetch_add(1, Ordering::SeqCst);
            good
        };
        Router::new()
            .route("/keys", get(answer))
            .route("/elsewhere", get(elsewhere))
            .with_state(self.clone())
    }

    /// The same by `https`.
    pub(crate) async fn serve_tls(&self, good: &Issuer, leaf: &Leaf) -> Plane {
        let mut shown = (*shows(leaf, None)).clone();
        shown.alpn_protocols.push(b"http/1.1".to_vec());
        Plane::start(Arc::new(shown), self.app(good)).await
    }

    pub(crate) async fn serve(&self, good: &Issuer) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, app) = (listener.local_addr().unwrap(), self.app(good));
        let mesh = Mesh::builder().build().unwrap();
        drop(listener);
        let listener = mesh.listen(&address.to_string()).await.unwrap();
        tokio::spawn(listener.serve(app));
        address
    }
}

async fn answer(State(desk): State<Desk>) -> Response {
    desk.asked.fetch_add(1, Ordering::SeqCst);
    let way = desk.way.lock().unwrap().clone();
    match way {
        Way::Keys(keys) => keys.into_response(),
        Way::Status(status) => status.into_response(),
        Way::Redirect => Redirect::temporary("/elsewhere").into_response(),
        Way::Late(keys) => {
            desk.gate.acquire().await.unwrap().forget();
            keys.into_response()
        }
    }
}

/// Rules that have keys fetched from here.
pub(crate) fn rules(uri: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: issuer, namespace: default }}
spec:
  jwtRules: [ {{ issuer: {ISSUER}, jwksUri: '{uri}', timeout: 500ms }} ]
"
    )
}

/// The service that has the keys.
pub(crate) fn service(address: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: issuer, namespace: default }}
spec:
  hosts: [{HOST}]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [ {{ number: 8000, name: http, protocol: HTTP }} ]
  endpoints: [ {{ address: {}, ports: {{ http: {} }} }} ]
",
        address.ip(),
        address.port()
    )
}

/// A route of the service's host that leads nowhere.
const ASTRAY: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: astray, namespace: default }
spec:
  hosts: [issuer.example]
  http: [ { directResponse: { status: 404 } } ]
";

fn resources(rules: &[&str]) -> Resources {
    let options = Options::default().certificates(true);
    let loaded = options.parse([("rules.yaml".into(), rules.join("---\n"))]);
    let mut resources = loaded.unwrap().config.resources(&node());
    for listener in resources.listeners.values_mut() {
        *listener = short_lived(listener);
    }
    resources
}

/// The same with keys that are good for a second.
fn short_lived(any: &Any) -> Any {
    let mut listener = Listener::decode(&*any.value).unwrap();
    let chains = listener.filter_chains.iter_mut();
    let chains = chains.chain(&mut listener.default_filter_chain);
    for filter in chains.flat_map(|chain| &mut chain.filters) {
        let Some(ConfigType::TypedConfig(any)) = &mut filter.config_type else {
            continue;
        };
        let Ok(mut manager) = HttpConnectionManager::decode(&*any.value) else {
            continue;
        };
        for filter in &mut manager.http_filters {
            let Some(http_filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else {
                continue;
            };
            if !any.type_url.ends_with(".JwtAuthentication") {
                continue;
            }
            let mut tokens = JwtAuthentication::decode(&*any.value).unwrap();
            for provider in tokens.providers.values_mut() {
                if let Some(JwksSourceSpecifier::RemoteJwks(remote)) =
                    &mut provider.jwks_source_specifier
                {
                    remote.cache_duration = Some(Duration {
                        seconds: 1,
                        nanos: 0,
                    });
                }
            }
            any.value = tokens.encode_to_vec();
        }
        any.value = manager.encode_to_vec();
    }
    Any {
        type_url: any.type_url.clone(),
        value: listener.encode_to_vec(),
    }
}

struct Scene {
    address: SocketAddr,
    _mesh: Mesh,
}

impl Scene {
    async fn start(rules: &[&str]) -> (Scripted, Self) {
        let (plane, address) = Scripted::start(resources(rules)).await;
        (plane, Self::of(address, |builder| builder).await)
    }

    async fn of(plane: SocketAddr, more: impl FnOnce(Builder) -> Builder) -> Self {
        let builder = Mesh::builder().xds(plane.to_string()).node(node());
        let mesh = more(builder).build().unwrap();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(Router::new().fallback(async || "")));
        Self {
            address,
            _mesh: mesh,
        }
    }

    /// Status and text of an answer to whoever shows this token.
    async fn ask(&self, token: &str) -> (u16, String) {
        ask(self.address, token).await
    }

    async fn status(&self, token: &str) -> u16 {
        self.ask(token).await.0
    }
}

pub(crate) async fn ask(address: SocketAddr, token: &str) -> (u16, String) {
    let request = http::Request::get(format!("http://{address}/"));
    let (name, value) = bearer(token).split_once(": ").map(owned).unwrap();
    let request = request.header(name, value).body(()).unwrap();
    let client = Mesh::builder().direct().build().unwrap().client();
    let answer = client.send(request.map(|()| mesh_tower::Body::empty()));
    let answer = answer.await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.into_body().text().await.unwrap())
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

pub(crate) const URI: &str = "http://issuer.example:8000/keys";

#[tokio::test]
async fn jwks_rotation_needs_no_restart() {
    let [old, new] = [Issuer::new(), Issuer::new()];
    let desk = Desk::new(Way::Keys(old.keys()));
    let service = service(desk.serve(&old).await);
    // No route is asked: the cluster that is named has the keys.
    let (plane, scene) = Scene::start(&[&rules(URI), POLICY, &service, ASTRAY]).await;
    let [by_old, by_new] = [&old, &new].map(|issuer| issuer.token(300));
    // From the first request on: rules hold when there are keys.
    assert_eq!(scene.ask(&by_old).await, (200, String::new()));
    let (status, text) = scene.ask(&by_new).await;
    assert_eq!((status, &*text), (401, "Jwt verification fails"));

    desk.answers(Way::Keys(new.keys()));
    until("the new keys", async || scene.status(&by_new).await == 200).await;
    let (status, text) = scene.ask(&by_old).await;
    assert_eq!((status, &*text), (401, "Jwt verification fails"));
    assert_eq!(*plane.nacks.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_jwks_that_cannot_be_fetched_denies() {
    let good = Issuer::new();
    let mut oversized = good.keys();
    oversized.push_str(&" ".repeat(1 << 20));
    let secret = r#"{"keys":[{"kty":"oct","k":"AQ"}]}"#.to_owned();
    let cases = [
        ("not there", Way::Status(StatusCode::NOT_FOUND)),
        ("an error", Way::Status(StatusCode::SERVICE_UNAVAILABLE)),
        ("garbage", Way::Keys("<html>".to_owned())),
        ("somewhere else", Way::Redirect),
        ("late", Way::Late(good.keys())),
        ("no key of use", Way::Keys(secret)),
        ("oversized", Way::Keys(oversized)),
    ];
    join_all(cases.map(|(what, way)| denied(what, &good, way))).await;
}

/// A token of an issuer whose keys come in a way that is no good, and then in a good one.
async fn denied(what: &str, good: &Issuer, way: Way) {
    let desk = Desk::new(way);
    let service = service(desk.serve(good).await);
    // No policy: that there must be a token nobody says.
    let (_plane, scene) = Scene::start(&[&rules(URI), &service]).await;
    let token = good.token(300);
    let (status, text) = scene.ask(&token).await;
    assert_eq!((status, &*text), (401, NOT_FETCHED), "{what}");
    assert!(desk.asked() > 0, "{what}");
    assert_eq!(desk.elsewhere.load(Ordering::SeqCst), 0, "{what}");
    // The control, with something beside it that is of no use.
    let keys = good
        .keys()
        .replacen("[", r#"[{"kty":"oct","k":"AQ"},{},"#, 1);
    desk.answers(Way::Keys(keys));
    until(what, async || scene.status(&token).await == 200).await;
}

/// A control plane of our own, which tells what may be called outside of the mesh.
pub(crate) async fn control_plane(rules: &str) -> (TempDir, ControlPlane) {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    let options = mesh_control_plane::Options::default().certificates(true);
    let address = "127.0.0.1:0".parse().unwrap();
    let plane = ControlPlane::start_with(folder.path(), address, options).await;
    (folder, plane.unwrap())
}

#[tokio::test]
async fn new_rules_wait_for_the_first_fetch() {
    let issuer = Issuer::new();
    let desk = Desk::new(Way::Late(issuer.keys()));
    let service = service(desk.serve(&issuer).await);
    let (plane, scene) = Scene::start(&[&service]).await;
    let foreign = Issuer::new().token(300);
    assert_eq!(scene.status(&foreign).await, 200);
    let next = resources(&[&service, &rules(URI)]);
    plane.push(ResourceType::Listener, |held| *held = next);
    until("the fetch", async || desk.asked() > 0).await;
    // Those of before hold: nobody is refused for keys that are on their way.
    assert_eq!(scene.status(&foreign).await, 200);
    desk.open();
    until("the rules", async || scene.status(&foreign).await == 401).await;
    assert_eq!(scene.status(&issuer.token(300)).await, 200);
}

/// By a control plane of our own, as it sends `jwksUri`.
#[tokio::test]
async fn https_is_verified_by_the_name_of_the_issuer() {
    let authority = Authority::new();
    let issuer = Issuer::new();
    // The platform's roots are read within it.
    let rules = rules("https://issuer.example/keys").replace("500ms", "5s");
    let (_folder, control_plane) = control_plane(&rules).await;
    let scene = async |leads: fn(SocketAddr) -> Leads, name: &str| {
        let desk = Desk::new(Way::Keys(issuer.keys()));
        let leaf = authority.issue(&CertificateParams::new([name.to_owned()]).unwrap());
        let plane = desk.serve_tls(&issuer, &leaf).await;
        let names = Names::of(HOST, leads(plane.address));
        let more = |builder: Builder| {
            let builder = builder.outside_roots(authority.pem()).unwrap();
            builder.resolver(names)
        };
        let scene = Scene::of(control_plane.local_addr(), more).await;
        let answer = scene.ask(&issuer.token(300)).await;
        (answer, plane.seen(), desk.asked())
    };
    let there: fn(SocketAddr) -> Leads = |address| Leads::To(vec![address]);
    let (answer, seen, asked) = scene(there, HOST).await;
    assert_eq!((answer, asked), ((200, String::new()), 1));
    assert_eq!(seen.names[0].as_deref(), Some(HOST));
    let refused = (401, NOT_FETCHED.to_owned());
    let (answer, seen, asked) = scene(there, "other.example").await;
    assert_eq!((answer, asked), (refused.clone(), 0));
    assert!(seen.opened > 0);
    let (answer, ..) = scene(|_| Leads::Nowhere, HOST).await;
    assert_eq!(answer, refused);
}

/// The scheme is told without regard to case (RFC 3986, 3.1). Here somebody listens in plaintext where the cluster leads.
#[tokio::test]
async fn https_in_capitals_is_no_plaintext() {
    let issuer = Issuer::new();
    for (scheme, written, status) in [
        ("http", "http", 200),
        ("https", "https", 401),
        ("https", "HTTPS", 401),
        ("https", "hTtps", 401),
    ] {
        let desk = Desk::new(Way::Keys(issuer.keys()));
        let service = service(desk.serve(&issuer).await);
        let mut resources = resources(&[&service, &rules(&format!("{scheme}://{HOST}:8000/keys"))]);
        for listener in resources.listeners.values_mut() {
            // Of the same length, so the message stays one.
            let (of, to) = (format!("{scheme}://"), format!("{written}://"));
            listener.value = replaced(&listener.value, of.as_bytes(), to.as_bytes());
        }
        let (_plane, address) = Scripted::start(resources).await;
        let scene = Scene::of(address, |builder| builder).await;
        assert_eq!(scene.status(&issuer.token(300)).await, status, "{written}");
        assert_eq!(desk.asked() > 0, status == 200, "{written}");
    }
}

fn replaced(bytes: &[u8], of: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() {
        if bytes[at..].starts_with(of) {
            bytes[at..at + of.len()].copy_from_slice(to);
        }
    }
    bytes
}
