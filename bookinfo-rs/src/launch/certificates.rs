//! The certificates of all workloads: an authority, a folder for each of them, and renewal at half life.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
}

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
}

/// What is put where.
struct Issuer {
    authority: Authority,
    workloads: BTreeMap<PathBuf, SpiffeId>,
    ttl: Duration,
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
        })
    }

    /// Makes an authority, fills the folder of each workload (by name, with its service account), and goes on to do so at
    /// half of `ttl`, in the background of the current runtime.
    ///
    /// # Errors
    /// When a certificate cannot be made or written.
    pub fn fill(
        &mut self,
        workloads: impl IntoIterator<Item = (String, String)>,
        ttl: Duration,
    ) -> Result<(), CertificatesError> {
        let named = |error: &dyn std::fmt::Display| CertificatesError::Name(error.to_string());
        let domain = TRUST_DOMAIN.parse().map_err(|error| named(&error))?;
        let authority = Authority::kept(&self.dir.join(AUTHORITY), &domain, SystemTime::now())?;
        let all = self.dir.join(WORKLOADS);
        std::fs::create_dir(&all).map_err(folder::refused("made", &all))?;
        let mut ids = BTreeMap::new();
        for (name, account) in workloads {
            let id = format!("spiffe://{TRUST_DOMAIN}/ns/default/sa/{account}");
            ids.insert(self.of(&name), id.parse().map_err(|error| named(&error))?);
        }
        let issuer = Issuer {
            authority,
            workloads: ids,
            ttl: match ttl {
                Duration::ZERO => DEFAULT_TTL,
                ttl => ttl,
            },
        };
        let since = SystemTime::now();
        issuer.issue()?;
        self.renewing = Some(tokio::spawn(Arc::new(issuer).renew(since)));
        Ok(())
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The folder of a workload.
    pub fn of(&self, workload: &str) -> PathBuf {
        self.dir.join(WORKLOADS).join(workload)
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

impl Issuer {
    /// A new key and certificate for each.
    fn issue(&self) -> Result<(), CertificatesError> {
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
