//! A clock that stands still until a test moves it.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// Stops the clock of the current runtime. tokio's own paused clock runs ahead whenever all tasks wait,
/// also when it is for a socket; while a blocking task runs, it does not.
pub(crate) struct Frozen {
    _held: mpsc::Sender<()>,
}

impl Frozen {
    pub(crate) fn start() -> Self {
        let (held, wait) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || wait.recv().is_ok());
        tokio::time::pause();
        Self { _held: held }
    }

    /// Moves the clock, after what is happening, and lets everything happen that happens then.
    pub(crate) async fn advance(&self, millis: u64) {
        settle().await;
        tokio::time::advance(Duration::from_millis(millis)).await;
        settle().await;
    }

    /// What somebody gets who waits while the clock moves, and then something is done.
    pub(crate) async fn while_advancing<T>(
        &self,
        millis: u64,
        then: impl FnOnce(),
        waiting: impl Future<Output = T>,
    ) -> T {
        let moving = async {
            self.advance(millis).await;
            then();
            self.until("the end of a wait", || false).await;
        };
        tokio::select! {
            biased;
            got = waiting => got,
            () = moving => panic!("`until` never ends this way"),
        }
    }

    /// What a call came to that has to end without the clock moving on.
    pub(crate) async fn done<T>(&self, call: JoinHandle<T>) -> T {
        self.until("the call to end", || call.is_finished()).await;
        call.await.unwrap()
    }

    /// Waits for a condition while the clock stands still.
    pub(crate) async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "waited 20 s for {what}"
            );
            settle().await;
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

/// Lets tasks and sockets of the runtime go on for a while.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
