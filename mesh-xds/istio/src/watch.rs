//! Watching a folder: load now, then reload on change.
//!
//! The kernel's notifications make it quick, a slow poll makes it sure (network file systems, watches that ran
//! out), and the comparison of bytes makes it quiet: a touch without a change is no change.

mod kernel;
mod look;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Loaded, Options};
use crate::diagnostic::Rejected;
use crate::folder;
use crate::watch::kernel::Events;
use crate::watch::look::{Content, Looker, Seen};

/// How long a folder must be quiet after a notification: editors write in several steps.
const QUIET: Duration = Duration::from_millis(20);
/// A folder that never gets quiet is read after this time.
const BUSY: Duration = Duration::from_millis(200);
/// How often the folder is read without any notification.
const POLL: Duration = Duration::from_secs(2);

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
    events: Arc<Events>,
    /// Shared with the thread that reads, which goes on when the wait for it is cancelled.
    looker: Arc<Mutex<Looker>>,
    /// Set from a notification until the folder has been read: the wait may be cancelled in between.
    pending: bool,
    next_poll: Option<Instant>,
    /// Whether it was told that the folder does not come to rest.
    restless: bool,
}

impl Watcher {
    /// Loads the folder and starts to watch it. Needs no runtime.
    ///
    /// # Errors
    /// When the folder cannot be read or is rejected.
    pub fn start(dir: &Path) -> Result<(Self, Loaded), Rejected> {
        Self::start_with(dir, Options::default())
    }

    /// The same for a mesh that has more than its folder.
    ///
    /// # Errors
    /// As with [`start`](Self::start).
    pub fn start_with(dir: &Path, options: Options) -> Result<(Self, Loaded), Rejected> {
        let events = Arc::new(Events::default());
        // Watch first, read then: a change between the two is a notification.
        let looker = Looker::new(dir, options, Arc::clone(&events));
        let content = folder::read(dir)?;
        let loaded = options.of(content.clone())?;
        let this = Self {
            dir: dir.to_owned(),
            last: Arc::new(Ok(content)),
            events,
            looker: Arc::new(Mutex::new(looker)),
            pending: false,
            next_poll: None,
            restless: false,
        };
        Ok((this, loaded))
    }

    /// Waits until the folder's content differs from what was last returned, and loads it.
    ///
    /// A file that lost all its content is given 300 ms to get it back, since many programs empty a file before they
    /// write it. A folder whose files change faster than they can be listed is read when it comes to rest.
    ///
    /// Works on any tokio runtime with its time driver on. Cancel safe: dropping the future loses no change.
    ///
    /// # Errors
    /// The new content is rejected; the caller keeps its last good configuration. The same bad content is reported
    /// once.
    pub async fn changed(&mut self) -> Result<Loaded, Rejected> {
        loop {
            self.wait().await;
            let (looker, last) = (Arc::clone(&self.looker), Arc::clone(&self.last));
            let now = Instant::now();
            // Reading and checking a large folder takes longer than a task may hold its thread.
            let seen = tokio::task::spawn_blocking(move || {
                let mut looker = looker.lock().unwrap_or_else(PoisonError::into_inner);
                looker.look(&last, now)
            });
            let seen = seen.await;
            self.pending = false;
            self.next_poll = Some(Instant::now() + POLL);
            if !matches!(seen, Ok(Seen::Restless)) {
                self.restless = false;
            }
            match seen {
                Ok(Seen::Other(content, loaded)) => {
                    self.last = Arc::new(content);
                    return loaded;
                }
                Ok(Seen::Same) => {}
                Ok(Seen::Emptied(until)) => self.next_poll = Some(until),
                Ok(Seen::Restless) => self.tell_restless(),
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

    fn tell_restless(&mut self) {
        if !self.restless {
            tracing::warn!(dir = %self.dir.display(), "files change faster than they can be listed; the last content stays in force until they are at rest");
            self.restless = true;
        }
    }

    /// Waits for a notification and the quiet after it, or for the next poll.
    async fn wait(&mut self) {
        let poll = *self.next_poll.get_or_insert_with(|| Instant::now() + POLL);
        if !self.pending {
            if timeout_at(poll, self.events.arrived.notified())
                .await
                .is_err()
            {
                self.pending = true;
                return;
            }
            self.pending = true;
        }
        let busy = Instant::now() + BUSY;
        while Instant::now() < busy && timeout(QUIET, self.events.arrived.notified()).await.is_ok()
        {
        }
    }
}
