//! Connections that are closed before anything of them is served: counted by reason, and told of at a bounded rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mesh_core::server::Why;

#[cfg(feature = "tls")]
use crate::tls::TlsError;

/// How often a reason is told at most: a port scanner must not fill the disk.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Who connects and says nothing is a probe more often than not: it is counted, and told to those who look for it.
const SILENT: usize = 7;
/// How many reasons there are.
const KINDS: usize = 8;

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closing {
    #[error(
        "the rules for connections that come in (LDS) were not known within {0:?}; the control plane's log and `Mesh::status` say what it waits for"
    )]
    NotKnown(Duration),
    #[error("there are no rules that it could be served by: {0}")]
    NoRules(Arc<str>),
    #[error("{0}")]
    Chosen(#[from] Why),
    #[cfg(feature = "tls")]
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[cfg(not(feature = "tls"))]
    #[error("{0}: it is to be served over TLS, and mesh-tower was built without its feature `tls`")]
    NoTls(Arc<str>),
    #[cfg(not(feature = "tls"))]
    #[error("nothing came on it within {0:?}")]
    Silent(Duration),
    #[error("{0} connections were being opened at once, and it was the oldest")]
    Crowded(usize),
    #[error("the socket failed: {0}")]
    Socket(#[from] std::io::Error),
}

impl Closing {
    const fn kind(&self) -> usize {
        match self {
            Self::NotKnown(_) => 0,
            Self::NoRules(_) => 1,
            Self::Chosen(Why::PlaintextRefused) => 2,
            Self::Chosen(_) => 3,
            #[cfg(feature = "tls")]
            Self::Tls(TlsError::Silent) => SILENT,
            #[cfg(feature = "tls")]
            Self::Tls(_) => 4,
            #[cfg(not(feature = "tls"))]
            Self::NoTls(_) => 4,
            #[cfg(not(feature = "tls"))]
            Self::Silent(_) => SILENT,
            Self::Crowded(_) => 5,
            Self::Socket(_) => 6,
        }
    }
}

/// How many were closed, by reason.
#[derive(Debug)]
pub(crate) struct Closed {
    kinds: [Kind; KINDS],
    since: Instant,
}

#[derive(Debug, Default)]
struct Kind {
    count: AtomicU64,
    /// How many of them were told of.
    told: AtomicU64,
    /// When it may be told of again, in milliseconds since the mesh began.
    next: AtomicU64,
}

impl Default for Closed {
    fn default() -> Self {
        Self {
            kinds: Default::default(),
            since: Instant::now(),
        }
    }
}

impl Closed {
    /// Counts one, and tells of it if nothing of its kind was told lately.
    pub(super) fn note(&self, peer: SocketAddr, local: SocketAddr, closing: &Closing) {
        let Some(kind) = self.kinds.get(closing.kind()) else {
            return;
        };
        let count = kind.count.fetch_add(1, Relaxed) + 1;
        if closing.kind() == SILENT {
            tracing::debug!(%peer, %local, "connection closed: {closing}");
            return;
        }
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = kind.next.load(Relaxed);
        let after = now.saturating_add(TOLD_EVERY.as_millis() as u64);
        let is_mine = now >= next
            && kind
                .next
                .compare_exchange(next, after, Relaxed, Relaxed)
                .is_ok();
        if is_mine {
            let untold = count.saturating_sub(kind.told.swap(count, Relaxed) + 1);
            tracing::warn!(%peer, %local, untold, "connection closed: {closing}");
        }
    }

    /// All that were closed, by what closed them.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        const NAMES: [&str; KINDS] = [
            "rules_not_known",
            "no_rules",
            "plaintext_refused",
            "tls_refused",
            "handshake",
            "crowded",
            "socket",
            "silent",
        ];
        let counts = self.kinds.iter().map(|kind| kind.count.load(Relaxed));
        NAMES.into_iter().zip(counts)
    }
}
