//! The same services over TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mesh_core::identity::SpiffeId;
use mesh_tower::{
    CertificateProvider, Certificates, Feeding, Identity, ListenError, Material, Mesh, PrivateKey,
    Roots, Serving,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::service::Routes;

use crate::StartError;
use crate::ca::Authority;

/// Who the control plane is, below its trust domain: as istiod.
const WORKLOAD: &str = "ns/istio-system/sa/istiod";
/// How long is slept at most: a timer stands still while the machine is suspended, and the life of a certificate does not.
const NAP: Duration = Duration::from_secs(60);

/// Where TLS is served, and what is shown there.
///
/// With an authority ([`Options::authority`](crate::Options::authority)) clients are asked for a certificate of the mesh.
/// Who shows one has proven by it who it is, and gets the next one for it; who shows none is taken, too, and needs a token
/// for a certificate. A certificate that is no good ends the handshake. Without an authority nobody is asked. No session is
/// resumed.
#[derive(Debug, Clone)]
pub struct Tls {
    listen: SocketAddr,
    shown: Shown,
}

#[derive(Debug, Clone)]
enum Shown {
    OfAuthority(Vec<String>),
    Files(PathBuf, PathBuf),
}

impl Tls {
    /// Shows a certificate of the authority for these names of hosts and addresses: those by which clients call, such as
    /// `istiod.istio-system.svc`. Its key stays in memory, and it is renewed at half of its life, which is 24 hours, or less where the authority signs for less.
    pub fn of_authority(listen: SocketAddr, hosts: impl IntoIterator<Item = String>) -> Self {
        Self {
            listen,
            shown: Shown::OfAuthority(hosts.into_iter().collect()),
        }
    }

    /// Shows the certificate of these PEM files: the certificate with its chain behind it, and its key. They are looked at
    /// again when a client connects.
    pub fn files(listen: SocketAddr, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            shown: Shown::Files(chain.into(), key.into()),
        }
    }

    pub(crate) async fn start(
        self,
        authority: Option<Arc<Authority>>,
        routes: Routes,
    ) -> Result<Secure, StartError> {
        let (serving, hosts) = match self.shown {
            Shown::OfAuthority(hosts) if authority.is_some() => (Serving::workload(), hosts),
            Shown::OfAuthority(_) => {
                let missing = "it is to be signed by the authority, and there is none: give one (--authority), or a certificate (--tls-cert)";
                return Err(StartError::Certificate(missing.to_owned()));
            }
            Shown::Files(chain, key) => {
                readable(&chain)?;
                readable(&key)?;
                (Serving::files(&chain, &key), Vec::new())
            }
        };
        let builder = Mesh::builder();
        let mesh = match authority {
            None => builder.serving(serving).build()?,
            Some(authority) => {
                let (tell, told) = oneshot::channel();
                let own = Own {
                    id: own_id(&authority)?,
                    authority,
                    hosts,
                    tell: Mutex::new(Some(tell)),
                };
                let builder = builder.serving(serving.asking());
                let mesh = builder.certificates(own).build()?;
                // The first client must find it.
                let offered = told.await.map_err(|error| error.to_string());
                offered
                    .and_then(|offered| offered)
                    .map_err(StartError::Certificate)?;
                mesh
            }
        };
        let listener = mesh.listen(&self.listen.to_string()).await?;
        let address = listener.local_addr();
        tracing::info!(%address, "serving over TLS");
        Ok(Secure {
            address,
            mesh,
            server: tokio::spawn(listener.serve(routes.prepare())),
        })
    }
}

/// Told at the start: what is missing is a slip of who starts it.
fn readable(file: &Path) -> Result<(), StartError> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(()),
        Err(error) => Err(StartError::Certificate(format!(
            "{} cannot be read: {error}",
            file.display()
        ))),
    }
}

fn own_id(authority: &Authority) -> Result<SpiffeId, StartError> {
    let id = format!("spiffe://{}/{WORKLOAD}", authority.trust_domain());
    id.parse()
        .map_err(|error| StartError::Certificate(format!("{id}: {error}")))
}

/// What serves.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) address: SocketAddr,
    pub(crate) mesh: Mesh,
    server: JoinHandle<Result<(), ListenError>>,
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The control plane's own certificate, by its own authority.
struct Own {
    authority: Arc<Authority>,
    id: SpiffeId,
    hosts: Vec<String>,
    /// Hears of the first one.
    tell: Mutex<Option<oneshot::Sender<Result<(), String>>>>,
}

impl Own {
    fn offer(&self, to: &Certificates) -> Result<(), String> {
        let now = SystemTime::now();
        let life = self.authority.usual();
        let issued = self.authority.issue_for(&self.id, &self.hosts, life, now);
        let issued = issued.map_err(|error| error.to_string())?;
        let read = || {
            let key = PrivateKey::from_pem(issued.key().as_bytes())?;
            let identity = Identity::from_pem(issued.chain().as_bytes(), key)?;
            let roots = Roots::from_pem(issued.roots().as_bytes())?;
            Ok(Material::new(
                identity,
                roots,
                "the control plane's own authority",
            ))
        };
        let material = read().map_err(|error: mesh_tower::InvalidPem| error.to_string())?;
        to.offer(&material).map_err(|error| error.to_string())
    }
}

impl CertificateProvider for Own {
    fn feed(self: Arc<Self>, to: Certificates) -> Feeding {
        Box::pin(async move {
            loop {
                let since = SystemTime::now();
                let offered = self.offer(&to);
                if let Err(error) = &offered {
                    to.failed(error);
                }
                let due = match &offered {
                    Ok(()) => self.authority.usual() / 2,
                    Err(_) => NAP,
                };
                let tell = self
                    .tell
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                if let Some(tell) = tell {
                    // Nobody waits for it any more.
                    let _ = tell.send(offered);
                }
                while since.elapsed().is_ok_and(|age| age < due) {
                    sleep(NAP.min(due)).await;
                }
            }
        })
    }
}
