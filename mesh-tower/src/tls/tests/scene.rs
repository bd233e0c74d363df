//! Two ends of one connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_core::cluster::Protocol;
use mesh_core::identity::{PeerRule, SanMatcher};
use mesh_core::matcher::StringMatcher;
use mesh_core::tls::{Alpn, CertName, ClientAuth, ClientTerms, RootName, ServerTerms, TlsVersion};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as RustlsError, HandshakeKind, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::pki::{Authority, Leaf, REVIEWS, crypto};
use crate::tls::Settings;
use crate::tls::client::Client;
use crate::tls::error::TlsError;
use crate::tls::proof::Proof;
use crate::tls::server::{Arrived, Hello, Server, arrival};
use crate::tls::store::Store;

pub(crate) const BOTH: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

/// A clock that the test sets.
#[derive(Debug)]
pub(super) struct Clock(AtomicU64);

impl Clock {
    pub(super) fn at(seconds: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seconds)))
    }

    pub(super) fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.load(Ordering::SeqCst);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Waits for what comes soon, or never.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(waited.is_ok(), "not in half a minute: {what}");
}

pub(super) fn empty_store() -> Arc<Store> {
    store_with(Settings::default())
}

pub(super) fn store_with(settings: Settings) -> Arc<Store> {
    let clock = Arc::new(DefaultTimeProvider);
    Arc::new(Store::new(Ok(crypto()), clock, settings))
}

/// A workload of ours, which believes the root.
pub(crate) fn store(root: &Authority) -> Arc<Store> {
    let store = empty_store();
    let ours = root.workload(REVIEWS);
    store.offer(&ours.material(&[root])).unwrap();
    store
}

pub(crate) fn exactly(uri: &str) -> PeerRule {
    let exact = StringMatcher::Exact(uri.as_bytes().into());
    PeerRule::OneOf([SanMatcher::Uri(exact)].into())
}

pub(super) fn is_reviews() -> PeerRule {
    exactly(REVIEWS)
}

pub(super) fn client_terms(peer: PeerRule) -> ClientTerms {
    ClientTerms {
        who: "cluster outbound|9080||reviews".into(),
        identity: Some(CertName::Workload),
        roots: RootName::Workload,
        min: TlsVersion::V1_2,
        peer,
        sni: Some("outbound_.9080_._.reviews.default.svc.cluster.local".into()),
        alpn: Alpn::Istio,
    }
}

pub(super) fn client(store: &Arc<Store>, peer: PeerRule) -> Client {
    Client::new(&client_terms(peer).into(), store).unwrap()
}

pub(crate) fn server_terms(client: ClientAuth) -> ServerTerms {
    ServerTerms {
        who: "chain 0.0.0.0_9080".into(),
        identity: CertName::Workload,
        client,
        alpn: Alpn::accepted(),
        min: TlsVersion::V1_2,
        max: TlsVersion::V1_3,
    }
}

pub(super) fn server(store: &Arc<Store>, peer: PeerRule) -> Server {
    Server::new(
        &server_terms(ClientAuth::Required {
            roots: RootName::Workload,
            peer,
        })
        .into(),
        store,
    )
    .unwrap()
}

/// A server that shows this, and takes every client of the root.
pub(super) fn their_server(
    shown: &Leaf,
    root: &Authority,
    version: &'static SupportedProtocolVersion,
) -> ServerConfig {
    let provider = crypto().provider;
    let mut roots = RootCertStore::empty();
    roots.add(root.der()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown.certified())))
}

/// A server that shows this, and asks for nobody.
pub(super) fn their_anonymous_server(shown: &Leaf) -> ServerConfig {
    ServerConfig::builder_with_provider(crypto().provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown.certified())))
}

/// A client that shows this, or nothing, and takes every server.
pub(crate) fn their_client(
    shown: Option<&Leaf>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(crypto().provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    match shown {
        Some(leaf) => {
            let key = SingleCertAndKey::from(leaf.certified());
            builder.with_client_cert_resolver(Arc::new(key))
        }
        None => builder.with_no_client_auth(),
    }
}

pub(super) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(connecting, listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

/// What came of one connection: a stream over which a word went, or why not.
pub(super) struct Met {
    pub(super) proof: Proof,
    /// What the end that is not ours says of the handshake.
    pub(super) theirs: HandshakeKind,
    pub(super) alpn: Option<Vec<u8>>,
}

impl fmt::Debug for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "met {:?}", self.proof)
    }
}

/// Our client meets a server.
pub(super) async fn calls(
    client: &Client,
    theirs: &Arc<ServerConfig>,
    protocol: Protocol,
) -> Result<Met, TlsError> {
    let (tcp, socket) = sockets().await;
    let acceptor = TlsAcceptor::from(Arc::clone(theirs));
    let answering = async move {
        let mut stream = acceptor.accept(socket).await.ok()?;
        stream.write_all(b"word").await.ok()?;
        stream.shutdown().await.ok()?;
        stream.get_ref().1.handshake_kind()
    };
    let calling = async {
        let (mut stream, proof) = client.connect(tcp, protocol).await?;
        let mut word = Vec::new();
        stream.read_to_end(&mut word).await.unwrap();
        assert_eq!(word, b"word");
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok((proof, alpn))
    };
    let (called, answered) = tokio::join!(calling, answering);
    called.map(|(proof, alpn)| Met {
        proof,
        theirs: answered.unwrap(),
        alpn,
    })
}

pub(super) async fn hello(tcp: TcpStream) -> Hello {
    match arrival(tcp).await.unwrap() {
        Arrived::Tls(hello) => *hello,
        Arrived::Plaintext(_) => panic!("this is TLS"),
    }
}

/// A client meets our server. The other end's error is beside ours.
pub(super) async fn is_called(
    server: &Server,
    theirs: &Arc<ClientConfig>,
) -> Result<Met, (TlsError, String)> {
    let (socket, tcp) = sockets().await;
    let connector = TlsConnector::from(Arc::clone(theirs));
    let calling = async move {
        let name = ServerName::try_from("reviews").unwrap();
        let mut stream = connector.connect(name, socket).await?;
        let mut word = Vec::new();
        stream.read_to_end(&mut word).await?;
        assert_eq!(word, b"word");
        std::io::Result::Ok(stream.get_ref().1.handshake_kind().unwrap())
    };
    let answering = async {
        let (mut stream, proof) = server.accept(hello(tcp).await).await?;
        stream.write_all(b"word").await.unwrap();
        stream.shutdown().await.unwrap();
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok((proof, alpn))
    };
    let (called, answered) = tokio::join!(calling, answering);
    match answered {
        Ok((proof, alpn)) => Ok(Met {
            proof,
            theirs: called.unwrap(),
            alpn,
        }),
        // Whatever their handshake said, not a word came through.
        Err(error) => Err((error, called.unwrap_err().to_string())),
    }
}

/// Takes every server.
#[derive(Debug)]
struct Anybody;

fn algorithms() -> WebPkiSupportedAlgorithms {
    crypto().provider.signature_verification_algorithms
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, der, signed, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, der, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
