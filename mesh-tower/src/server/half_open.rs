//! Connections that are being opened: each in a task of its own, so that the one that is slow holds up none that is not.

use std::collections::VecDeque;

use tokio::task::{AbortHandle, JoinSet};

use super::stream::MeshStream;

/// How many there may be. Of more, the oldest is closed: who is honest is done in milliseconds, and those that wait
/// for nothing must not keep others out.
pub(super) const MOST: usize = 1024;

/// The connections of a listener that are being opened. They are closed when this is dropped.
#[derive(Debug, Default)]
pub(super) struct HalfOpen {
    tasks: JoinSet<Option<MeshStream>>,
    /// By age; some have ended.
    by_age: VecDeque<AbortHandle>,
}

impl HalfOpen {
    /// Opens one. Returns whether another had to go.
    pub(super) fn open(
        &mut self,
        opening: impl Future<Output = Option<MeshStream>> + Send + 'static,
    ) -> bool {
        self.by_age.push_back(self.tasks.spawn(opening));
        if self.by_age.len() > 2 * MOST {
            self.by_age.retain(|task| !task.is_finished());
        }
        while self.by_age.front().is_some_and(AbortHandle::is_finished) {
            self.by_age.pop_front();
        }
        if self.tasks.len() <= MOST {
            return false;
        }
        let oldest = self.by_age.pop_front();
        oldest.inspect(AbortHandle::abort).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next one that is open. Nothing is lost when this is dropped.
    pub(super) async fn next(&mut self) -> MeshStream {
        while let Some(opened) = self.tasks.join_next().await {
            // What was closed, and what was aborted, is none.
            if let Ok(Some(stream)) = opened {
                return stream;
            }
        }
        std::future::pending().await
    }
}
