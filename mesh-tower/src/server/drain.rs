//! Graceful end: listeners stop, connections finish what runs, and then somebody is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;

/// How long a drain waits for what it has cut. A handler that blocks its thread cannot be cut at all, and must
/// not keep the process.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// Shared by the listeners of a mesh. Cloned receivers count the listeners and connections that are left.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
    members: watch::Sender<()>,
    begun: Begun,
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
            members: watch::Sender::new(()),
            begun: Begun::default(),
        }
    }
}

impl Drain {
    /// Held by each listener and connection; dropped at its end.
    pub(crate) fn member(&self) -> Member {
        Member {
            watcher: self.watcher(),
            _counted: self.members.subscribe(),
        }
    }

    /// Sees the phases, and is not waited for.
    pub(crate) fn watcher(&self) -> Watcher {
        Watcher {
            phase: self.phase.subscribe(),
        }
    }

    pub(crate) fn begun(&self) -> Begun {
        self.begun.clone()
    }

    /// Tells every member, waits for them to end, and closes those that do not in time.
    pub(crate) async fn run(&self, timeout: Duration) {
        self.enter(Phase::Draining);
        if tokio::time::timeout(timeout, self.members.closed())
            .await
            .is_ok()
        {
            return;
        }
        let left = self.members.receiver_count();
        tracing::warn!(
            left,
            "connections closed that were still in use after {timeout:?} of draining"
        );
        self.enter(Phase::Over);
        if tokio::time::timeout(CUT_TIMEOUT, self.members.closed())
            .await
            .is_err()
        {
            let left = self.members.receiver_count();
            tracing::warn!(left, "connections did not end when they were closed");
        }
    }

    #[cfg(test)]
    pub(crate) fn members_now(&self) -> usize {
        self.members.receiver_count()
    }

    /// Phases only go forward: a second drain shortens the first and never takes it back.
    fn enter(&self, phase: Phase) {
        self.begun.0.store(true, Relaxed);
        self.phase.send_if_modified(|now| {
            let is_later = phase > *now;
            *now = phase.max(*now);
            is_later
        });
    }
}

/// A listener or a connection that a drain waits for.
#[derive(Debug)]
pub(crate) struct Member {
    pub(super) watcher: Watcher,
    _counted: watch::Receiver<()>,
}

/// Whether draining has begun, for those who ask at each request: no lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Begun(Arc<AtomicBool>);

impl Begun {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Sees a drain begin and end.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    phase: watch::Receiver<Phase>,
}

impl Watcher {
    /// Resolves when draining begins. A mesh that is gone drains as well.
    pub(crate) async fn draining(&mut self) {
        drop(self.phase.wait_for(|now| *now >= Phase::Draining).await);
    }

    /// Resolves when the mesh is gone.
    pub(crate) async fn gone(&mut self) {
        while self.phase.changed().await.is_ok() {}
    }

    /// Resolves when the time for draining is up; never for a mesh that is gone, because nobody set a time.
    pub(crate) async fn over(&mut self) {
        if self
            .phase
            .wait_for(|now| *now == Phase::Over)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}
