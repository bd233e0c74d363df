//! The certificate from an authority: our own control plane, over real sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

use mesh_control_plane::ca::{Authority, Tokens};
use mesh_control_plane::{ControlPlane, Options};
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::pki::{self, REVIEWS, crypto, dns};
use super::scene::empty_store;
use crate::tls::csr::Csr;
use crate::tls::provider::{CertificateProvider, Certificates};
use crate::tls::store::Store;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control plane that signs, and the token of reviews.
struct Stage {
    dir: TempDir,
    control_plane: ControlPlane,
    token: String,
}

impl Stage {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let authority = Authority::self_signed(&"cluster.local".parse().unwrap(), now).unwrap();
        let (token, line) =
            Tokens::mint(&REVIEWS.parse().unwrap(), Duration::from_hours(1), now).unwrap();
        let config = dir.path().join("config");
        std::fs::create_dir(&config).unwrap();
        let tokens = dir.path().join("tokens");
        std::fs::write(&tokens, line).unwrap();
        let options = Options::default().authority(authority, Some(tokens));
        let any = "127.0.0.1:0".parse().unwrap();
        let started = ControlPlane::start_with(&config, any, options).await;
        let stage = Self {
            dir,
            control_plane: started.unwrap(),
            token: token.text().to_owned(),
        };
        stage.put("token", &stage.token);
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn csr(&self) -> Csr {
        Csr::plaintext(self.control_plane.local_addr(), self.path("token")).unwrap()
    }
}

fn fed(csr: Csr) -> Arc<Store> {
    let store = empty_store();
    tokio::spawn(Arc::new(csr).feed(Certificates::of(&store)));
    store
}

async fn until(what: &str, store: &Store, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        let refusal = store.refusal();
        assert!(start.elapsed() < PATIENCE, "not {what}; {refusal:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn refusal(store: &Store) -> String {
    store
        .refusal()
        .map_or_else(String::new, |it| it.to_string())
}

#[tokio::test]
async fn a_workload_gets_the_certificate_of_its_token_and_the_next_at_half_its_life() {
    let stage = Stage::new().await;
    let store = fed(stage.csr().ttl(Duration::from_secs(6)));
    until("a certificate", &store, || store.own().is_some()).await;
    let first = store.own().unwrap();
    assert_eq!(first.certificate.spiffe, Some(REVIEWS.parse().unwrap()));
    until("another", &store, || {
        store.own().unwrap().generation > first.generation
    })
    .await;
    let second = store.own().unwrap();
    assert_ne!(first.certificate.sha256, second.certificate.sha256);
    // Half of six seconds on, give or take the jitter and the seconds that certificates are told in; not at once.
    let between = second.certificate.not_after - first.certificate.not_after;
    assert!((2..6).contains(&between), "{between}");
    assert_eq!(store.refusal(), None);
}

#[tokio::test]
async fn the_token_is_read_anew_and_what_is_wrong_with_it_is_told() {
    let stage = Stage::new().await;
    for (text, word) in [
        ("nonsense", "Unauthenticated"),
        (" \n", "there is no token in"),
    ] {
        stage.put("token", text);
        let store = fed(stage.csr());
        until("refused", &store, || refusal(&store).contains(word)).await;
        assert!(store.own().is_none());
        // Kubernetes ends the file with nothing, an editor with a line's end.
        stage.put("token", &format!("{}\n", stage.token));
        until("taken", &store, || store.own().is_some()).await;
        assert_eq!(store.refusal(), None);
    }
    std::fs::remove_file(stage.path("token")).unwrap();
    let store = fed(stage.csr());
    until("refused", &store, || {
        refusal(&store).contains("cannot be read")
    })
    .await;
    assert!(!refusal(&store).contains(&stage.token));
}

#[tokio::test]
async fn without_its_authority_a_workload_keeps_what_it_has() {
    let stage = Stage::new().await;
    let store = fed(stage.csr().ttl(Duration::from_secs(4)));
    until("a certificate", &store, || store.own().is_some()).await;
    let Stage {
        control_plane, dir, ..
    } = stage;
    control_plane.shutdown().await;
    let have = store.own().unwrap().generation;
    until("refused", &store, || !refusal(&store).is_empty()).await;
    assert!(store.own().unwrap().generation >= have);
    assert!(refusal(&store).contains("the certificate authority at 127.0.0.1:"));
    drop(dir);
}

/// A TLS server in front of the control plane, as istiod has one; counts what arrives after a handshake.
async fn front(
    behind: SocketAddr,
    root: &pki::Authority,
    name: &str,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let mut params = pki::named(&[]);
    params.subject_alt_names = vec![dns(name)];
    let leaf = root.issue(&params);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KeyPair::serialize_der(&leaf.key)));
    let config = ServerConfig::builder_with_provider(crypto().provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let mut config = config.with_single_cert(leaf.chain.clone(), key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let Ok(outer) = acceptor.accept(tcp).await else {
                    return;
                };
                let inner = TcpStream::connect(behind).await.unwrap();
                let (mut from, mut back) = tokio::io::split(outer);
                let (mut answers, mut on) = inner.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
                let mut bytes = [0; 4096];
                while let Ok(many @ 1..) = from.read(&mut bytes).await {
                    count.fetch_add(many, SeqCst);
                    on.write_all(&bytes[..many]).await.unwrap();
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn the_token_is_not_sent_before_the_server_is_verified() {
    let stage = Stage::new().await;
    let behind = stage.control_plane.local_addr();
    let (root, other) = (pki::Authority::new("root"), pki::Authority::new("other"));
    stage.put("roots", &root.pem());
    for (issuer, name, taken) in [
        (&other, "localhost", false),
        (&root, "elsewhere", false),
        (&root, "localhost", true),
    ] {
        let (address, seen) = front(behind, issuer, name).await;
        let authority = format!("localhost:{}", address.port());
        let csr = Csr::tls(&authority, stage.path("roots"), stage.path("token")).unwrap();
        let store = fed(csr.cluster("Kubernetes"));
        let done = || store.own().is_some() || !refusal(&store).is_empty();
        until("an outcome", &store, done).await;
        assert_eq!(store.own().is_some(), taken, "{name}: {}", refusal(&store));
        assert_eq!(seen.load(SeqCst) > 0, taken, "{name}");
        if !taken {
            let refusal = refusal(&store);
            assert!(refusal.contains("certificate"), "{refusal}");
        }
    }
    // Nor without roots.
    stage.put("roots", "");
    let (address, seen) = front(behind, &root, "localhost").await;
    let authority = format!("localhost:{}", address.port());
    let store = fed(Csr::tls(&authority, stage.path("roots"), stage.path("token")).unwrap());
    until("refused", &store, || refusal(&store).contains("roots")).await;
    assert_eq!(seen.load(SeqCst), 0);
}
