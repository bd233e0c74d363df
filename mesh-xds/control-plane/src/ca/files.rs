//! An authority in a folder, under the names that Istio gives to plugged-in ones (its secret `cacerts`).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::rand;
use mesh_core::identity::TrustDomain;
use zeroize::Zeroizing;

use super::authority::{Authority, SignError};
use super::pem;
use super::secret::Secret;

const ROOTS: &str = "root-cert.pem";
const OWN: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const CHAIN: &str = "cert-chain.pem";
const ALL: [&str; 4] = [ROOTS, OWN, KEY, CHAIN];

/// Why a folder holds no authority.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Some of the files are there and others are not.
    #[error(
        "{} holds {}, but not {}: an authority needs all four of root-cert.pem, ca-cert.pem, ca-key.pem and cert-chain.pem",
        dir.display(), there.join(", "), missing.join(", ")
    )]
    Torn {
        /// The folder.
        dir: PathBuf,
        /// What is there.
        there: Vec<&'static str>,
        /// What is not.
        missing: Vec<&'static str>,
    },
    /// None of the files is there.
    #[error(
        "{} holds no authority: put root-cert.pem, ca-cert.pem, ca-key.pem and cert-chain.pem there",
        .0.display()
    )]
    Empty(PathBuf),
    /// A file or folder cannot be read or written.
    #[error("{} cannot be {what}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what its name says.
    #[error("{} is not taken: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The files are not of one authority.
    #[error(
        "the files of the authority in {} do not belong together: {reason}; is ca-key.pem the key of ca-cert.pem, and does cert-chain.pem lead from it to root-cert.pem?",
        dir.display()
    )]
    Apart {
        /// The folder.
        dir: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A new one could not be made.
    #[error("an authority could not be made: {0}")]
    New(#[from] SignError),
}

impl Authority {
    /// The authority that is plugged in in a folder: `root-cert.pem` (one root or several), `ca-cert.pem`, `ca-key.pem`
    /// (its key, not encrypted) and `cert-chain.pem` (from `ca-cert.pem` upwards; may be empty where that is a root).
    ///
    /// # Errors
    /// When a file is missing or unreadable, or they do not belong together: nothing that they would sign could be
    /// verified.
    pub fn open(
        dir: &Path,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, OpenError> {
        let (there, missing): (Vec<_>, Vec<_>) =
            ALL.into_iter().partition(|name| dir.join(name).exists());
        if there.is_empty() {
            return Err(OpenError::Empty(dir.to_owned()));
        }
        if !missing.is_empty() {
            let dir = dir.to_owned();
            return Err(OpenError::Torn {
                dir,
                there,
                missing,
            });
        }
        let roots = certificates(dir, ROOTS)?;
        if roots.is_empty() {
            return Err(wrong(dir, ROOTS, "it holds no CERTIFICATE block"));
        }
        let [own] = &certificates(dir, OWN)?[..] else {
            return Err(wrong(dir, OWN, "it does not hold exactly one CERTIFICATE"));
        };
        let chain = certificates(dir, CHAIN)?;
        let text = Zeroizing::new(read(dir, KEY)?);
        let key = std::str::from_utf8(&text).ok();
        // The reason of the reader may quote the text.
        let key = key.and_then(|text| Secret::from_pem(text).ok());
        let key = key.ok_or_else(|| {
            let reason = "it holds no PRIVATE KEY block that can be read; encrypted ones cannot";
            wrong(dir, KEY, reason)
        })?;
        Self::of(trust_domain, key, own, &chain, roots, now).map_err(|reason| OpenError::Apart {
            dir: dir.to_owned(),
            reason,
        })
    }

    /// The authority in a folder; a new root is made and kept there if there is none yet, so that after a restart the
    /// certificates of before are still believed. The key can be read by this user alone.
    ///
    /// # Errors
    /// When there is one that cannot be taken (it is left as it is), or none can be written.
    pub fn kept(
        dir: &Path,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, OpenError> {
        match Self::open(dir, trust_domain, now) {
            Err(OpenError::Empty(_)) => {
                let (new, key) = Self::new_root(trust_domain, now)?;
                write_all(dir, &new, &key)?;
            }
            other => return other,
        }
        // Read back: another process may have been quicker.
        Self::open(dir, trust_domain, now)
    }

    /// Whether a folder is that of an authority, whole or not: a workload's has no key that signs.
    pub fn lies_in(dir: &Path) -> bool {
        [KEY, OWN].iter().any(|name| dir.join(name).exists())
    }
}

fn certificates(
    dir: &Path,
    name: &str,
) -> Result<Vec<rustls_pki_types::CertificateDer<'static>>, OpenError> {
    pem::certificates(&read(dir, name)?).map_err(|reason| wrong(dir, name, &reason))
}

fn read(dir: &Path, name: &str) -> Result<Vec<u8>, OpenError> {
    let path = dir.join(name);
    fs::read(&path).map_err(refused("read", &path))
}

fn wrong(dir: &Path, name: &str, reason: &str) -> OpenError {
    OpenError::File {
        path: dir.join(name),
        reason: reason.to_owned(),
    }
}

fn refused(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { what, path, source }
}

/// All four files at once: a folder beside the place is filled, and takes its name. Of two processes that do so one wins.
fn write_all(dir: &Path, root: &str, key: &Zeroizing<String>) -> Result<(), OpenError> {
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(refused("made", parent))?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = parent.join(format!(".{name}.{:x}", random()?));
    private_folder(&unfinished).map_err(refused("made", &unfinished))?;
    let filled = [(ROOTS, root), (OWN, root), (KEY, key.as_str()), (CHAIN, "")]
        .into_iter()
        .try_for_each(|(name, text)| {
            let path = unfinished.join(name);
            private_file(&path, text.as_bytes()).map_err(refused("written", &path))
        });
    let moved = filled.and_then(|()| {
        // An empty folder is replaced; one that another process has filled is not.
        fs::rename(&unfinished, dir).map_err(refused("written", dir))
    });
    if moved.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
        if dir.join(KEY).exists() {
            return Ok(());
        }
    }
    moved
}

/// Tells the unfinished folders of several makers apart.
fn random() -> Result<u64, OpenError> {
    let mut bits = [0; 8];
    rand::fill(&mut bits).map_err(|_| SignError::Crypto("no random bits".to_owned()))?;
    Ok(u64::from_ne_bytes(bits))
}

/// A folder that this user alone can read.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// A new file that this user alone can read, on the disk when this returns.
pub(super) fn private_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
