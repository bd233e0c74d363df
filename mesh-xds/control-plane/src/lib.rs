//! The small control plane of `mesh-tower`: a folder of Istio YAML, served over ADS in istiod's two dialects.
//!
//! ```text
//! folder -> mesh_istio::Watcher -> generation (compiled once per kind of node) -> session (sans-IO) -> tonic, on mesh.listen
//! ```
//! It is for development, tests and small meshes without Kubernetes. The real istiod is the measure of what it
//! sends. ADS in both variants, state of the world and delta. Envoy and we get CDS complete, EDS and RDS by name; gRPC's
//! own clients (`GENERATOR: grpc` in the node's metadata) get LDS, RDS, CDS and EDS by name. Other types get empty answers.
//! With [`Options::authority`] it is a certificate authority, too ([`ca`]), by istiod's protocol, and with [`Options::tls`]
//! it serves both over TLS on a second address.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut control_plane = mesh_control_plane::ControlPlane::start("mesh/", "127.0.0.1:15010".parse()?).await?;
//! println!("http://{}", control_plane.local_addr());
//! control_plane.run().await?;
//! # Ok(())
//! # }
//! ```

pub mod ca;
mod follow;
mod generation;
mod nacks;
mod options;
mod service;
mod session;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use mesh_istio::watch::Watcher;
use mesh_istio::{Loaded, Rejected};
use mesh_tower::{ListenError, Mesh};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use crate::generation::Generation;
use crate::nacks::Nacks;
pub use crate::options::Options;
use crate::service::Ads;
pub use crate::session::Nack;
use crate::tls::Secure;
pub use crate::tls::Tls;

/// The largest request that is read: an Envoy with 100,000 clusters names them all in one.
const MAX_REQUEST: usize = 32 << 20;
/// How long [`ControlPlane::shutdown`] waits for clients to take their last message.
const DRAIN: Duration = Duration::from_secs(2);

/// A running control plane. Dropping it stops it.
#[derive(Debug)]
pub struct ControlPlane {
    local_addr: SocketAddr,
    nacks: Arc<Nacks>,
    current: watch::Receiver<Arc<Generation>>,
    rejected: watch::Receiver<Option<Rejected>>,
    mesh: Mesh,
    server: JoinHandle<Result<(), ListenError>>,
    secure: Option<Secure>,
    /// Owns the sender of generations: ending it ends every stream.
    follower: JoinHandle<()>,
}

/// Why a control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder is missing or unreadable.
    #[error("the configuration folder {} cannot be read ({reason}): name another one with --config", dir.display())]
    Folder {
        /// The folder as it was given.
        dir: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The folder holds something wrong.
    #[error("the configuration in {} is rejected; correct it, or name another folder with --config:\n{rejected}", dir.display())]
    Rejected {
        /// The folder as it was given.
        dir: PathBuf,
        /// Every error with its file and line.
        rejected: Rejected,
    },
    /// The address cannot be listened on.
    #[error("{0}, with --listen")]
    Listen(#[from] ListenError),
    /// There is no certificate to show over TLS.
    #[error("the control plane has no certificate for TLS: {0}")]
    Certificate(String),
    /// The server's own mesh, which has no rules, did not start.
    #[error("the server could not be set up: {0}")]
    Mesh(#[from] mesh_tower::StartError),
}

/// The server ended on its own.
#[derive(Debug, thiserror::Error)]
#[error("the server on {address} ended: {reason}")]
pub struct Ended {
    address: SocketAddr,
    reason: String,
}

impl ControlPlane {
    /// Loads the folder, listens, and serves in the background of the current runtime.
    ///
    /// # Errors
    /// When the folder cannot be read or is rejected, or the address cannot be listened on.
    pub async fn start(dir: impl AsRef<Path>, listen: SocketAddr) -> Result<Self, StartError> {
        Self::start_with(dir, listen, Options::default()).await
    }

    /// The same, with more than the folder says.
    ///
    /// # Errors
    /// As those of [`start`](Self::start).
    pub async fn start_with(
        dir: impl AsRef<Path>,
        listen: SocketAddr,
        options: Options,
    ) -> Result<Self, StartError> {
        let dir = dir.as_ref();
        std::fs::read_dir(dir).map_err(|reason| StartError::Folder {
            dir: dir.to_owned(),
            reason,
        })?;
        let compiling = mesh_istio::Options::default().certificates(options.certificates);
        let (watcher, Loaded { config, notes }) =
            Watcher::start_with(dir, compiling).map_err(|rejected| StartError::Rejected {
                dir: dir.to_owned(),
                rejected,
            })?;
        for note in notes {
            tracing::warn!("{note}");
        }
        let mesh = Mesh::builder().build()?;
        let listener = mesh.listen(&listen.to_string()).await?;
        let local_addr = listener.local_addr();

        let start = start_marker();
        let (sender, current) = watch::channel(Arc::new(Generation::new(&start, 1, config)));
        let (refused, rejected) = watch::channel(None);
        let nacks = Arc::new(Nacks::default());
        let ads = Ads {
            current: current.clone(),
            nacks: Arc::clone(&nacks),
        };
        let server =
            AggregatedDiscoveryServiceServer::new(ads).max_decoding_message_size(MAX_REQUEST);
        let mut routes = Routes::new(server);
        let authority = options.signing.as_ref().map(|it| Arc::clone(&it.authority));
        if let Some(signing) = options.signing {
            let server = ca::service::Server::new(signing);
            routes = routes.add_service(server.max_decoding_message_size(ca::service::MAX_REQUEST));
        }
        let secure = match options.tls {
            Some(tls) => Some(tls.start(authority, routes.clone()).await?),
            None => None,
        };
        let server = tokio::spawn(listener.serve(routes.prepare()));
        let follower = tokio::spawn(follow::follow(watcher, start, sender, refused));
        tracing::info!(%local_addr, dir = %dir.display(), "control plane started");
        Ok(Self {
            local_addr,
            nacks,
            current,
            rejected,
            mesh,
            server,
            secure,
            follower,
        })
    }

    /// Where it listens; the real port when it was started on port 0.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where it listens for TLS, with [`Options::tls`].
    pub fn secure_addr(&self) -> Option<SocketAddr> {
        self.secure.as_ref().map(|secure| secure.address)
    }

    /// The number of the configuration in force: 1 at start, one more with each accepted change.
    pub fn generation(&self) -> u64 {
        self.current.borrow().number
    }

    /// Why the present content of the folder is not in force; `None` when it is.
    pub fn rejected(&self) -> Option<Rejected> {
        self.rejected.borrow().clone()
    }

    /// The last updates that clients refused, oldest first.
    pub fn nacks(&self) -> Vec<Nack> {
        self.nacks.all()
    }

    /// Waits until the server ends, which it does only when it fails or its runtime stops.
    ///
    /// # Errors
    /// The server has ended.
    pub async fn run(&mut self) -> Result<(), Ended> {
        let reason = match (&mut self.server).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Ended {
            address: self.local_addr,
            reason,
        })
    }

    /// Ends all streams, then the server. Clients keep what they have.
    pub async fn shutdown(self) {
        self.follower.abort();
        // A client that does not read cannot hold the end up: dropping the mesh closes its connection.
        let secure = async {
            if let Some(secure) = &self.secure {
                secure.mesh.shutdown().await;
            }
        };
        let both = async { tokio::join!(self.mesh.shutdown(), secure) };
        let _ = tokio::time::timeout(DRAIN, both).await;
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.follower.abort();
        self.server.abort();
    }
}

/// Differs between two starts: versions of different runs must not look the same.
fn start_marker() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}", since.as_micros())
}
