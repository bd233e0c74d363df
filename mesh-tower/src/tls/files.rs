//! The workload's certificate from a folder, as Istio's agent and Kubernetes write it. Only what belongs together is taken.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::keys::{Identity, InvalidPem, Material, PrivateKey};
use super::provider::{CertificateProvider, Certificates, Feeding};
use super::roots::Roots;

/// How often a folder is looked at.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// The link that Kubernetes swaps: all files of a secret lie behind it.
const DATA: &str = "..data";
/// How often a folder that changes while it is read is read again at once.
const ATTEMPTS: usize = 3;

/// The largest file that is read, in bytes: a platform's authorities have some 200 KiB.
const LARGEST: usize = 4 << 20;

/// The names of chain, key and roots.
type Layout = [&'static str; 3];
/// Istio's agent (`OUTPUT_CERTS`, `/etc/certs`).
const ISTIO: Layout = ["cert-chain.pem", "key.pem", "root-cert.pem"];
/// A secret of Kubernetes (`kubernetes.io/tls`, cert-manager).
const KUBERNETES: Layout = ["tls.crt", "tls.key", "ca.crt"];

/// The workload's certificate from a folder, which is looked at every second.
///
/// It has `cert-chain.pem`, `key.pem` and `root-cert.pem`, as Istio's agent writes them (`OUTPUT_CERTS`), or `tls.crt`,
/// `tls.key` and `ca.crt`, as in a secret of Kubernetes; with both, the first are read. The chain begins with the
/// workload's own certificate. The three are taken together: of a pair that is half replaced nothing is.
#[derive(Debug, Clone)]
pub struct Files {
    place: Place,
    /// In the place of the roots that are there.
    bundles: Option<Arc<Path>>,
}

/// Where they are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Folder(Arc<Path>),
    /// Chain, key and roots.
    Each(Arc<[PathBuf; 3]>),
}

/// Why a folder's files are not taken. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error(
        "{0} cannot be read: {1}; put the workload's certificate there as cert-chain.pem, key.pem and root-cert.pem, or as tls.crt, tls.key and ca.crt"
    )]
    Read(PathBuf, #[source] io::Error),
    #[error("{0}: {1}; write the file anew")]
    Pem(PathBuf, InvalidPem),
    #[error("{0} changes while it is read; it is read again")]
    Moving(PathBuf),
    #[error("the folder could not be looked at: {0}")]
    Task(String),
}

/// What was there at one look.
type Looked = Result<Texts, FilesError>;

/// The files of one moment.
#[derive(PartialEq, Eq)]
pub(super) struct Texts {
    paths: [PathBuf; 3],
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    roots: Vec<u8>,
    /// Whether those are a map of bundles.
    is_map: bool,
}

impl Files {
    /// A folder; whether it is there and what is in it is seen when the mesh runs.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            place: Place::Folder(folder.as_ref().into()),
            bundles: None,
        }
    }

    /// Whom to believe by trust domain: the file of a SPIFFE trust bundle map
    /// ([`Roots::from_trust_bundle_map`](crate::Roots::from_trust_bundle_map)), as `spiffe_trust_bundle_map_file` of gRPC's
    /// bootstrap (A87). It is read in the place of `root-cert.pem` or `ca.crt`, each second, too; our own trust domain must be in
    /// it. By default the roots of the folder vouch for all trust domains.
    #[must_use]
    pub fn trust_bundle_map(self, file: impl AsRef<Path>) -> Self {
        Self {
            bundles: Some(file.as_ref().into()),
            ..self
        }
    }

    /// Three files, wherever they are: the chain, its key, and the roots that others are judged by. They are read twice,
    /// and taken when they were the same both times.
    pub fn at(
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        roots: impl Into<PathBuf>,
    ) -> Self {
        Self {
            place: Place::Each(Arc::new([chain.into(), key.into(), roots.into()])),
            bundles: None,
        }
    }

    async fn look(&self) -> Looked {
        let (place, bundles) = (self.place.clone(), self.bundles.clone());
        let look = move || match &place {
            Place::Folder(folder) => consistent(folder, bundles.as_deref()),
            Place::Each(paths) => alike(paths, bundles.as_deref()),
        };
        match spawn_blocking(look).await {
            Ok(looked) => looked,
            Err(error) => Err(FilesError::Task(error.to_string())),
        }
    }

    async fn follow(&self, to: Certificates) {
        let by = RandomState::new();
        let (mut told, mut offered) = (None, None);
        loop {
            let looked = self.look().await;
            let print = print(&looked, &by);
            // What is the same is not parsed again: each parse leaves copies of the key in memory that is free.
            if told.replace(print) != Some(print) {
                let read = looked.and_then(|texts| texts.material(self.place.shown()));
                offered = read.map_err(|error| to.failed(&error)).ok();
            }
            // What is refused may be taken later: if it was not valid yet.
            offered = offered.filter(|material| to.offer(material).is_err());
            sleep(EVERY).await;
        }
    }
}

