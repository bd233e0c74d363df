//! One look at a watched folder: what it holds, and whether that is to be believed yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::kernel::{Events, Kernel};
use crate::config::{Loaded, Options};
use crate::diagnostic::Rejected;
use crate::folder;

/// A notification during a reading asks for another one; one that comes again and again is about something else
/// than our files.
const READINGS: u32 = 4;
/// A file that had content is given so long to get it back: many programs empty a file before they write it.
const EMPTY: Duration = Duration::from_millis(300);

/// The files of a folder, or why they cannot be read.
pub(super) type Content = Result<folder::Content, Rejected>;

/// What a look found.
pub(super) enum Seen {
    /// What was last returned.
    Same,
    /// Something else.
    Other(Content, Result<Loaded, Rejected>),
    /// Files that are about to be written: look again at this time.
    Emptied(Instant),
    /// No two listings alike.
    Restless,
}

/// Who looks.
#[derive(Debug)]
pub(super) struct Looker {
    dir: PathBuf,
    options: Options,
    kernel: Kernel,
    events: Arc<Events>,
    /// The notifications up to the last look that settled something.
    heard: u64,
    /// Until when each file that lost its content may get it back.
    emptied: BTreeMap<PathBuf, Instant>,
}

impl Looker {
    pub(super) fn new(dir: &Path, options: Options, events: Arc<Events>) -> Self {
        Self {
            dir: dir.to_owned(),
            options,
            kernel: Kernel::new(dir, Arc::clone(&events)),
            heard: events.count(),
            events,
            emptied: BTreeMap::new(),
        }
    }

    /// Reads the folder and compares it with what was last returned.
    pub(super) fn look(&mut self, last: &Content, now: Instant) -> Seen {
        let renewed = self.kernel.follow();
        let Some((mut content, mut heard)) = self.read() else {
            return Seen::Restless;
        };
        if content != *last && heard == self.heard && !renewed {
            // A change that no one told: the watch looks elsewhere. What happens before it is set again is told by
            // no one either, so read after that.
            self.kernel.renew();
            let Some(again) = self.read() else {
                return Seen::Restless;
            };
            (content, heard) = again;
        }
        if content == *last {
            self.heard = heard;
            self.emptied.clear();
            return Seen::Same;
        }
        if let Some(until) = self.wait_for_content(last, &content, now) {
            return Seen::Emptied(until);
        }
        self.heard = heard;
        let loaded = content.clone().and_then(|content| self.options.of(content));
        Seen::Other(content, loaded)
    }

    /// The content, and the number of notifications before it was read.
    fn read(&self) -> Option<(Content, u64)> {
        let mut reading = 1;
        loop {
            let heard = self.events.count();
            let content = folder::read_at_rest(&self.dir)?;
            if heard == self.events.count() || reading == READINGS {
                return Some((content, heard));
            }
            reading += 1;
        }
    }

    /// Until when to wait for the content of files that had some and have none.
    fn wait_for_content(
        &mut self,
        last: &Content,
        content: &Content,
        now: Instant,
    ) -> Option<Instant> {
        let (Ok(last), Ok(content)) = (last, content) else {
            return None;
        };
        let lost = |path: &PathBuf| {
            content.texts.get(path).is_some_and(String::is_empty)
                && last.texts.get(path).is_some_and(|text| !text.is_empty())
        };
        self.emptied.retain(|path, _| lost(path));
        for path in content.texts.keys().filter(|path| lost(path)) {
            self.emptied
                .entry(path.clone())
                .or_insert_with(|| now + EMPTY);
        }
        self.emptied
            .values()
            .copied()
            .filter(|until| *until > now)
            .min()
    }
}
