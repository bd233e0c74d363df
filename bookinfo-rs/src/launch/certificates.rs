//! The certificates of all workloads: an authority, a folder for each of them, and renewal at half life.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mesh_control_plane::ca::{Authority, DEFAULT_TTL, OpenError, SignError, WriteError};
use mesh_core::identity::SpiffeId;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::folder::{self, FolderError};
use crate::process::warn;

/// Istio's trust domain where nobody says another.
const TRUST_DOMAIN: &str = "cluster.local";
/// The shortest life of a certificate: workloads look at their folders each second.
pub const SHORTEST: Duration = Duration::from_secs(4);
/// How long it sleeps at most: a timer stands still while the machine is suspended, and the life of a certificate does not.
const NAP: Duration = Duration::from_secs(30);

/// Where the authority is in the folder, and where the workloads are.
const AUTHORITY: &str = "authority";
const WORKLOADS: &str = "workloads";

/// The folders of all workloads, kept filled until this is dropped; the folder around them is removed with it.
#[derive(Debug)]
pub struct Certificates {
    dir: PathBuf,
    renewing: Option<JoinHandle<()>>,
    issuer: Option<Arc<Issuer>>,
}

/// Renews all certificates at once, whatever their age.
#[derive(Debug, Clone)]
pub struct Renewal(Arc<Issuer>);

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The authority.
    #[error(transparent)]
    Authority(#[from] OpenError),
    /// A certificate.
    #[error("a certificate could not be made: {0}")]
    Sign(#[from] SignError),
    /// A workload's folder.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A name that is none.
    #[error("a workload's identity: {0}")]
    Name(String),
    /// The folder around them.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The program ends.
    #[error("certificates are not made any more: {0}")]
    Stopped(String),
}

/// What is put where.
#[derive(Debug)]
struct Issuer {
    authority: Authority,
    workloads: BTreeMap<PathBuf, SpiffeId>,
    ttl: Duration,
    /// One writer at a time.
    issuing: Mutex<()>,
}

impl Certificates {
    /// An empty folder for them, which this user alone can read. It is removed when the value is dropped.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn new() -> Result<Self, FolderError> {
        Ok(Self {
            dir: folder::made("certificates-")?,
            renewing: None,
            issuer: None,
        })
    }

    /// Makes an authority, fills the folder of each workload (by name, with its namespace and service account), and goes on to do so at
    /// half of `ttl`, in the background of the current runtime.
    ///
    /// # Errors
    /// When a certificate cannot be made or written.
    pub fn fill(
        &mut self,
        workloads: impl IntoIterator<Item = (String, &'static str, String)>,
        ttl: Duration,
    ) -> Result<(), CertificatesError> {
        let named = |error: &dyn std::fmt::Display| CertificatesError::Name(error.to_string());
        let domain = TRUST_DOMAIN.parse().map_err(|error| named(&error))?;
        let authority = Authority::kept(&self.dir.join(AUTHORITY), &domain, SystemTime::now())?;
        let all = self.workloads();
        std::fs::create_dir(&all).map_err(folder::refused("made", &all))?;
        let mut ids = BTreeMap::new();
        for (name, namespace, account) in workloads {
            let id = format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{account}");
            ids.insert(self.of(&name), id.parse().map_err(|error| named(&error))?);
        }
        let issuer = Issuer {
            authority,
            workloads: ids,
            ttl: match ttl {
                Duration::ZERO => DEFAULT_TTL,
                ttl => ttl,
            },
            issuing: Mutex::new(()),
        };
        let since = SystemTime::now();
        issuer.issue()?;
        let issuer = Arc::new(issuer);
        self.renewing = Some(tokio::spawn(Arc::clone(&issuer).renew(since)));
        self.issuer = Some(issuer);
        Ok(())
    }

    /// What renews them before their time; nothing before they are filled.
    pub fn renewal(&self) -> Option<Renewal> {
        self.issuer.clone().map(Renewal)
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Where the folders of all workloads are.
    pub fn workloads(&self) -> PathBuf {
        self.dir.join(WORKLOADS)
    }

    /// The folder of a workload.
    pub fn of(&self, workload: &str) -> PathBuf {
        self.workloads().join(workload)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        if let Some(renewing) = &self.renewing {
            renewing.abort();
        }
        if let Err(error) = folder::remove(&self.dir) {
            tracing::warn!("{error}");
        }
    }
}

impl Renewal {
    /// A new key and certificate for each workload.
    ///
    /// # Errors
    /// When one cannot be made or written; those before it are new.
    pub async fn now(&self) -> Result<(), CertificatesError> {
        let issuer = Arc::clone(&self.0);
        let issued = spawn_blocking(move || issuer.issue()).await;
        issued.map_err(|error| CertificatesError::Stopped(error.to_string()))?
    }
}

impl Issuer {
    /// A new key and certificate for each.
    fn issue(&self) -> Result<(), CertificatesError> {
        let _alone = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        for (folder, id) in &self.workloads {
            let now = SystemTime::now();
            self.authority.issue(id, self.ttl, now)?.write(folder)?;
        }
        Ok(())
    }

    async fn renew(self: Arc<Self>, mut since: SystemTime) {
        let half = self.ttl / 2;
        loop {
            let age = since.elapsed().unwrap_or(half);
            if let Some(rest) = half.checked_sub(age).filter(|rest| !rest.is_zero()) {
                sleep(rest.min(NAP)).await;
                continue;
            }
            since = SystemTime::now();
            let this = Arc::clone(&self);
            let issued = spawn_blocking(move || this.issue()).await;
            let issued = issued.map_err(|error| error.to_string());
            if let Err(error) = issued.and_then(|done| done.map_err(|error| error.to_string())) {
                warn(&format!(
                    "certificates are not renewed; those that are there stay, for another {:?}: {error}",
                    self.ttl.saturating_sub(half)
                ));
            }
        }
    }
}
