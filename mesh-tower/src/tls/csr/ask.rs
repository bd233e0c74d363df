//! One call of the authority: connected, verified, then told the token.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::{provider, read};
use crate::tls::keys::Roots;

const PATH: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// A chain of a few certificates; nothing else is read.
const LONGEST: usize = 1 << 20;

/// `IstioCertificateRequest` (Istio's `api/security/v1alpha1/ca.proto`).
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Asked {
    #[prost(string, tag = "1")]
    csr: String,
    #[prost(int64, tag = "3")]
    validity_duration: i64,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answer {
    /// PEM texts: the leaf, what leads up from it, the roots.
    #[prost(string, repeated, tag = "1")]
    pub(super) cert_chain: Vec<String>,
}

impl Asked {
    pub(super) fn new(csr: String, ttl: Duration) -> Self {
        let validity_duration = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        Self {
            csr,
            validity_duration,
        }
    }
}

/// Where the authority is, and how it is known to be it.
#[derive(Debug, Clone)]
pub(super) enum Link {
    /// On this machine, in plaintext.
    Here(SocketAddr),
    /// Over TLS.
    Tls {
        host: Arc<str>,
        port: u16,
        name: ServerName<'static>,
        roots: PathBuf,
    },
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(address) => address.fmt(f),
            Self::Tls { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

impl Link {
    /// Asks for one certificate, on a connection of its own: it is asked for once in hours.
    pub(super) async fn ask(
        &self,
        asked: Asked,
        token: &str,
        cluster: Option<&str>,
    ) -> Result<Answer, String> {
        let mut request = Request::new(asked);
        let bearer = MetadataValue::try_from(format!("Bearer {token}"));
        let mut bearer: AsciiMetadataValue =
            bearer.map_err(|_| "the token is no text that can be sent".to_owned())?;
        // It is not shown where a request is.
        bearer.set_sensitive(true);
        request.metadata_mut().insert("authorization", bearer);
        if let Some(cluster) = cluster {
            let cluster = cluster.parse();
            let cluster =
                cluster.map_err(|_| "the cluster's name is no text that can be sent".to_owned())?;
            request.metadata_mut().insert("clusterid", cluster);
        }
        // The scheme is plain for tonic, which has no TLS: the connector brings it.
        let endpoint = Endpoint::from_shared(format!("http://{}", self.authority()))
            .map_err(|error| error.to_string())?;
        let dial = Dial {
            link: self.clone(),
            config: self.config().await?,
        };
        // Handshake and verification are over when this returns.
        let channel = endpoint.connect_with_connector(dial).await;
        let channel = channel.map_err(|error| chain(&error))?;
        let mut client = Grpc::new(channel).max_decoding_message_size(LONGEST);
        client.ready().await.map_err(|error| chain(&error))?;
        let codec: ProstCodec<Asked, Answer> = ProstCodec::default();
        let path = http::uri::PathAndQuery::from_static(PATH);
        let answer = client.unary(request, path, codec).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| refused(&status))
    }

    fn authority(&self) -> String {
        match self {
            Self::Here(address) => address.to_string(),
            Self::Tls { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tls { host, port, .. } => format!("{host}:{port}"),
        }
    }

    /// By whom the authority's own certificate must be signed; the roots may have changed since the last time.
    async fn config(&self) -> Result<Option<Arc<ClientConfig>>, String> {
        let Self::Tls { roots: file, .. } = self else {
            return Ok(None);
        };
        let roots = read(file).await?;
        let named = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
        let roots = Roots::from_pem(&roots).map_err(|error| named(&error))?;
        let roots = roots.store().map_err(|error| named(&error))?;
        let config = ClientConfig::builder_with_provider(provider()?)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Some(Arc::new(config)))
    }
}

/// The words of the authority; they come from somewhere else and go to a log.
fn refused(status: &Status) -> String {
    let words: String = status.message().chars().take(500).collect();
    format!("it refuses: {:?}: {words:?}", status.code())
}

/// An error with its reasons: tonic's own first line says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// Connects, and over TLS verifies.
struct Dial {
    link: Link,
    config: Option<Arc<ClientConfig>>,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

type Connection = TokioIo<Box<dyn Duplex>>;

impl Service<Uri> for Dial {
    type Response = Connection;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (link, config) = (self.link.clone(), self.config.clone());
        Box::pin(async move {
            let stream: Box<dyn Duplex> = match (link, config) {
                (Link::Here(address), _) => Box::new(TcpStream::connect(address).await?),
                (
                    Link::Tls {
                        host, port, name, ..
                    },
                    Some(config),
                ) => {
                    let tcp = TcpStream::connect((&*host, port)).await?;
                    Box::new(TlsConnector::from(config).connect(name, tcp).await?)
                }
                (Link::Tls { .. }, None) => return Err(io::Error::other("no roots were read")),
            };
            Ok(TokioIo::new(stream))
        })
    }
}
