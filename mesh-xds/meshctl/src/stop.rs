//! When a server of ours ends: Ctrl-C, SIGTERM, or the end of standard input.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use tokio::sync::oneshot;

use crate::failure::Failure;

/// When to stop, besides signals.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(skip)] // flattened beside the command's own arguments
pub(crate) struct Args {
    /// Stop when standard input ends: a parent that dies then takes this process with it.
    #[arg(long)]
    stop_on_stdin_eof: bool,
}

/// Waits for the first reason to stop.
pub(crate) async fn wanted(args: Args) {
    tokio::select! {
        () = signal() => {}
        () = stdin_eof(), if args.stop_on_stdin_eof => {}
    }
}

/// Ctrl-C or SIGTERM; never, where they cannot be had.
pub(crate) async fn signal() {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut term) = signal(SignalKind::terminate()) else {
            return ctrl_c.await;
        };
        tokio::select! {
            () = ctrl_c => {}
            _ = term.recv() => {}
        }
    }
    #[cfg(not(unix))]
    ctrl_c.await;
}

/// Reads on a thread of its own: tokio's stdin would hold the runtime's end up.
async fn stdin_eof() {
    let (sender, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while io::stdin().read(&mut buffer).is_ok_and(|n| n > 0) {}
        drop(sender);
    });
    // The sender is only ever dropped.
    let _ = ended.await;
}

/// Tells on standard output, as one JSON line, where a server listens.
pub(crate) fn listening(address: SocketAddr) -> Result<(), Failure> {
    listening_also(address, None)
}

/// The same, and where it does so over TLS (`listening_tls`).
pub(crate) fn listening_also(
    address: SocketAddr,
    secure: Option<SocketAddr>,
) -> Result<(), Failure> {
    let mut told = serde_json::json!({ "listening": address.to_string() });
    if let Some(secure) = secure {
        told["listening_tls"] = secure.to_string().into();
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{told}")?;
    out.flush()?;
    Ok(())
}
