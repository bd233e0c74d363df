//! The kernel's notifications of one folder, set again when they go to a folder that no longer has the name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::folder::Inode;

/// What the kernel told so far.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) arrived: Notify,
    count: AtomicU64,
}

impl Events {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

/// The notifications of a folder.
#[derive(Debug)]
pub(super) struct Kernel {
    dir: PathBuf,
    events: Arc<Events>,
    /// The folder that had the name when the watch was set: the kernel watches that one, whatever its name becomes.
    inode: Option<Inode>,
    watcher: Option<RecommendedWatcher>,
}

impl Kernel {
    pub(super) fn new(dir: &Path, events: Arc<Events>) -> Self {
        let mut this = Self {
            dir: dir.to_owned(),
            events,
            inode: None,
            watcher: None,
        };
        this.follow();
        this
    }

    /// Sets the watch again if another folder has the name now; whether it did.
    pub(super) fn follow(&mut self) -> bool {
        let inode = std::fs::metadata(&self.dir).ok().map(|m| Inode::of(&m));
        let other = inode != self.inode;
        if other {
            self.inode = inode;
            self.renew();
        }
        other
    }

    /// Sets the watch again.
    pub(super) fn renew(&mut self) {
        self.watcher = self
            .inode
            .and_then(|_| watch(&self.dir, Arc::clone(&self.events)));
    }
}

/// Nothing where there are no notifications to be had, then the poll alone finds changes.
fn watch(dir: &Path, events: Arc<Events>) -> Option<RecommendedWatcher> {
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
            events.count.fetch_add(1, Ordering::SeqCst);
            events.arrived.notify_one();
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
