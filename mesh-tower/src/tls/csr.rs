//! The workload's certificate from an authority that speaks Istio's protocol: the key is made here and stays here.

mod ask;
mod due;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::ServerName;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use zeroize::{Zeroize, Zeroizing};

use self::ask::{Answer, Asked, Link};
use self::due::{Due, Pause, now};
use super::keys::{Identity, Material, PrivateKey, Roots, certificates};
use super::provider::{CertificateProvider, Certificates, Feeding};
use super::{cert, outside};

/// How long a certificate is asked for: what Istio's agent asks for (`SECRET_TTL`).
const TTL: Duration = Duration::from_hours(24);
/// How long the authority may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The workload's certificate from an authority: istiod, or mesh-tower's own control plane
/// (`istio.v1.auth.IstioCertificateService`). A token says who we are; it is read anew each time. At half of its life the
/// certificate is replaced, with a new key; until that succeeds the one before stays.
///
/// ```no_run
/// use mesh_tower::{Csr, Mesh};
///
/// let istiod = Csr::tls(
///     "istiod.istio-system.svc:15012",
///     "/var/run/secrets/istio/root-cert.pem",
///     "/var/run/secrets/tokens/istio-token",
/// )?;
/// let builder = Mesh::builder().certificates(istiod);
/// # drop(builder);
/// # Ok::<(), mesh_tower::InvalidAuthority>(())
/// ```
#[derive(Debug, Clone)]
pub struct Csr {
    link: Link,
    token: Arc<Path>,
    ttl: Duration,
    cluster: Option<Arc<str>>,
}

/// The address of an authority that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthority {
    /// It is no address.
    #[error("{0:?} is no address of a certificate authority: write it as host:port")]
    Address(Box<str>),
    /// It is somewhere else.
    #[error(
        "the certificate authority at {0} is not on this machine: a token would cross the network in plaintext; call it by Csr::tls"
    )]
    Far(SocketAddr),
}

impl Csr {
    /// An authority that is called over TLS, as `host:port`, judged by the roots of a PEM file and by the name `host`. The
    /// token is sent when that is done. Both files are read anew each time.
    ///
    /// # Errors
    /// When the address is none.
    pub fn tls(
        authority: &str,
        roots: impl AsRef<Path>,
        token: impl AsRef<Path>,
    ) -> Result<Self, InvalidAuthority> {
        let invalid = || InvalidAuthority::Address(authority.into());
        let (host, port) = authority.rsplit_once(':').ok_or_else(invalid)?;
        let host = mesh_core::request::without_brackets(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid())?;
        Ok(Self::new(
            Link::Tls {
                host: host.into(),
                port: port.parse().map_err(|_| invalid())?,
                name,
                roots: roots.as_ref().into(),
            },
            token.as_ref(),
        ))
    }

    /// An authority on this machine that is called in plaintext.
    ///
    /// # Errors
    /// When the address is not of the loopback interface: others could read the token.
    pub fn plaintext(
        authority: SocketAddr,
        token: impl AsRef<Path>,
    ) -> Result<Self, InvalidAuthority> {
        match authority.ip().to_canonical().is_loopback() {
            true => Ok(Self::new(Link::Here(authority), token.as_ref())),
            false => Err(InvalidAuthority::Far(authority)),
        }
    }

    fn new(link: Link, token: &Path) -> Self {
        Self {
            link,
            token: token.into(),
            ttl: TTL,
            cluster: None,
        }
    }

    /// How long certificates are asked for, in whole seconds; 24 hours by default. The authority may give less.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// The name of our cluster, by which istiod knows whose tokens these are (metadata `ClusterID`); none by default.
    #[must_use]
    pub fn cluster(self, cluster: &str) -> Self {
        Self {
            cluster: Some(cluster.into()),
            ..self
        }
    }

    async fn follow(&self, to: Certificates) {
        let mut believed = Believed::default();
        let mut pause = Pause::new();
        loop {
            let obtained = match timeout(PATIENCE, self.obtain(&mut believed)).await {
                Ok(obtained) => obtained,
                Err(_) => Err(self.failure(&format!("it does not answer within {PATIENCE:?}"))),
            };
            match obtained {
                Ok((material, due)) if to.offer(&material).is_ok() => {
                    // Not with the key in memory.
                    drop(material);
                    due.over(pause.jitter()).await;
                    pause.over(due);
                }
                // The offer said why.
                Ok(_) => sleep(pause.next()).await,
                Err(error) => {
                    to.failed(&error);
                    sleep(pause.next()).await;
                }
            }
        }
    }

    /// One certificate.
    async fn obtain(&self, believed: &mut Believed) -> Result<(Material, Due), String> {
        let key = Key(KeyPair::generate().map_err(|error| self.failure(&error.to_string()))?);
        let csr = request(&key.0).map_err(|error| self.failure(&error.to_string()))?;
        let token = self.token().await?;
        let asked = Asked::new(csr, self.ttl);
        let chain = self.link.ask(asked, &token, self.cluster.as_deref()).await;
        let Answer { cert_chain } = chain.map_err(|error| self.failure(&error))?;
        self.answered(cert_chain, &key, believed)
            .map_err(|error| self.failure(&format!("what it answered is not taken: {error}")))
    }

