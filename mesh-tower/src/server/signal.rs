//! Draining when the process is asked to end.

use std::io;
use std::time::Duration;

use crate::mesh::{DRAIN_TIMEOUT, Mesh};

/// Why [`Mesh::drain_on_signal`] cannot listen for signals.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// There is no tokio runtime to wait on.
    #[error("drain_on_signal waits on a tokio runtime; call it inside of one")]
    NoRuntime,
    /// The operating system gave no handler.
    #[error("cannot take SIGTERM and SIGINT: {0}")]
    Handler(#[from] io::Error),
}

impl Mesh {
    /// Takes SIGTERM and SIGINT (on other systems than Unix: ctrl-c) from here on: the first begins
    /// [`Self::shutdown`], the second ends its wait at once. A mesh that is not asked leaves signals alone.
    ///
    /// A signal does not end the process any more, not even after the drain: that stays `main`'s, when
    /// [`Self::serve`] or a server that was given [`Self::draining`] returns. The mesh lives until a signal comes.
    ///
    /// # Errors
    /// Outside of a tokio runtime, or when the operating system gives no handler.
    pub fn drain_on_signal(&self) -> Result<(), SignalError> {
        self.drain_on_signal_within(DRAIN_TIMEOUT)
    }

    /// [`Self::drain_on_signal`] with another time for requests that run than 10 s. Kubernetes kills after
    /// `terminationGracePeriodSeconds`, by default 30 s; choose less.
    ///
    /// # Errors
    /// As [`Self::drain_on_signal`].
    pub fn drain_on_signal_within(&self, timeout: Duration) -> Result<(), SignalError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| SignalError::NoRuntime)?;
        let mut signals = Signals::new()?;
        let mesh = self.clone();
        runtime.spawn(async move {
            let signal = signals.next().await;
            tracing::info!("{signal}: draining for at most {timeout:?}");
            tokio::select! {
                () = mesh.shutdown_within(timeout) => {}
                signal = signals.next() => {
                    tracing::warn!("{signal} while draining: connections are closed as they are");
                    mesh.shutdown_within(Duration::ZERO).await;
                }
            }
        });
        Ok(())
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    const fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "ctrl-c",
            Err(error) => {
                tracing::warn!(%error, "ctrl-c cannot be taken");
                std::future::pending().await
            }
        }
    }
}
