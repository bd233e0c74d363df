//! The one thread of a mesh for TLS: handshakes, whose cryptography would hold up the calls of a request worker, and what
//! feeds the mesh with certificates.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::trust::Role;

/// How many handshakes run at a time that we begin, and as many that others begin: each holds a socket and some 50 KiB.
/// Others must not keep us from calling.
const MOST: usize = 1024;

/// Started when it is first needed; it ends when this is dropped.
pub(super) struct Thread {
    running: OnceLock<Running>,
    /// For handshakes that we begin.
    calling: Semaphore,
    /// For those that others begin.
    called: Semaphore,
}

struct Running {
    handle: Handle,
    /// Held for its drop.
    _open: oneshot::Sender<()>,
}

impl Thread {
    /// Where to spawn.
    pub(super) fn handle(&self) -> io::Result<&Handle> {
        if let Some(running) = self.running.get() {
            return Ok(&running.handle);
        }
        let started = start()?;
        // Of two that are started at once the second ends here.
        Ok(&self.running.get_or_init(|| started).handle)
    }

    /// Runs a handshake there. It begins there, too: half of its cryptography is done before it is polled. Its socket stays with
    /// the runtime that opened it; only the work moves. Whoever stops waiting ends it.
    pub(super) async fn shake<T, F>(
        &self,
        end: Role,
        handshake: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send,
    {
        let room = match end {
            Role::Client => &self.calling,
            Role::Server => &self.called,
        };
        let _permit = room.acquire().await.map_err(io::Error::other)?;
        // A set ends what is in it when it is dropped.
        let mut one = JoinSet::new();
        one.spawn_on(async move { handshake().await }, self.handle()?);
        match one.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Err(io::Error::other("the thread for TLS has ended")),
        }
    }
}

impl Default for Thread {
    fn default() -> Self {
        Self {
            running: OnceLock::new(),
            calling: Semaphore::new(MOST),
            called: Semaphore::new(MOST),
        }
    }
}

fn start() -> io::Result<Running> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (open, closed) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("mesh-tls".to_owned())
        .spawn(move || {
            // The sender sends nothing, it goes.
            drop(runtime.block_on(closed));
            // Reads of files that hang must not hang the thread.
            runtime.shutdown_background();
        })?;
    Ok(Running {
        handle,
        _open: open,
    })
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Thread")
    }
}
