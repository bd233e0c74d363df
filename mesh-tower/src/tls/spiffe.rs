//! The workload's certificate by SPIFFE's Workload API, as SPIRE's agent serves it.

mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_core::identity::{SpiffeId, TrustDomain};
use mesh_xds::link::{Local, told};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::keys::{Identity, InvalidPem, Material, PrivateKey};
use super::own::Rejected;
use super::pause::Pauses;
use super::provider::{CertificateProvider, Certificates, Feeding};
use super::roots::{Roots, in_der};
use wire::{FETCH_X509_SVID, X509SvidRequest, X509SvidResponse};

/// How long the first answer may take before it is said that it does not come; it is waited for in any case.
const ANSWER: Duration = Duration::from_secs(10);

/// The workload's certificate by the SPIFFE Workload API (`FetchX509SVID`), as SPIRE's agent serves it on a socket of the
/// machine.
///
/// Each update is taken as a whole: the certificate with its key, the authorities of its trust domain, and those of the
/// domains that are federated with. Each authority vouches for its own domain alone ([`Roots::by_trust_domain`]). What is not
/// good leaves the one before, as does an agent that is away; it is asked again. A bundle of a domain that is federated with
/// and that is no good is left out alone: nobody of that domain is believed. Revocation lists are not served: an update that
/// has one is refused.
///
/// The socket is not verified: its file mode says who may serve it.
///
/// ```
/// let builder = mesh_tower::Mesh::builder()
///     .certificates(mesh_tower::WorkloadApi::new("/run/spire/sockets/agent.sock"));
/// # drop(builder);
/// ```
#[derive(Debug, Clone)]
pub struct WorkloadApi {
    path: Arc<Path>,
    id: Option<SpiffeId>,
}

#[derive(Debug, thiserror::Error)]
enum WorkloadApiError {
    #[error("{0:?} is no path of a socket; give an absolute one")]
    Path(Arc<Path>),
    #[error("the SPIFFE agent at {0:?}: {1}; it is asked again")]
    Call(Arc<Path>, String),
    #[error(
        "the SPIFFE agent at {0:?} has no identity for this process: {1}; register the workload (with SPIRE: `spire-server entry create`). It is asked again"
    )]
    Unknown(Arc<Path>, String),
    #[error("the SPIFFE agent at {0:?} has not answered for {ANSWER:?}")]
    Late(Arc<Path>),
    #[error("the SPIFFE agent at {0:?}: its update is refused: {1}")]
    Refused(Arc<Path>, Fault),
}

