//! Watching a folder: load now, then reload on change.
//!
//! The kernel's notifications make it quick, a slow poll makes it sure (network file systems, watches that ran
//! out), and the comparison of bytes makes it quiet: a touch without a change is no change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Config, Loaded, read_folder};
use crate::diagnostic::Rejected;

/// How long a folder must be quiet after a notification: editors write in several steps.
const QUIET: Duration = Duration::from_millis(20);
/// A folder that never gets quiet is read after this time.
const BUSY: Duration = Duration::from_millis(200);
/// How often the folder is read without any notification.
const POLL: Duration = Duration::from_secs(2);

/// The files of a folder, or why they cannot be read.
type Content = Result<BTreeMap<PathBuf, String>, Rejected>;

/// Watches a folder of Istio YAML.
///
/// ```no_run
/// # async fn example() -> Result<(), mesh_istio::Rejected> {
/// let (mut watcher, mut loaded) = mesh_istio::watch::Watcher::start("mesh".as_ref())?;
/// loop {
///     match watcher.changed().await {
///         Ok(next) => loaded = next,
///         Err(rejected) => eprintln!("{rejected}"), // `loaded` stays in force
///     }
/// #   drop(loaded.clone());
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watcher {
    dir: PathBuf,
    /// What was last returned, good or bad.
    last: Arc<Content>,
    events: Arc<Notify>,
    /// Set from a notification until the folder has been read: the wait may be cancelled in between.
    pending: bool,
    next_poll: Option<Instant>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watcher {
    /// Loads the folder and starts to watch it. Needs no runtime.
    ///
    /// # Errors
    /// When the folder cannot be read or is rejected.
    pub fn start(dir: &Path) -> Result<(Self, Loaded), Rejected> {
        let events = Arc::new(Notify::new());
        // Watch first, read then: a change between the two is a notification.
        let watcher = watch(dir, Arc::clone(&events));
        let content = read_folder(dir)?;
        let loaded = Config::parse(content.clone())?;
        let this = Self {
            dir: dir.to_owned(),
            last: Arc::new(Ok(content)),
            events,
            pending: false,
            next_poll: None,
            _watcher: watcher,
        };
        Ok((this, loaded))
    }

    /// Waits until the folder's content differs from what was last returned, and loads it.
    ///
    /// Works on any tokio runtime with its time driver on. Cancel safe: dropping the future loses no change.
    ///
    /// # Errors
    /// The new content is rejected; the caller keeps its last good configuration. The same bad content is reported
    /// once.
    pub async fn changed(&mut self) -> Result<Loaded, Rejected> {
        loop {
            self.wait().await;
            let (dir, last) = (self.dir.clone(), Arc::clone(&self.last));
            // Reading and checking a large folder takes longer than a task may hold its thread.
            let read = tokio::task::spawn_blocking(move || {
                let content = read_folder(&dir);
                (content != *last).then(|| {
                    let loaded = content.clone().and_then(Config::parse);
                    (content, loaded)
                })
            });
            let read = read.await;
            self.pending = false;
            self.next_poll = Some(Instant::now() + POLL);
            match read {
                Ok(Some((content, loaded))) => {
                    self.last = Arc::new(content);
                    return loaded;
                }
                Ok(None) => {}
                // The runtime is shutting down: there is no one left to tell.
                Err(error) if error.is_cancelled() => std::future::pending().await,
                Err(error) => {
                    return Err(Rejected::file(
                        &self.dir,
                        format!("cannot be read: {error}"),
                    ));
                }
            }
        }
    }

    /// Waits for a notification and the quiet after it, or for the next poll.
    async fn wait(&mut self) {
        let poll = *self.next_poll.get_or_insert_with(|| Instant::now() + POLL);
        if !self.pending {
            if timeout_at(poll, self.events.notified()).await.is_err() {
                self.pending = true;
                return;
            }
            self.pending = true;
        }
        let busy = Instant::now() + BUSY;
        while Instant::now() < busy && timeout(QUIET, self.events.notified()).await.is_ok() {}
    }
}

/// The kernel's notifications; nothing where there are none to be had, then the poll alone finds changes.
fn watch(dir: &Path, events: Arc<Notify>) -> Option<RecommendedWatcher> {
    let handler = move |event: notify::Result<notify::Event>| {
        // Our own reading is an access as well.
        let relevant = match event {
            Ok(event) => match event.kind {
                EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
                _ => true,
            },
            Err(_) => true,
        };
        if relevant {
            events.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(handler).and_then(|mut watcher| {
        watcher.watch(dir, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(|error| tracing::warn!(dir = %dir.display(), %error, "no file notifications; polling every 2 s"))
        .ok()
}
