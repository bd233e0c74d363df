//! The workload's certificate from the socket on which Istio's agent serves Envoy's secret discovery service (SDS).

mod held;
mod secret;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use mesh_xds::link::Local;

use super::pause::Pauses;
use super::provider::{CertificateProvider, Certificates, Feeding};
use held::Held;
use watch::{SdsError, Which};

/// Where Istio's agent listens (`WorkloadIdentitySocketPath`).
const ISTIO: &str = "/var/run/secrets/workload-spiffe-uds/socket";

/// The workload's certificate from a socket with Envoy's secret discovery service, as Istio's agent serves it to the proxy
/// beside it (`WORKLOAD_IDENTITY_SOCKET_FILE`).
///
/// It asks for the secrets `default`, the certificate with its key, and `ROOTCA`, whom to believe, and takes what is pushed. The
/// two come one by one: they are taken when they belong together. A secret that is wrong is refused (NACK) with the reason, and
/// the one before stays, as it does while nobody listens on the socket; it is then tried again.
///
/// The socket is not verified: its file mode says who may serve it.
///
/// ```
/// let builder = mesh_tower::Mesh::builder().certificates(mesh_tower::Sds::default());
/// # drop(builder);
/// ```
#[derive(Debug, Clone)]
pub struct Sds {
    path: Arc<Path>,
}

impl Sds {
    /// A socket, by its absolute path; whether somebody listens there is seen when the mesh runs.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into().into(),
        }
    }

    async fn follow(&self, to: &Certificates) {
        let Some(local) = Local::new(&self.path) else {
            to.failed(&SdsError::Path(Arc::clone(&self.path)));
            return;
        };
        let held = Mutex::new(Held::new(&self.path));
        let mut pauses = Pauses::new();
        loop {
            let answered = AtomicBool::new(false);
            let took = || answered.store(true, Relaxed);
            let watch = |which| watch::follow(which, &local, &held, to, took);
            // A stream for each, as Envoy has; the end of one is the agent's.
            let ended = tokio::select! {
                ended = watch(Which::Pair) => ended,
                ended = watch(Which::Roots) => ended,
            };
            to.failed(&ended);
            if answered.into_inner() {
                pauses.reset();
            }
            pauses.wait().await;
        }
    }
}

/// The socket of Istio's agent in a pod: `/var/run/secrets/workload-spiffe-uds/socket`.
impl Default for Sds {
    fn default() -> Self {
        Self::new(ISTIO)
    }
}

impl CertificateProvider for Sds {
    fn feed(self: Arc<Self>, to: Certificates) -> Feeding {
        Box::pin(async move { self.follow(&to).await })
    }
}
