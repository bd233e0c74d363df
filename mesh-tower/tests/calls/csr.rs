//! A certificate by a signing request, from an authority on the port of the control plane, as istiod is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::post;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use futures_util::future::{Ready, ready};
use mesh_tower::{Csr, Mesh, Variant};
use mesh_xds::Resources;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, PublicKeyData, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

use crate::dialect::Istiod;
use crate::support::ads::Scripted;
use crate::support::plane::{Plane, shows};
use crate::support::tls::{Authority, Leaf};
use crate::support::{Backend, Folder, URL, node, until};

const NAME: &str = "istiod.istio-system.svc";
const WORKLOAD: &str = "spiffe://cluster.local/ns/default/sa/productpage";

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    csr: String,
    #[prost(int64, tag = "3")]
    validity_duration: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answered {
    #[prost(string, repeated, tag = "1")]
    cert_chain: Vec<String>,
}

/// How the authority answers.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// A certificate that holds so long from now on.
    Signs(Duration),
    Refuses,
    WithoutRoot,
    OfAnotherKey,
    OfAnotherRoot,
    Garbage,
}

/// An authority, and what it was asked.
#[derive(Clone)]
struct Ca {
    authority: Arc<Authority>,
    way: Arc<Mutex<Way>>,
    keys: Arc<Mutex<Vec<Vec<u8>>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    given: Arc<Mutex<Vec<CertificateDer<'static>>>>,
}

impl Ca {
    fn answer(&self, asked: &Asked) -> Result<Vec<String>, Status> {
        let request = CertificateSigningRequestParams::from_pem(&asked.csr).unwrap();
        self.keys
            .lock()
            .unwrap()
            .push(request.public_key.der_bytes().to_vec());
        self.asked.lock().unwrap().push(asked.clone());
        let way = *self.way.lock().unwrap();
        let life = match way {
            Way::Signs(life) => life,
            _ => Duration::from_secs(3600),
        };
        let params = workload(life);
        let own = match way {
            Way::OfAnotherKey => self.authority.issue(&params).certificate,
            _ => self.authority.sign(&params, &request.public_key),
        };
        let root = match way {
            Way::OfAnotherRoot => Authority::called("another").pem(),
            _ => self.authority.pem(),
        };
        match way {
            Way::Refuses => return Err(Status::unauthenticated("no")),
            Way::WithoutRoot => return Ok(vec![own.pem()]),
            Way::Garbage => return Ok(vec!["no certificate".to_owned(), root]),
            _ => {}
        }
        self.given.lock().unwrap().push(own.der().clone());
        Ok(vec![own.pem(), root])
    }
}

fn workload(life: Duration) -> CertificateParams {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(WORKLOAD.try_into().unwrap())];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(1970, 1, 1) + now + life;
    params
}

impl tonic::server::UnaryService<Asked> for Ca {
    type Response = Answered;
    type Future = Ready<Result<Response<Answered>, Status>>;

    fn call(&mut self, request: tonic::Request<Asked>) -> Self::Future {
        let answered = self.answer(request.get_ref());
        ready(answered.map(|cert_chain| Response::new(Answered { cert_chain })))
    }
}

/// A port with both services, and a pod's files.
struct Scene {
    plane: Plane,
    ca: Ca,
    files: TempDir,
}

impl Scene {
    async fn new(way: Way) -> Self {
        let authority = Arc::new(Authority::new());
        let ca = Ca {
            authority: Arc::clone(&authority),
            way: Arc::new(Mutex::new(way)),
            keys: Arc::default(),
            asked: Arc::default(),
            given: Arc::default(),
        };
        let (ads, signs) = (Scripted::of(Resources::default()), ca.clone());
        let create = move |request: axum::extract::Request| async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Answered, Asked>::default());
            grpc.unary(signs, request).await
        };
        let app = tonic::service::Routes::new(AggregatedDiscoveryServiceServer::new(ads))
            .into_axum_router()
            .merge(Router::new().route(
                "/istio.v1.auth.IstioCertificateService/CreateCertificate",
                post(create),
            ));
        let scene = Self {
            plane: Plane::start(shows(&istiod(&authority), Some(&authority)), app).await,
            ca,
            files: TempDir::new().unwrap(),
        };
        std::fs::write(scene.path("root-cert.pem"), authority.pem()).unwrap();
        std::fs::write(scene.path("token"), "first").unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A mesh whose link to the control plane believes whom the authority believes: it comes about when there is a
    /// certificate, and shows it.
    fn mesh(&self) -> Mesh {
        self.mesh_with(|csr| csr)
    }

    fn mesh_with(&self, more: impl FnOnce(Csr) -> Csr) -> Mesh {
        let at = |address: SocketAddr| format!("https://{address}");
        let server = at(self.plane.address);
        let csr = Csr::new(&server, self.path("root-cert.pem"), self.path("token"));
        let csr = csr
            .unwrap()
            .server_name(NAME)
            .lifetime(Duration::from_secs(600));
        Mesh::builder()
            .xds(server)
            .control_plane_name(NAME)
            .certificates(more(csr))
            .variant(Variant::StateOfTheWorld)
            .node(node())
            .seed(7)
            .build()
            .unwrap()
    }

    fn answers(&self, way: Way) {
        *self.ca.way.lock().unwrap() = way;
    }

    fn given(&self) -> Vec<CertificateDer<'static>> {
        self.ca.given.lock().unwrap().clone()
    }

    /// Whether a stream of a client with this certificate is there.
    fn knows(&self, client: Option<&CertificateDer<'static>>) -> bool {
        let shown = self.plane.seen().clients;
        client.is_some_and(|client| shown.contains(&Some(client.clone())))
    }
}