/// What is wrong with an update.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it holds no identity")]
    Nobody,
    #[error("it holds no identity {0}, which was asked for; it holds {1:?}")]
    NotThis(SpiffeId, Vec<String>),
    #[error("its crl is not served: nothing is revoked by lists here")]
    Crl,
    #[error("{0}: {1}")]
    Part(&'static str, InvalidPem),
    #[error("{0:?} is no id of a trust domain")]
    Domain(String),
    #[error("{0}")]
    Rejected(#[from] Rejected),
}

impl WorkloadApi {
    /// The agent's socket, by its absolute path (`SPIFFE_ENDPOINT_SOCKET` without `unix://`); whether somebody listens there is
    /// seen when the mesh runs.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into().into(),
            id: None,
        }
    }

    /// Which identity is taken where the agent has several for this process. By default the first, as SPIFFE says.
    #[must_use]
    pub fn identity(self, id: SpiffeId) -> Self {
        Self {
            id: Some(id),
            ..self
        }
    }

    async fn follow(&self, to: &Certificates) {
        let Some(local) = Local::new(&self.path) else {
            to.failed(&WorkloadApiError::Path(Arc::clone(&self.path)));
            return;
        };
        let mut pauses = Pauses::new();
        loop {
            let (ended, was_good) = self.session(&local, to).await;
            to.failed(&ended);
            if was_good {
                pauses.reset();
            }
            pauses.wait().await;
        }
    }

    /// Until the stream ends; and whether an update of it was taken.
    async fn session(&self, local: &Local, to: &Certificates) -> (WorkloadApiError, bool) {
        let path = || Arc::clone(&self.path);
        let failed = |status: &Status| match status.code() {
            // SPIFFE Workload API, 5.4.
            Code::PermissionDenied => WorkloadApiError::Unknown(path(), told(status)),
            _ => WorkloadApiError::Call(path(), told(status)),
        };
        let (request, asked) = mpsc::channel(1);
        drop(request.try_send(X509SvidRequest {}));
        // There is one request.
        drop(request);
        let mut opening = std::pin::pin!(local.stream(FETCH_X509_SVID, asked));
        let opened = match timeout(ANSWER, &mut opening).await {
            Ok(opened) => opened,
            Err(_) => {
                to.failed(&WorkloadApiError::Late(path()));
                opening.await
            }
        };
        let mut updates = match opened {
            Ok(updates) => updates,
            Err(status) => return (failed(&status), false),
        };
        let mut was_good = false;
        loop {
            match updates.message().await {
                Ok(Some(update)) => match self.take(update, to) {
                    Ok(()) => was_good = true,
                    Err(fault) => to.failed(&WorkloadApiError::Refused(path(), fault)),
                },
                Ok(None) => return (failed(&Status::unavailable("the stream ended")), was_good),
                Err(status) => return (failed(&status), was_good),
            }
        }
    }

    fn take(&self, mut update: X509SvidResponse, to: &Certificates) -> Result<(), Fault> {
        if !update.crl.is_empty() {
            return Err(Fault::Crl);
        }
        let chosen = update.svids.iter().position(|svid| match &self.id {
            Some(id) => svid.spiffe_id == id.as_str(),
            None => true,
        });
        let Some(svid) = chosen.map(|at| &mut update.svids[at]) else {
            let ids = update.svids.iter().map(|svid| svid.spiffe_id.clone());
            let ids: Vec<String> = ids.take(4).collect();
            return Err(match &self.id {
                Some(id) => Fault::NotThis(id.clone(), ids),
                None => Fault::Nobody,
            });
        };
        let key = PrivateKey::from_pkcs8(std::mem::take(&mut svid.x509_svid_key));
        let identity = Identity::from_der(&svid.x509_svid, key);
        let identity = identity.map_err(|error| Fault::Part("x509_svid", error))?;
        let id: Result<SpiffeId, _> = svid.spiffe_id.parse();
        let id = id.map_err(|_| Fault::Domain(svid.spiffe_id.clone()))?;
        let mut bundles = vec![bundle(id.trust_domain(), &svid.bundle)?];
        for (id, der) in &update.federated_bundles {
            match bundle(id.strip_prefix("spiffe://").unwrap_or(id), der) {
                Ok(bundle) => bundles.push(bundle),
                // It is somebody else's to mend, and must not cost us our own certificate.
                Err(fault) => tracing::error!(
                    path = %self.path.display(), %fault,
                    "a bundle that is federated with is left out: nobody of its trust domain is believed"
                ),
            }
        }
        let roots = Roots::bound(bundles).map_err(|error| Fault::Part("its bundles", error))?;
        let whence = format!("the SPIFFE agent at {}", self.path.display());
        Ok(to.offer(&Material::new(identity, roots, whence).of(id))?)
    }
}

/// The authorities of one trust domain.
fn bundle(domain: &str, der: &[u8]) -> Result<(TrustDomain, Vec<CertificateDer<'static>>), Fault> {
    let name = domain.parse();
    let name = name.map_err(|_| Fault::Domain(domain.to_owned()))?;
    let all = in_der(der)
        .map_err(|error| Fault::Part("a bundle", InvalidPem(format!("of {domain:?}: {error}"))))?;
    Ok((name, all))
}

impl CertificateProvider for WorkloadApi {
    fn feed(self: Arc<Self>, to: Certificates) -> Feeding {
        Box::pin(async move { self.follow(&to).await })
    }
}