    fn answered(
        &self,
        mut chain: Vec<String>,
        key: &Key,
        believed: &mut Believed,
    ) -> Result<(Material, Due), String> {
        let roots = chain.pop().ok_or("it is empty")?;
        let chain = chain.concat();
        let pem = Zeroizing::new(key.0.serialize_pem());
        let private = PrivateKey::from_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
        let leaf = certificates(chain.as_bytes()).map_err(|error| error.to_string())?;
        let leaf = leaf.first().ok_or("it holds no certificate")?;
        let [_, until] = cert::holds(leaf).ok_or("its certificate cannot be read")?;
        let identity = Identity::from_pem(chain.as_bytes(), private);
        let identity = identity.map_err(|error| error.to_string())?;
        let roots = Roots::from_pem(believed.with(roots, until).as_bytes());
        let roots = roots.map_err(|error| error.to_string())?;
        Ok((
            Material::new(identity, roots, self.whence()),
            Due::of(until),
        ))
    }

    async fn token(&self) -> Result<Zeroizing<String>, String> {
        let path = Arc::clone(&self.token);
        let read = spawn_blocking(move || std::fs::read_to_string(path)).await;
        let read = read.map_err(|error| error.to_string());
        let file = self.token.display();
        let text = read.and_then(|text| text.map_err(|error| error.to_string()));
        let text = Zeroizing::new(text.map_err(|error| {
            self.failure(&format!("the token in {file} cannot be read: {error}"))
        })?);
        match text.trim() {
            "" => Err(self.failure(&format!("there is no token in {file}"))),
            token => Ok(token.to_owned().into()),
        }
    }

    fn whence(&self) -> String {
        format!("the certificate authority at {}", self.link)
    }

    fn failure(&self, reason: &str) -> String {
        format!("{}: {reason}", self.whence())
    }
}

impl CertificateProvider for Csr {
    fn feed(self: Arc<Self>, to: Certificates) -> Feeding {
        Box::pin(async move { self.follow(to).await })
    }
}

/// A new key. The cryptography overwrites its own copy.
struct Key(KeyPair);

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A request without names: the authority takes that of the token.
fn request(key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request(key)?.pem()
}

/// The roots of before, while certificates that they have signed may still be shown: when an authority changes its root,
/// others have theirs of the old one.
#[derive(Default)]
struct Believed {
    now: Option<(String, u64)>,
    before: Option<(String, u64)>,
}

impl Believed {
    /// All roots to believe, from now on that these came with a certificate that is valid until then.
    fn with(&mut self, roots: String, until: u64) -> String {
        match self.now.take() {
            Some((old, end)) if old != roots => self.before = Some((old, end)),
            _ => {}
        }
        self.before = self.before.take().filter(|(_, end)| now() < *end);
        let before = self.before.as_ref().map_or("", |(roots, _)| roots);
        let all = format!("{roots}\n{before}");
        self.now = Some((roots, until));
        all
    }
}

/// The cryptography that the process has, or that is compiled in.
fn provider() -> Result<Arc<outside::CryptoProvider>, &'static str> {
    outside::provider(None)
}

/// A file that is small, off the thread for handshakes.
async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let (path, name) = (path.to_owned(), path.display());
    match spawn_blocking(move || std::fs::read(path)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(format!("{name} cannot be read: {error}")),
        Err(error) => Err(format!("{name} cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_leave_this_machine_in_plaintext() {
        for here in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            Csr::plaintext(here.parse().unwrap(), "token").unwrap();
        }
        for far in ["10.0.0.1:1", "0.0.0.0:1", "[2001:db8::1]:1"] {
            let error = Csr::plaintext(far.parse().unwrap(), "token").unwrap_err();
            assert!(error.to_string().contains("Csr::tls"), "{error}");
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["istiod.istio-system.svc:15012", "127.0.0.1:1", "[::1]:1"] {
            Csr::tls(good, "roots", "token").unwrap();
        }
        for wrong in [
            "istiod",
            "istiod:",
            "istiod:99999",
            ":1",
            "https://istiod:1",
            "",
        ] {
            Csr::tls(wrong, "roots", "token").unwrap_err();
        }
    }

    #[test]
    fn roots_of_before_are_believed_as_long_as_what_they_signed() {
        let mut believed = Believed::default();
        let later = now() + 1000;
        assert_eq!(believed.with("A".to_owned(), later), "A\n");
        assert_eq!(believed.with("A".to_owned(), later), "A\n");
        assert_eq!(believed.with("B".to_owned(), 1), "B\nA");
        assert_eq!(believed.with("B".to_owned(), 1), "B\nA");
        // What B signed is over.
        assert_eq!(believed.with("C".to_owned(), later), "C\n");
    }

    #[test]
    fn a_request_asks_for_no_name() {
        let text = request(&KeyPair::generate().unwrap()).unwrap();
        assert!(text.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    }
}
