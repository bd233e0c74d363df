//! Graceful end: listeners stop, connections finish what runs, and then somebody is told.

use std::time::Duration;

use tokio::sync::watch;

/// Shared by the listeners of a mesh. Cloned receivers count the connections that are left.
#[derive(Debug)]
pub(crate) struct Drain {
    draining: watch::Sender<bool>,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            draining: watch::Sender::new(false),
        }
    }
}

impl Drain {
    /// Held by each listener and connection; dropped at its end.
    pub(crate) fn member(&self) -> Member {
        Member(self.draining.subscribe())
    }

    /// Tells every member, and waits for them to end.
    pub(crate) async fn run(&self, timeout: Duration) {
        self.draining.send_replace(true);
        if tokio::time::timeout(timeout, self.draining.closed())
            .await
            .is_err()
        {
            tracing::warn!(
                left = self.draining.receiver_count(),
                "connections still open after {timeout:?} of draining"
            );
        }
    }
}

/// A listener or a connection that a drain waits for.
#[derive(Debug, Clone)]
pub(crate) struct Member(watch::Receiver<bool>);

impl Member {
    /// Resolves when draining begins.
    pub(crate) async fn draining(&mut self) {
        // A mesh that is gone drains as well.
        drop(self.0.wait_for(|draining| *draining).await);
    }
}
