//! The life of one process: where it listens, and when it must stop.
//!
//! A child of the launcher says its address as one JSON line on stdout and stops when its stdin closes. The kernel
//! closes that pipe however the launcher ends, so no child outlives it, not even after a SIGKILL.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mesh_tower::{ListenError, Mesh, MeshListener};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// How long open requests are given when a process stops.
pub const GRACE: Duration = Duration::from_secs(5);

/// The line that a process prints when it accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Where.
    pub listening: SocketAddr,
}

/// Prints `{"listening":"ADDR"}`.
///
/// # Errors
/// When stdout is closed.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    say(&serde_json::to_string(&Listening { listening: address })?)
}

/// Prints a line on stdout at once.
///
/// # Errors
/// When stdout is closed.
pub fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Prints a line on stderr; nobody is told if that is closed.
pub fn warn(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Waits for the end of stdin.
pub fn stdin_closed() -> impl Future<Output = ()> + Send + 'static {
    let (sender, closed) = oneshot::channel();
    // A thread of our own: tokio's stdin would hold up the end of the runtime.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        let _ = sender.send(());
    });
    async move {
        let _ = closed.await;
    }
}

/// Waits until this process should stop: a signal, or with `stdin_eof` the end of stdin.
pub fn stop(stdin_eof: bool) -> impl Future<Output = ()> + Send + 'static {
    let closed = stdin_eof.then(stdin_closed);
    async move {
        if let Some(closed) = closed {
            tokio::select! {
                () = signal() => {}
                () = closed => {}
            }
        } else {
            signal().await;
        }
    }
}

/// Serves until `stop`, then lets open requests end.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    mesh: &Mesh,
    listener: MeshListener,
    app: axum::Router,
    stop: impl Future<Output = ()>,
) -> Result<(), ListenError> {
    let mut serving = tokio::spawn(listener.serve(app));
    tokio::select! {
        ended = &mut serving => ended.unwrap_or(Ok(())),
        () = stop => {
            let drained = async {
                mesh.shutdown().await;
                let _ = (&mut serving).await;
            };
            if tokio::time::timeout(GRACE, drained).await.is_err() {
                tracing::warn!("requests were still open after {GRACE:?}; they end here");
            }
            serving.abort();
            Ok(())
        }
    }
}