impl CertificateProvider for Files {
    fn feed(self: Arc<Self>, to: Certificates) -> Feeding {
        Box::pin(async move { self.follow(to).await })
    }
}

/// By what it is known again.
fn print(looked: &Looked, by: &RandomState) -> u64 {
    match looked {
        Ok(texts) => by.hash_one((&texts.chain, &*texts.key, &texts.roots)),
        Err(error) => by.hash_one(error.to_string()),
    }
}

/// The files as they were at one moment: behind a link that is the same after they were read, or the same when they are
/// read a second time.
pub(super) fn consistent(folder: &Path, bundles: Option<&Path>) -> Looked {
    let link = || std::fs::read_link(folder.join(DATA)).ok();
    for _ in 0..ATTEMPTS {
        let target = link();
        // Read through the link, a file could be of before a swap and the next one of after it.
        let place = target
            .as_ref()
            .map_or_else(|| folder.to_owned(), |target| folder.join(target));
        let read = texts(&place, bundles);
        if link() != target {
            // What was behind it may be half gone.
            continue;
        }
        let first = read?;
        if target.is_some() || texts(&place, bundles)? == first {
            return Ok(first);
        }
    }
    Err(FilesError::Moving(folder.to_owned()))
}

/// The same of files that lie anywhere.
fn alike(paths: &[PathBuf; 3], bundles: Option<&Path>) -> Looked {
    for _ in 0..ATTEMPTS {
        let first = read(paths.clone(), bundles)?;
        if read(paths.clone(), bundles)? == first {
            return Ok(first);
        }
    }
    let [chain, ..] = paths;
    Err(FilesError::Moving(chain.clone()))
}

impl Place {
    /// What they are told to be in.
    fn shown(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Each(paths) => {
                let [chain, ..] = &**paths;
                chain.parent().unwrap_or(chain)
            }
        }
    }
}

fn texts(folder: &Path, bundles: Option<&Path>) -> Looked {
    let has = |layout: &Layout| layout.iter().any(|name| folder.join(name).exists());
    let layout = match !has(&ISTIO) && has(&KUBERNETES) {
        true => KUBERNETES,
        false => ISTIO,
    };
    read(layout.map(|name| folder.join(name)), bundles)
}

/// A file as a whole. Who names it need not be who has written it: there is no end to what some of them hold, and others
/// answer when somebody writes.
pub(super) fn whole(path: &Path) -> io::Result<Vec<u8>> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    // With room for all of it, so that no part of a key is left where a smaller one was.
    let expected = usize::try_from(about.len()).unwrap_or(LARGEST);
    let mut text = Vec::with_capacity(expected.min(LARGEST) + 1);
    let file = std::fs::File::open(path)?;
    file.take(LARGEST as u64 + 1).read_to_end(&mut text)?;
    match text.len() {
        ..=LARGEST => Ok(text),
        _ => Err(io::Error::other(format!(
            "it is longer than {LARGEST} bytes"
        ))),
    }
}

/// With the file of bundles in the place of the roots, where there is one.
fn read(mut paths: [PathBuf; 3], bundles: Option<&Path>) -> Looked {
    if let Some(map) = bundles {
        let [_, _, roots] = &mut paths;
        map.clone_into(roots);
    }
    let read = |path: &Path| whole(path).map_err(|error| FilesError::Read(path.to_owned(), error));
    let [chain, key, roots] = &paths;
    Ok(Texts {
        chain: read(chain)?,
        key: read(key)?.into(),
        roots: read(roots)?,
        is_map: bundles.is_some(),
        paths,
    })
}

impl Texts {
    pub(super) fn material(&self, folder: &Path) -> Result<Material, FilesError> {
        let [chain, key, roots] = &self.paths;
        let pem = |path: &Path| {
            let path = path.to_owned();
            move |error| FilesError::Pem(path, error)
        };
        let private = PrivateKey::from_pem(&self.key).map_err(pem(key))?;
        let identity = Identity::from_pem(&self.chain, private).map_err(pem(chain))?;
        let trusted = match self.is_map {
            true => Roots::from_trust_bundle_map(&self.roots),
            false => Roots::from_pem(&self.roots),
        };
        let trusted = trusted.map_err(pem(roots))?;
        let [chain, key, roots] = self.paths.each_ref().map(|path| name(path));
        let whence = format!("{chain}, {key} and {roots} in {}", folder.display());
        Ok(Material::new(identity, trusted, whence))
    }
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
