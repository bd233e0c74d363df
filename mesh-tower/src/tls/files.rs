//! The workload's certificate from a folder, as Istio's agent and Kubernetes write it. Only what belongs together is taken.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::crypto::Crypto;
use super::keys::{Identity, InvalidPem, KeyFault, Material, PrivateKey, Roots};
use super::store::Store;

/// How often a folder is looked at.
pub(crate) const EVERY: Duration = Duration::from_secs(1);
/// The link that Kubernetes swaps: all files of a secret lie behind it.
const DATA: &str = "..data";
/// How often a folder that changes while it is read is read again at once.
const ATTEMPTS: usize = 3;

/// The names of chain, key and roots.
type Layout = [&'static str; 3];
/// Istio's agent (`OUTPUT_CERTS`, `/etc/certs`).
const ISTIO: Layout = ["cert-chain.pem", "key.pem", "root-cert.pem"];
/// A secret of Kubernetes (`kubernetes.io/tls`, cert-manager).
const KUBERNETES: Layout = ["tls.crt", "tls.key", "ca.crt"];

/// A folder that is looked at again and again.
#[derive(Debug)]
pub(crate) struct Files {
    folder: Arc<Path>,
    crypto: Crypto,
    /// What was there when it was last told.
    told: Option<[u8; 32]>,
}

/// Why a folder's files are not taken. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error(
        "{0} cannot be read: {1}; put the workload's certificate there as cert-chain.pem, key.pem and root-cert.pem, or as tls.crt, tls.key and ca.crt"
    )]
    Read(PathBuf, #[source] io::Error),
    #[error("{0}: {1}; write the file anew, as PEM")]
    Pem(PathBuf, InvalidPem),
    #[error(
        "{0} is not taken with {1}: {2}; replace both files, best in one step by a link to another folder"
    )]
    Key(PathBuf, PathBuf, KeyFault),
    #[error("{0} changes while it is read; it is read again")]
    Moving(PathBuf),
    #[error("the folder could not be looked at: {0}")]
    Task(String),
}

/// The files of one moment.
#[derive(PartialEq, Eq)]
struct Texts {
    paths: [PathBuf; 3],
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    roots: Vec<u8>,
}

impl Files {
    pub(crate) fn new(folder: &Path, crypto: Crypto) -> Self {
        Self {
            folder: folder.into(),
            crypto,
            told: None,
        }
    }

    /// What the folder holds, or why it cannot be taken: the first time at once, then when it is something else. May be
    /// dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Material, FilesError> {
        loop {
            let (folder, crypto) = (Arc::clone(&self.folder), self.crypto.clone());
            let looking = spawn_blocking(move || look(&folder, &crypto));
            let (fingerprint, read) = match looking.await {
                Ok(looked) => looked,
                Err(error) => return Err(FilesError::Task(error.to_string())),
            };
            if self.told.replace(fingerprint) != Some(fingerprint) {
                return read;
            }
            sleep(EVERY).await;
        }
    }

    /// Hands the store what the folder holds, for ever.
    pub(crate) async fn feed(mut self, store: Arc<Store>) {
        let mut logged = None;
        loop {
            let judged = match self.next().await {
                Ok(material) => store.offer(&material).map_err(|error| error.to_string()),
                Err(error) => {
                    store.failed(&error);
                    Err(error.to_string())
                }
            };
            let Err(error) = judged else {
                logged = None;
                continue;
            };
            if logged != self.told {
                tracing::error!(error, "the workload's certificate is not renewed");
                logged = self.told;
            }
            // What is not valid yet will be: the same files are judged again.
            sleep(EVERY).await;
            self.told = None;
        }
    }
}

/// Reads the folder; what was read is known again by its fingerprint.
pub(super) fn look(folder: &Path, crypto: &Crypto) -> ([u8; 32], Result<Material, FilesError>) {
    match consistent(folder) {
        Ok(texts) => {
            let all = [&*texts.chain, &texts.key, &texts.roots];
            (crypto.fingerprint(&all), material(folder, &texts, crypto))
        }
        Err(error) => {
            let text = error.to_string();
            (crypto.fingerprint(&[text.as_bytes()]), Err(error))
        }
    }
}

/// The files as they were at one moment: behind a link that is the same after they were read, or the same when they are
/// read a second time.
fn consistent(folder: &Path) -> Result<Texts, FilesError> {
    let link = || std::fs::read_link(folder.join(DATA)).ok();
    for _ in 0..ATTEMPTS {
        let target = link();
        // Read through the link, a file could be of before a swap and the next one of after it.
        let place = target
            .as_ref()
            .map_or_else(|| folder.to_owned(), |target| folder.join(target));
        let read = texts(&place);
        if link() != target {
            // What was behind it may be half gone.
            continue;
        }
        let first = read?;
        if target.is_some() || texts(&place)? == first {
            return Ok(first);
        }
    }
    Err(FilesError::Moving(folder.to_owned()))
}

fn texts(folder: &Path) -> Result<Texts, FilesError> {
    let has = |layout: &Layout| layout.iter().any(|name| folder.join(name).exists());
    let layout = match !has(&ISTIO) && has(&KUBERNETES) {
        true => KUBERNETES,
        false => ISTIO,
    };
    let paths = layout.map(|name| folder.join(name));
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| FilesError::Read(path.to_owned(), error));
    let [chain, key, roots] = &paths;
    Ok(Texts {
        chain: read(chain)?,
        key: read(key)?.into(),
        roots: read(roots)?,
        paths,
    })
}

fn material(folder: &Path, texts: &Texts, crypto: &Crypto) -> Result<Material, FilesError> {
    let [chain, key, roots] = &texts.paths;
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |error| FilesError::Pem(path, error)
    };
    let private = PrivateKey::from_pem(&texts.key).map_err(pem(key))?;
    let identity = Identity::from_pem(&texts.chain, private).map_err(pem(chain))?;
    // Of a pair that is half replaced nothing is taken.
    identity
        .certified(crypto)
        .map_err(|fault| FilesError::Key(key.clone(), chain.clone(), fault))?;
    Ok(Material {
        identity,
        roots: Roots::from_pem(&texts.roots).map_err(pem(roots))?,
        whence: format!("the files in {}", folder.display()).into(),
    })
}