fn istiod(authority: &Authority) -> Leaf {
    authority.issue(&CertificateParams::new([NAME.to_owned()]).unwrap())
}

fn told(mesh: &Mesh) -> String {
    let told = mesh.status().last_error;
    told.map_or_else(String::new, |told| told.to_string())
}

#[tokio::test]
async fn a_certificate_is_asked_for_and_shown() {
    let scene = Scene::new(Way::Signs(Duration::from_secs(3600))).await;
    let mesh = scene.mesh();
    until("the stream", || async { mesh.status().connected }).await;
    let given = scene.given();
    assert_eq!(given.len(), 1, "one call is enough");
    assert!(scene.knows(given.first()));
    let seen = scene.plane.seen();
    assert_eq!(
        seen.tokens,
        [Some("Bearer first".to_owned()), None],
        "the call; the stream has its certificate"
    );
    assert_eq!(scene.ca.asked.lock().unwrap()[0].validity_duration, 600);
    let shown = format!("{mesh:?}");
    assert!(
        !shown.contains("first") && !shown.contains("PRIVATE"),
        "{shown}"
    );
}

#[tokio::test]
async fn it_is_renewed_at_half_life_with_a_new_key_and_the_token_of_then() {
    let life = Duration::from_secs(12);
    let scene = Scene::new(Way::Signs(life)).await;
    let begun = SystemTime::now();
    let mesh = scene.mesh();
    until("the first", || async { mesh.status().connected }).await;
    std::fs::write(scene.path("token"), "second").unwrap();
    scene.answers(Way::Signs(Duration::from_secs(3600)));
    until("the second", || async { scene.given().len() == 2 }).await;
    let took = begun.elapsed().unwrap();
    // Not before 45 % of what is left to it, of which the clock's seconds take up to one.
    assert!(
        took >= (life - Duration::from_secs(1)).mul_f64(0.45),
        "{took:?}"
    );
    let tokens = scene.plane.seen().tokens;
    assert!(
        tokens.contains(&Some("Bearer second".to_owned())),
        "{tokens:?}"
    );
    let keys = scene.ca.keys.lock().unwrap().clone();
    assert_ne!(keys[0], keys[1]);
    scene.plane.cut();
    until("a link with the second", || async {
        scene.knows(scene.given().get(1))
    })
    .await;
}

#[tokio::test]
async fn it_is_renewed_by_itself_and_by_the_token_where_that_fails() {
    let begin = async || {
        let scene = Scene::new(Way::Signs(Duration::from_secs(6))).await;
        let mesh = scene.mesh_with(Csr::renew_by_certificate);
        until("the first", || async { mesh.status().connected }).await;
        let token = Some("Bearer first".to_owned());
        assert_eq!(scene.plane.seen().tokens, [token, None]);
        (scene, mesh)
    };
    let by_itself = async {
        let (scene, _mesh) = begin().await;
        std::fs::remove_file(scene.path("token")).unwrap();
        scene.answers(Way::Signs(Duration::from_secs(3600)));
        until("the second", || async { scene.given().len() == 2 }).await;
        let seen = scene.plane.seen();
        assert_eq!(seen.tokens[2..], [None]);
        let first = Some(scene.given()[0].clone());
        assert_eq!(seen.clients, [None, first.clone(), first]);
    };
    let by_token = async {
        let (scene, _mesh) = begin().await;
        scene.answers(Way::Refuses);
        std::fs::write(scene.path("token"), "second").unwrap();
        until("the token", || async {
            scene.plane.seen().tokens.len() > 3
        })
        .await;
        let token = Some("Bearer second".to_owned());
        assert_eq!(scene.plane.seen().tokens[2..4], [None, token]);
        assert_eq!(scene.plane.seen().clients[3], None);
        scene.answers(Way::Signs(Duration::from_secs(3600)));
        until("the second", || async { scene.given().len() == 2 }).await;
    };
    tokio::join!(by_itself, by_token);
}

#[tokio::test]
async fn what_is_not_good_is_not_taken_and_is_asked_for_again() {
    let rows = [
        (Way::Refuses, "is not taken; it may have expired"),
        (Way::WithoutRoot, "it answered with 1 certificates"),
        (
            Way::OfAnotherKey,
            "the private key is not the key of the certificate",
        ),
        (
            Way::OfAnotherRoot,
            "it does not hold by the roots that came with it",
        ),
        (Way::Garbage, "what it answered: "),
    ];
    for (way, reason) in rows {
        let scene = Scene::new(way).await;
        let mesh = scene.mesh();
        let server = format!("the certificate authority https://{}", scene.plane.address);
        let file = match way {
            // What may have expired is found by its name.
            Way::Refuses => format!("the token of {:?}", scene.path("token")),
            _ => String::new(),
        };
        until(reason, || async {
            let told = told(&mesh);
            [reason, &server, &file]
                .iter()
                .all(|part| told.contains(part))
        })
        .await;
        assert!(!mesh.status().connected);
        scene.answers(Way::Signs(Duration::from_secs(3600)));
        until("a good one", || async { mesh.status().connected }).await;
        assert!(scene.knows(scene.given().last()));
    }
}

