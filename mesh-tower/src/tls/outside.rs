//! TLS towards hosts outside of the mesh: verified by the host's name against the platform's roots.

use std::fmt;
use std::io;
use std::sync::Arc;

use mesh_core::cluster::Protocol;
use mesh_core::identity::TrustDomain;
use mesh_core::request::without_brackets;
pub use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use super::registry::Revocation;

/// A stream that is encrypted and whose peer is verified.
pub(crate) type Stream = tokio_rustls::client::TlsStream<TcpStream>;

const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// What a builder may say of TLS.
#[derive(Default, Clone)]
pub(crate) struct Settings {
    pub(crate) provider: Option<Arc<CryptoProvider>>,
    /// Certificates of authorities that are trusted beside the platform's.
    roots: Vec<CertificateDer<'static>>,
    /// Of our trust domain.
    pub(crate) aliases: Box<[TrustDomain]>,
    pub(crate) revocation: Revocation,
}

/// TLS to the outside. The platform's roots are read at the first call that needs them.
#[derive(Debug)]
pub(crate) struct Outbound {
    settings: Settings,
    configs: OnceCell<Configs>,
}

/// One for each list of protocols that a connection offers.
struct Configs {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    either: Arc<ClientConfig>,
}

impl Settings {
    /// Adds the authorities of a PEM text; says what is wrong with it.
    pub(crate) fn add_roots(&mut self, pem: &[u8]) -> Result<(), String> {
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let roots = parsed.map_err(|error| format!("not valid PEM: {error:?}"))?;
        if roots.is_empty() {
            return Err("the text holds no CERTIFICATE block".to_owned());
        }
        for (at, root) in roots.iter().enumerate() {
            let mut store = RootCertStore::empty();
            store
                .add(root.clone())
                .map_err(|error| format!("certificate {} of the text: {error}", at + 1))?;
        }
        self.roots.extend(roots);
        Ok(())
    }

    /// The platform's authorities and those of our own.
    pub(super) fn trusted(&self) -> Result<RootCertStore, String> {
        trusted(self.roots.clone())
    }
}

impl Outbound {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            configs: OnceCell::new(),
        }
    }

    /// Puts TLS on a connection. `None` offers both versions of HTTP; what the server has chosen is returned.
    pub(crate) async fn connect(
        &self,
        host: &str,
        offer: Option<Protocol>,
        stream: TcpStream,
    ) -> io::Result<(Stream, Protocol)> {
        let configs = self.configs().await?;
        let config = match offer {
            Some(Protocol::Http1) => &configs.http1,
            Some(Protocol::Http2) => &configs.http2,
            None => &configs.either,
        };
        let name = ServerName::try_from(without_brackets(host))
            .map_err(|_| io::Error::other("the host is no name that a certificate could hold"))?
            .to_owned();
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await?;
        let chosen = match stream.get_ref().1.alpn_protocol() {
            Some(H2) => Protocol::Http2,
            // A server that chooses nothing speaks what it always has.
            _ => Protocol::Http1,
        };
        Ok((stream, chosen))
    }

    async fn configs(&self) -> io::Result<&Configs> {
        self.configs
            .get_or_try_init(|| async {
                let settings = self.settings.clone();
                // The platform's roots are files.
                tokio::task::spawn_blocking(move || Configs::new(settings))
                    .await
                    .map_err(io::Error::other)?
                    .map_err(io::Error::other)
            })
            .await
    }
}

impl Configs {
    fn new(settings: Settings) -> Result<Self, String> {
        let Settings {
            provider,
            roots: own,
            ..
        } = settings;
        let base = ClientConfig::builder_with_provider(self::provider(provider)?)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("the cryptography cannot do TLS: {error}"))?
            .with_root_certificates(trusted(own)?)
            .with_no_client_auth();
        let offering = |protocols: &[&[u8]]| {
            let mut config = base.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            http1: offering(&[HTTP_1_1]),
            http2: offering(&[H2]),
            either: offering(&[H2, HTTP_1_1]),
        })
    }
}

/// The platform's authorities and those of our own.
fn trusted(own: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let platform = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // What a platform keeps beside usable certificates is no reason to trust none.
    roots.add_parsable_certificates(platform.certs);
    roots.add_parsable_certificates(own);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let mut reason = "there are no root certificates on this platform (SSL_CERT_FILE and SSL_CERT_DIR name other places), and the builder was given no `outside_roots`".to_owned();
    if let Some(error) = platform.errors.first() {
        reason.push_str(&format!(": {error}"));
    }
    Err(reason)
}

/// The cryptography that is given, else the process's, else the one compiled in.
pub(super) fn provider(
    given: Option<Arc<CryptoProvider>>,
) -> Result<Arc<CryptoProvider>, &'static str> {
    let provider = given.or_else(|| CryptoProvider::get_default().cloned());
    provider.or_else(compiled_in).ok_or(
        "there is no cryptography for TLS: switch on the feature `aws-lc-rs` or `ring` of mesh-tower, or give the builder a `crypto_provider`",
    )
}

fn compiled_in() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "aws-lc-rs")]
    return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    None
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Configs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Configs")
    }
}
