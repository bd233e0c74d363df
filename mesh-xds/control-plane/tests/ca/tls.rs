//! The authority over TLS: who has a certificate proves by it who it is, and who has none by a token.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use mesh_control_plane::ca::{Authority, Tokens};
use mesh_control_plane::{ControlPlane, Options, StartError, Tls};
use mesh_tower::{Csr, Mesh};
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::kit::{HOUR, REVIEWS, THIEF, certificates, id, leads_to, said};
use crate::service::{asked, call};

const NAME: &str = "istiod.istio-system.svc";
const ISTIOD: &str = "spiffe://cluster.local/ns/istio-system/sa/istiod";

/// A control plane over TLS, and what its operator has.
struct Stage {
    dir: tempfile::TempDir,
    control_plane: ControlPlane,
    /// The same authority again, as its folder holds it.
    authority: Authority,
    token: String,
}

impl Stage {
    async fn new() -> Self {
        let (dir, authority) = authorities();
        let (token, line) = Tokens::mint(&id(REVIEWS), HOUR, SystemTime::now()).unwrap();
        std::fs::write(dir.path().join("tokens"), line).unwrap();
        std::fs::write(dir.path().join("token"), token.text()).unwrap();
        std::fs::write(dir.path().join("root-cert.pem"), authority.roots()).unwrap();
        let tls = Tls::of_authority(any(), [NAME.to_owned(), "127.0.0.1".to_owned()]);
        let tokens = Some(dir.path().join("tokens"));
        let options = Options::default().authority(kept(&dir), tokens).tls(tls);
        let control_plane = started(&dir, options).await.unwrap();
        Self {
            control_plane,
            authority,
            token: token.text().to_owned(),
            dir,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn address(&self) -> SocketAddr {
        self.control_plane.secure_addr().unwrap()
    }

    /// What is signed for a client that shows this certificate, and asks for the thief's.
    async fn signs(&self, shown: Option<&Shown>, token: Option<&str>) -> Result<String, Status> {
        let connected = connect(self.address(), &self.authority, shown).await;
        let channel = connected.map_err(|error| Status::unknown(error.to_string()))?;
        let proofs: Vec<String> = token
            .map(|token| format!("Bearer {token}"))
            .into_iter()
            .collect();
        let chain = call(channel, asked(THIEF), &proofs).await?;
        leads_to(&chain[0], &self.authority.roots(), SystemTime::now()).unwrap();
        let said = said(&chain[0]);
        assert_eq!((said.uris.len(), said.other_names), (1, 0));
        Ok(said.uris[0].clone())
    }
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn authorities() -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("config")).unwrap();
    let authority = kept(&dir);
    (dir, authority)
}

fn kept(dir: &tempfile::TempDir) -> Authority {
    let domain = "cluster.local".parse().unwrap();
    Authority::kept(&dir.path().join("ca"), &domain, SystemTime::now()).unwrap()
}

async fn started(dir: &tempfile::TempDir, options: Options) -> Result<ControlPlane, StartError> {
    ControlPlane::start_with(dir.path().join("config"), any(), options).await
}

/// A certificate with its key.
struct Shown(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Shown {
    fn by(authority: &Authority, name: &str, dir: &Path) -> Self {
        let issued = authority.issue(&id(name), HOUR, SystemTime::now()).unwrap();
        issued.write(dir).unwrap();
        Self::read(&dir.join("cert-chain.pem"), &dir.join("key.pem"))
    }

    fn read(chain: &Path, key: &Path) -> Self {
        let chain = certificates(&std::fs::read_to_string(chain).unwrap());
        let key = PrivateKeyDer::from_pem_slice(&std::fs::read(key).unwrap()).unwrap();
        Self(chain, key)
    }

    /// With the key of another.
    fn with_key_of(self, other: &Self) -> Self {
        Self(self.0, other.1.clone_key())
    }
}

fn config(roots: &str, shown: Option<&Shown>) -> ClientConfig {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates(roots));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(Shown(chain, key)) => {
            // Without a look whether the key is the certificate's.
            let key = provider
                .key_provider
                .load_private_key(key.clone_key())
                .unwrap();
            let certified = rustls::sign::CertifiedKey::new(chain.clone(), key);
            let single = rustls::sign::SingleCertAndKey::from(certified);
            builder.with_client_cert_resolver(Arc::new(single))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn connect(
    address: SocketAddr,
    authority: &Authority,
    shown: Option<&Shown>,
) -> Result<Channel, tonic::transport::Error> {
    let connector = TlsConnector::from(Arc::new(config(&authority.roots(), shown)));
    let connect = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            let name = ServerName::try_from(NAME).unwrap();
            let stream = connector.connect(name, tcp).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://istiod");
    endpoint.connect_with_connector(connect).await
}

/// Waits for a condition, 10 s at most.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn a_workload_gets_its_certificate_and_its_rules_over_tls_with_a_token() {
    let stage = Stage::new().await;
    let server = format!("https://{}", stage.address());
    let mesh = |token: &str| {
        let csr = Csr::new(&server, stage.path("root-cert.pem"), stage.path(token));
        let csr = csr.unwrap().server_name(NAME);
        let builder = Mesh::builder().xds(&server).control_plane_name(NAME);
        builder.certificates(csr).build().unwrap()
    };
    // The link believes what came with the certificate: without one there is none.
    let workload = mesh("token");
    until("the stream", || workload.status().connected).await;
    // The control.
    std::fs::write(stage.path("other"), "0123").unwrap();
    let stranger = mesh("other");
    let refused = "is not taken";
    let told = || stranger.status().last_error.map(|error| error.to_string());
    until(refused, || {
        told().is_some_and(|told| told.contains(refused))
    })
    .await;
    assert!(!stranger.status().connected);
}

#[tokio::test]
async fn the_requests_own_names_are_never_read() {
    let stage = Stage::new().await;
    let reviews = Shown::by(&stage.authority, REVIEWS, &stage.path("reviews"));
    let by_token = stage.signs(None, Some(&stage.token)).await;
    assert_eq!(by_token.unwrap(), REVIEWS);
    // Renewal: the certificate is proof enough.
    let by_certificate = stage.signs(Some(&reviews), None).await;
    assert_eq!(by_certificate.unwrap(), REVIEWS);
    // Of two proofs the connection's counts: a token that fell into its hands makes nobody another.
    let ratings = "spiffe://cluster.local/ns/default/sa/bookinfo-ratings";
    let ratings_shows = Shown::by(&stage.authority, ratings, &stage.path("ratings"));
    let both = stage.signs(Some(&ratings_shows), Some(&stage.token)).await;
    assert_eq!(both.unwrap(), ratings);
    let bad_token = stage.signs(Some(&ratings_shows), Some("0123")).await;
    assert_eq!(bad_token.unwrap(), ratings);
    // TLS alone proves nothing.
    for token in [None, Some("0123")] {
        let error = stage.signs(None, token).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_root_signs_nothing() {
    let stage = Stage::new().await;
    let (dir, other) = authorities();
    let foreign = Shown::by(&other, REVIEWS, &stage.path("foreign"));
    let own = Shown::by(&stage.authority, REVIEWS, &stage.path("own"));
    let stolen = Shown::by(&stage.authority, REVIEWS, &stage.path("stolen")).with_key_of(&foreign);
    drop(dir);
    for shown in [&foreign, &stolen] {
        // Not even with a token: what is shown must be good.
        let error = stage
            .signs(Some(shown), Some(&stage.token))
            .await
            .unwrap_err();
        assert_ne!(error.code(), Code::Unauthenticated, "{error}");
    }
    // The controls.
    assert_eq!(stage.signs(Some(&own), None).await.unwrap(), REVIEWS);
    assert_eq!(
        stage.signs(None, Some(&stage.token)).await.unwrap(),
        REVIEWS
    );
}

#[tokio::test]
async fn a_self_signed_certificate_proves_nothing() {
    let stage = Stage::new().await;
    let key = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(REVIEWS.try_into().unwrap())];
    let certificate = params.self_signed(&key).unwrap();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let shown = Shown(vec![certificate.der().clone()], der);
    stage.signs(Some(&shown), None).await.unwrap_err();
}

#[tokio::test]
async fn the_port_for_tls_takes_no_plaintext_and_shows_its_name() {
    let stage = Stage::new().await;
    let plain = Endpoint::new(format!("http://{}", stage.address())).unwrap();
    let plain = async {
        let channel = plain.connect().await.map_err(|_| ())?;
        call(
            channel,
            asked(REVIEWS),
            &[format!("Bearer {}", stage.token)],
        )
        .await
        .map_err(drop)
    };
    assert!(plain.await.is_err());
    let connector = TlsConnector::from(Arc::new(config(&stage.authority.roots(), None)));
    for name in [NAME, "127.0.0.1"] {
        let tcp = TcpStream::connect(stage.address()).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let stream = connector.connect(name, tcp).await.unwrap();
        let (_, session) = stream.get_ref();
        let leaf = &session.peer_certificates().unwrap()[0];
        let said = said(&crate::kit::pem("CERTIFICATE", leaf));
        assert_eq!((said.uris, said.other_names), (vec![ISTIOD.to_owned()], 2));
    }
    // The control.
    let tcp = TcpStream::connect(stage.address()).await.unwrap();
    let name = ServerName::try_from("istiod.elsewhere.svc").unwrap();
    connector.connect(name, tcp).await.unwrap_err();
}

#[tokio::test]
async fn files_are_shown_and_nobody_is_asked_without_an_authority() {
    let (dir, authority) = authorities();
    let folder = dir.path().join("server");
    let shown = Shown::by(&authority, ISTIOD, &folder);
    let [chain, key] = ["cert-chain.pem", "key.pem"].map(|name| folder.join(name));
    let tls = Tls::files(any(), &chain, &key);
    let control_plane = started(&dir, Options::default().tls(tls)).await.unwrap();
    let address = control_plane.secure_addr().unwrap();
    // Of another root, and shown to nobody.
    let mut config = config(&authority.roots(), Some(&shown));
    let seen = Arc::new(AnyServer);
    config.dangerous().set_certificate_verifier(seen);
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(NAME).unwrap();
    let stream = connector.connect(name, tcp).await.unwrap();
    let leaf = &stream.get_ref().1.peer_certificates().unwrap()[0];
    assert_eq!(*leaf, shown.0[0]);

    for tls in [
        Tls::files(any(), &chain, folder.join("none.pem")),
        Tls::of_authority(any(), []),
    ] {
        let error = started(&dir, Options::default().tls(tls))
            .await
            .unwrap_err();
        assert!(matches!(error, StartError::Certificate(_)), "{error}");
    }
}

/// Takes every server: which certificate it shows is what is asked.
#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
