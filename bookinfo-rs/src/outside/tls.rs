//! A client that speaks TLS and stands outside the mesh: it asks a server for a name, and keeps what it is shown.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SignatureScheme, sign::CertifiedKey};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Reply;

mod mesh;

/// For a handshake, and for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A client with one set of roots, which makes a connection for each request.
#[derive(Debug, Clone)]
pub struct OutsideTls {
    config: Arc<ClientConfig>,
}

/// An answer over TLS.
#[derive(Debug, Clone)]
pub struct Secured {
    /// The answer.
    pub reply: Reply,
    /// The server's certificate, as DER.
    pub certificate: Vec<u8>,
}

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates or keys.
    #[error("{0}")]
    File(String),
    /// The connection, the handshake, or what came after it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// TLS cannot be set up.
    #[error("{0}")]
    Setup(#[from] rustls::Error),
    /// A name that no server can have.
    #[error("{0:?} is no name of a server")]
    Name(String),
    /// HTTP broke off.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("the request is not one: {0}")]
    Request(#[from] http::Error),
    /// Nothing came.
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
}

/// A client's own certificate, which it shows whoever asks: what a server's authorities are is the server's to judge.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl OutsideTls {
    /// One that believes what the roots in `roots` (PEM) have signed, and shows the certificate of `own` (a chain and its
    /// key, PEM) where it has one.
    ///
    /// # Errors
    /// When a file cannot be read, or holds something else.
    pub fn new(roots: &Path, own: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for root in certificates(roots)? {
            store.add(root)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let own = own.map(|(chain, key)| certified(chain, key, &provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        let config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(Own(own?))),
            None => builder.with_no_client_auth(),
        };
        Ok(Self::of(config))
    }

    /// One that calls workloads of a mesh with the certificate in `folder`, as another workload does.
    ///
    /// # Errors
    /// When a file cannot be read, or holds something else.
    pub fn workload(folder: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let own = certified(
            &folder.join("cert-chain.pem"),
            &folder.join("key.pem"),
            &provider,
        )?;
        let roots = certificates(&folder.join("root-cert.pem"))?;
        let verifier = mesh::InMesh::new(roots, Arc::clone(&provider))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(Own(own)));
        config.alpn_protocols = ["istio-http/1.1", "istio"]
            .map(|name| name.as_bytes().to_vec())
            .into();
        Ok(Self::of(config))
    }

    fn of(mut config: ClientConfig) -> Self {
        // Each connection is to show what the server has now.
        config.resumption = rustls::client::Resumption::disabled();
        Self {
            config: Arc::new(config),
        }
    }

    /// The certificate that a server shows to who asks for `name`.
    ///
    /// # Errors
    /// When there is no handshake.
    pub async fn shown(&self, address: SocketAddr, name: &str) -> Result<Vec<u8>, TlsError> {
        let connected = tokio::time::timeout(TIMEOUT, self.connect(address, name)).await;
        connected.map_err(|_| TlsError::Timeout)??.certificate()
    }

    /// Sends `GET https://name/path` to an address.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn get(
        &self,
        address: SocketAddr,
        name: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Secured, TlsError> {
        let asked = tokio::time::timeout(TIMEOUT, self.ask(address, name, path, headers)).await;
        asked.map_err(|_| TlsError::Timeout)?
    }

    async fn ask(
        &self,
        address: SocketAddr,
        name: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Secured, TlsError> {
        let connected = self.connect(address, name).await?;
        let certificate = connected.certificate()?;
        let io = TokioIo::new(connected.0);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let mut request = Request::get(path).body(Full::<Bytes>::default())?;
        *request.headers_mut() = headers.clone();
        if let Ok(host) = HeaderValue::from_str(name) {
            request.headers_mut().insert(HOST, host);
        }
        let answered = async {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Reply {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        let mut answered = std::pin::pin!(answered);
        // Whichever ends first: an answer that is there counts, however the connection ends after it.
        let reply = tokio::select! {
            biased;
            reply = &mut answered => reply?,
            ended = connection => {
                ended?;
                answered.await?
            }
        };
        Ok(Secured { reply, certificate })
    }

    async fn connect(&self, address: SocketAddr, name: &str) -> Result<Connected, TlsError> {
        let server = ServerName::try_from(name.to_owned());
        let server = server.map_err(|_| TlsError::Name(name.to_owned()))?;
        let tcp = TcpStream::connect(address).await?;
        let _ = tcp.set_nodelay(true);
        let connector = TlsConnector::from(Arc::clone(&self.config));
        Ok(Connected(connector.connect(server, tcp).await?))
    }
}

struct Connected(TlsStream<TcpStream>);

impl Connected {
    fn certificate(&self) -> Result<Vec<u8>, TlsError> {
        let (_, session) = self.0.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.ok_or(rustls::Error::NoCertificatesPresented)?;
        Ok(leaf.to_vec())
    }
}

fn certified(
    chain: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let private = PrivateKeyDer::from_pem_file(key).map_err(of_file(key))?;
    let own = CertifiedKey::from_der(certificates(chain)?, private, provider)?;
    Ok(Arc::new(own))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).map_err(of_file(path))?;
    all.collect::<Result<_, _>>().map_err(of_file(path))
}

fn of_file(path: &Path) -> impl Fn(rustls::pki_types::pem::Error) -> TlsError {
    move |error| TlsError::File(format!("{}: {error}", path.display()))
}
