//! The one thread of a mesh for TLS: handshakes, whose cryptography would hold up the calls of a request worker, and what
//! feeds the mesh with certificates.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Started when it is first needed; it ends when this is dropped.
#[derive(Default)]
pub(super) struct Thread(OnceLock<Running>);

struct Running {
    handle: Handle,
    /// Held for its drop.
    _open: oneshot::Sender<()>,
}

impl Thread {
    /// Where to spawn.
    pub(super) fn handle(&self) -> io::Result<&Handle> {
        if let Some(running) = self.0.get() {
            return Ok(&running.handle);
        }
        let started = start()?;
        // Of two that are started at once the second ends here.
        Ok(&self.0.get_or_init(|| started).handle)
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
