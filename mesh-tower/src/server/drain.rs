//! Graceful end: listeners stop, connections finish what runs, and then somebody is told.

use std::time::Duration;

use tokio::sync::watch;

/// Shared by the listeners of a mesh. Cloned receivers count the connections that are left.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Nothing new; what runs may end.
    Draining,
    /// The time is up: connections are closed as they are.
    Over,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
        }
    }
}

impl Drain {
    /// Held by each listener and connection; dropped at its end.
    pub(crate) fn member(&self) -> Member {
        Member(self.phase.subscribe())
    }

    /// Tells every member, waits for them to end, and closes those that do not in time.
    pub(crate) async fn run(&self, timeout: Duration) {
        self.phase.send_replace(Phase::Draining);
        if tokio::time::timeout(timeout, self.phase.closed())
            .await
            .is_err()
        {
            let left = self.phase.receiver_count();
            tracing::warn!(
                left,
                "connections closed that were still in use after {timeout:?} of draining"
            );
            self.phase.send_replace(Phase::Over);
            self.phase.closed().await;
        }
    }
}

/// A listener or a connection that a drain waits for.
#[derive(Debug, Clone)]
pub(crate) struct Member(watch::Receiver<Phase>);

impl Member {
    /// Resolves when draining begins.
    pub(crate) async fn draining(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Resolves when the time for draining is up.
    pub(crate) async fn over(&mut self) {
        self.reached(Phase::Over).await;
    }

    async fn reached(&mut self, phase: Phase) {
        // A mesh that is gone drains as well.
        drop(self.0.wait_for(|now| *now >= phase).await);
    }
}