#[tokio::test]
async fn an_authority_that_is_not_who_it_should_be_gets_neither_token_nor_request() {
    let scene = Scene::new(Way::Signs(Duration::from_secs(3600))).await;
    let stranger = Authority::called("a stranger");
    scene.plane.now_shows(shows(&istiod(&stranger), None));
    let mesh = scene.mesh();
    let reason = "its chain leads to none of them";
    until(reason, || async { told(&mesh).contains(reason) }).await;
    let whom = format!("https://{}: we refused the peer", scene.plane.address);
    let [authority, plane] = ["certificate authority", "control plane"]
        .map(|what| told(&mesh).contains(&format!("the {what} {whom}")));
    assert!(authority && !plane, "{}", told(&mesh));
    assert!(scene.plane.seen().tokens.is_empty());
    assert!(scene.ca.asked.lock().unwrap().is_empty());
    // The control.
    let authority = &scene.ca.authority;
    scene
        .plane
        .now_shows(shows(&istiod(authority), Some(authority)));
    until("the stream", || async { mesh.status().connected }).await;
}

/// What it reads for each call is named where it cannot be read, and quoted nowhere.
#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    for (name, reason) in [
        ("token", "mount the token there"),
        ("root-cert.pem", "cannot be read"),
    ] {
        let scene = Scene::new(Way::Signs(Duration::from_secs(3600))).await;
        let path = scene.path(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mesh = scene.mesh();
        let file = path.display().to_string();
        let is_told = |reason: &str| {
            let told = told(&mesh);
            told.contains(&file) && told.contains(reason) && !told.contains("second")
        };
        until(name, || async { is_told(reason) }).await;
        std::fs::write(&path, "second\nthird\n").unwrap();
        until("what is in it", || async {
            is_told("more than one line") || is_told("holds no CERTIFICATE")
        })
        .await;
        assert!(scene.given().is_empty());
        std::fs::write(&path, good).unwrap();
        until("the stream", || async { mesh.status().connected }).await;
    }
}

/// By the real istiod, whose tokens are reviewed by a stub (`examples/interop/kube_stub.py`).
///
/// `cargo test -p mesh-tower --features csr --test calls -- --ignored csr::` (it needs Go or the cached binary, as
/// `examples/interop/README.md` says; `.ci/istiod.sh` runs it)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an istiod; .ci/istiod.sh runs it"]
async fn istiod_signs_and_is_a_control_plane_over_tls() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v1", 1)]);
    let istiod = Istiod::start(&folder);
    let file = |name: &str| istiod.state().join(name);
    let address = std::fs::read_to_string(file("secure-xds-address")).unwrap();
    let server = format!("https://{}", address.trim());
    let token = |account: &str| {
        let path = file("token");
        std::fs::write(&path, format!("token-of:{account}")).unwrap();
        path
    };
    let builder = || {
        let builder = Mesh::builder().xds(&server).control_plane_name(NAME);
        builder.node(node()).seed(7)
    };
    // With a certificate.
    let csr = Csr::new(&server, file("root-cert.pem"), token("default:productpage"));
    let mesh = builder().certificates(csr.unwrap().server_name(NAME));
    let mesh = mesh.build().unwrap();
    mesh.client().get(URL).await.unwrap();
    assert!(mesh.status().connected);
    // With a token alone, of an account whose token is not that of the certificate.
    let by_token = || {
        let builder = builder().control_plane_ca(file("root-cert.pem"));
        builder.token_file(file("token")).build().unwrap()
    };
    token("default:reviews");
    by_token().client().get(URL).await.unwrap();
    // The controls: a token of nobody, and an istiod of another name.
    token("nobody");
    let mesh = by_token();
    let refused = "is not taken; it may have expired";
    until(refused, || async { told(&mesh).contains(refused) }).await;
    let mesh = builder().control_plane_name("istiod.elsewhere.svc");
    let mesh = mesh
        .control_plane_ca(file("root-cert.pem"))
        .build()
        .unwrap();
    let refused = "not of whom we want, the host \"istiod.elsewhere.svc\"";
    until(refused, || async { told(&mesh).contains(refused) }).await;
}

#[test]
fn an_authority_in_plaintext_is_none() {
    for address in ["http://istiod:15010", "unix:///var/run/ca", "istiod"] {
        let error = Csr::new(address, "/root-cert.pem", "/token").unwrap_err();
        assert!(error.to_string().contains(address), "{error}");
    }
    Csr::new("istiod:15012", "/root-cert.pem", "/token").unwrap();
}
