//! What a workload gets: its chain, its key and the roots, and the folder in which it finds them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::files::{private_file, private_folder};

/// The names of Istio's agent (`OUTPUT_CERTS`).
const CHAIN: &str = "cert-chain.pem";
const KEY: &str = "key.pem";
const ROOTS: &str = "root-cert.pem";
const ALL: [&str; 3] = [CHAIN, KEY, ROOTS];
/// The link that is swapped, as Kubernetes does it with the files of a secret.
const DATA: &str = "..data";
/// How the folders behind it begin.
const GENERATION: &str = "..generation-";

/// A key with its certificate and the roots. The key is overwritten when this is dropped.
pub struct Issued {
    chain: String,
    key: Zeroizing<String>,
    roots: String,
}

/// A workload's folder that could not be written; what was there before is still there.
#[derive(Debug, thiserror::Error)]
#[error("the certificate could not be put into {}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Issued {
    pub(super) const fn new(chain: String, key: Zeroizing<String>, roots: String) -> Self {
        Self { chain, key, roots }
    }

    /// The leaf and what leads up from it, without the roots: one PEM text.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// The key: one PEM text.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The roots: one PEM text.
    pub fn roots(&self) -> &str {
        &self.roots
    }

    /// Puts `cert-chain.pem`, `key.pem` and `root-cert.pem` into a folder, which is made if it is not there. All three
    /// change in one step: they are links through one link that is swapped. The key can be read by this user alone.
    ///
    /// # Errors
    /// When the system refuses. One process writes to a folder at a time.
    pub fn write(&self, folder: &Path) -> Result<(), WriteError> {
        self.replace(folder).map_err(|source| WriteError {
            path: folder.to_owned(),
            source,
        })
    }

    #[cfg(unix)]
    fn replace(&self, folder: &Path) -> io::Result<()> {
        use std::os::unix::fs::symlink;

        match private_folder(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let before = fs::read_link(folder.join(DATA)).ok();
        let next = format!("{GENERATION}{}", number(before.as_deref()).wrapping_add(1));
        let place = folder.join(&next);
        // Left only where a writer was killed.
        let _ = fs::remove_dir_all(&place);
        private_folder(&place)?;
        let texts = [&*self.chain, &**self.key, &*self.roots];
        for (name, text) in ALL.into_iter().zip(texts) {
            private_file(&place.join(name), text.as_bytes())?;
        }
        swap(&folder.join(DATA), |link| symlink(&next, link))?;
        for name in ALL {
            let through = Path::new(DATA).join(name);
            if fs::read_link(folder.join(name)).ok().as_deref() != Some(&*through) {
                swap(&folder.join(name), |link| symlink(&through, link))?;
            }
        }
        match before {
            // Whoever reads it now finds the link changed and reads anew.
            Some(before) if before != Path::new(&next) => fs::remove_dir_all(folder.join(before)),
            _ => Ok(()),
        }
    }

    /// Without links each file is replaced by itself; who reads finds out by the key that does not belong.
    #[cfg(not(unix))]
    fn replace(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let texts = [&*self.chain, &**self.key, &*self.roots];
        for (name, text) in ALL.into_iter().zip(texts) {
            swap(&folder.join(name), |path| {
                private_file(path, text.as_bytes())
            })?;
        }
        Ok(())
    }
}

/// Which generation a link leads to; 0 before the first.
#[cfg(unix)]
fn number(link: Option<&Path>) -> u64 {
    link.and_then(Path::to_str)
        .and_then(|name| name.strip_prefix(GENERATION))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Makes something beside a path, and gives it the path's name in one step.
fn swap(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!("..unfinished-{name}"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make(&unfinished)?;
    fs::rename(&unfinished, path)
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}
