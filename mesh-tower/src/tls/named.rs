//! Certificates and authorities that the configuration names by their files. A file is looked at when a handshake or a
//! look at live connections needs it, at most once in a second; one that is broken leaves the last good in its place.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::cert;
use super::crypto::Crypto;
use super::files::{self, EVERY};
use super::keys::{Identity, PrivateKey};
use super::outside::Settings;
use super::roots::Roots;
use super::store::Store;
use super::trust::Trust;

/// How what is held is made of the files' texts.
type Make<T> = fn(&Source, &[Zeroizing<Vec<u8>>], &Crypto) -> Result<T, String>;

/// What a name stands for.
pub(super) struct Held<T> {
    source: Arc<Source>,
    make: Make<T>,
    now: ArcSwapOption<T>,
    /// Why there is none, or no newer one.
    fault: ArcSwapOption<String>,
    by: RandomState,
    looked: Mutex<Looked>,
}

/// Where it comes from.
pub(super) enum Source {
    /// Files, in the order in which they are needed.
    Files(Box<[Arc<str>]>),
    /// The platform's authorities and those of the builder; they are read once.
    Platform(Settings),
}

#[derive(Default)]
struct Looked {
    at: Option<Instant>,
    /// What was there, by its hash.
    print: Option<u64>,
}

/// A certificate that is shown, with its key.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) not_after: u64,
    pub(super) whence: Arc<str>,
}

impl Held<Trust> {
    pub(super) fn root_file(path: &Arc<str>) -> Self {
        Self::new(Source::Files([Arc::clone(path)].into()), roots)
    }

    pub(super) fn platform(settings: &Settings) -> Self {
        Self::new(Source::Platform(settings.clone()), platform)
    }
}

impl Held<Shown> {
    pub(super) fn pair(chain: &Arc<str>, key: &Arc<str>) -> Self {
        let files = [Arc::clone(chain), Arc::clone(key)];
        Self::new(Source::Files(files.into()), pair)
    }
}

impl<T: Send + Sync + 'static> Held<T> {
    fn new(source: Source, make: Make<T>) -> Self {
        Self {
            source: Arc::new(source),
            make,
            now: ArcSwapOption::empty(),
            fault: ArcSwapOption::empty(),
            by: RandomState::new(),
            looked: Mutex::default(),
        }
    }

    /// What was good last, or why nothing was.
    pub(super) fn now(&self) -> Result<Arc<T>, Arc<str>> {
        self.now.load_full().ok_or_else(|| {
            let fault = self.fault.load();
            match &*fault {
                Some(fault) => fault.as_str().into(),
                None => format!("{} was not read yet", self.source).into(),
            }
        })
    }

    /// Reads what is there now, unless it was read within the last second.
    pub(super) async fn look(&self, store: &Store) {
        let mut looked = self.looked.lock().await;
        let due = match (&*self.source, looked.at) {
            (_, None) => true,
            (Source::Files(_), Some(at)) => at.elapsed() >= EVERY,
            (Source::Platform(_), Some(_)) => self.now.load().is_none(),
        };
        let Ok(crypto) = store.crypto() else { return };
        if !due {
            return;
        }
        let (source, make, crypto) = (Arc::clone(&self.source), self.make, crypto.clone());
        let (before, by) = (looked.print.take(), self.by.clone());
        let looking = spawn_blocking(move || {
            let texts = match source.read() {
                Ok(texts) => texts,
                Err(error) => return (None, Some(Err(error))),
            };
            // The same is not parsed again.
            let print = Some(by.hash_one(texts.iter().map(|text| &**text).collect::<Vec<_>>()));
            let made = (before != print).then(|| make(&source, &texts, &crypto));
            (print, made)
        });
        let (print, made) = match looking.await {
            Ok(looked) => looked,
            Err(error) => (None, Some(Err(error.to_string()))),
        };
        looked.at = Some(Instant::now());
        looked.print = print;
        match made {
            None => {}
            Some(Ok(made)) => {
                self.now.store(Some(Arc::new(made)));
                self.fault.store(None);
                store.believes_anew();
            }
            Some(Err(error)) => {
                let fault = Arc::new(error);
                if self.fault.swap(Some(Arc::clone(&fault))).as_ref() != Some(&fault) {
                    tracing::error!(reason = %fault, "a file that TLS needs is not taken; what was good before stays");
                }
            }
        }
    }
}

impl Source {
    fn read(&self) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
        match self {
            Self::Platform(_) => Ok(Vec::new()),
            Self::Files(paths) => {
                let read = |path: &Arc<str>| {
                    let read = files::whole(Path::new(&**path)).map(Zeroizing::new);
                    read.map_err(|error| format!("{path:?} cannot be read: {error}"))
                };
                paths.iter().map(read).collect()
            }
        }
    }

    fn whence(&self) -> Arc<str> {
        self.to_string().into()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(paths) => f.write_str(&paths.join(" and ")),
            Self::Platform(_) => f.write_str("this platform"),
        }
    }
}

fn roots(source: &Source, texts: &[Zeroizing<Vec<u8>>], crypto: &Crypto) -> Result<Trust, String> {
    let text = texts.first().map_or(&[][..], |text| text);
    let roots = Roots::from_pem(text).map_err(|error| format!("{source}: {error}"))?;
    Trust::of(&roots, &source.whence(), crypto).map_err(|error| format!("{source}: {error}"))
}

fn platform(source: &Source, _: &[Zeroizing<Vec<u8>>], crypto: &Crypto) -> Result<Trust, String> {
    let store = match source {
        Source::Platform(settings) => settings.trusted()?,
        Source::Files(_) => RootCertStore::empty(),
    };
    Trust::in_store(store, &source.whence(), crypto)
}

fn pair(source: &Source, texts: &[Zeroizing<Vec<u8>>], crypto: &Crypto) -> Result<Shown, String> {
    let [chain, key] = texts else {
        return Err(format!("{source}: these are no two files"));
    };
    let failed = |error: &dyn fmt::Display| format!("{source}: {error}");
    let key = PrivateKey::from_pem(key).map_err(|error| failed(&error))?;
    let identity = Identity::from_pem(chain, key).map_err(|error| failed(&error))?;
    let key = identity.certified(crypto).map_err(|error| failed(&error))?;
    let leaf = key.cert.first().ok_or_else(|| failed(&"no certificate"))?;
    let read = cert::read(leaf, crypto).map_err(|error| failed(&error))?;
    Ok(Shown {
        not_after: read.not_after,
        key: Arc::new(key),
        whence: source.whence(),
    })
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}
