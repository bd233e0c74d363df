//! Faults that the configuration injects (gRPC A33): a delay before a call, an answer in place of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use mesh_core::route::{AbortStatus, Injected, Limits, Route};
use tokio::time::{Instant, sleep};

use super::limit::{By, Watch};
use super::options::Due;
use crate::duration::bounded;
use crate::error::{Error, Place};
use crate::telemetry::FaultStats;

/// What a mesh counts of them.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: AtomicU64,
    delayed: AtomicU64,
    aborted: AtomicU64,
    overflowed: AtomicU64,
}

impl Faults {
    /// Lets a request have its fault, unless as many have one as may (`max_active_faults`). As Envoy's, the limit is
    /// exact for one request after the other only.
    pub(super) fn admit(self: &Arc<Self>, injected: &Injected, most: Option<u32>) -> Option<Fault> {
        let active = Active(Arc::clone(self));
        let others = self.active.fetch_add(1, Relaxed);
        if most.is_some_and(|most| others >= u64::from(most)) {
            self.overflowed.fetch_add(1, Relaxed);
            return None;
        }
        let flags = match (&injected.delay, &injected.abort) {
            (Some(_), Some(_)) => "DI,FI",
            (Some(_), None) => "DI",
            (None, _) => "FI",
        };
        Some(Fault {
            delay: injected.delay,
            flags,
            active,
        })
    }

    pub(crate) fn read(&self) -> FaultStats {
        FaultStats {
            active: self.active.load(Relaxed),
            delayed: self.delayed.load(Relaxed),
            aborted: self.aborted.load(Relaxed),
            overflowed: self.overflowed.load(Relaxed),
        }
    }

    pub(super) fn aborted(&self) {
        self.aborted.fetch_add(1, Relaxed);
    }
}

/// One of those that are active at this moment.
#[derive(Debug)]
struct Active(Arc<Faults>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

/// The fault of one request. It counts as active until its response begins.
#[derive(Debug)]
pub(super) struct Fault {
    delay: Option<Duration>,
    /// Envoy's response flags.
    pub(super) flags: &'static str,
    active: Active,
}

impl Fault {
    /// Whether the request has to wait.
    pub(super) const fn delays(&self) -> bool {
        self.delay.is_some()
    }

    /// Waits for as long as the request has to, and tells since when. The route's `timeout` begins after that, as
    /// Envoy's fault filter stands in front of its router; all other limits hold meanwhile.
    pub(super) async fn wait(
        &self,
        limits: Limits,
        due: Option<Due>,
        place: &Place,
    ) -> Result<Option<Instant>, Error> {
        let Some(delay) = self.delay else {
            return Ok(None);
        };
        self.active.0.delayed.fetch_add(1, Relaxed);
        let since = Instant::now();
        let delay = sleep(bounded(delay));
        let limits = Limits {
            route: None,
            ..limits
        };
        let Some(mut watch) = Watch::start(limits, due, By::Route, None, false) else {
            delay.await;
            return Ok(Some(since));
        };
        tokio::select! {
            biased;
            () = delay => Ok(Some(since)),
            expired = std::future::poll_fn(|cx| watch.as_mut().poll(cx)) => {
                Err(watch.error(expired, place.clone()))
            }
        }
    }
}

/// The answer of a fault.
#[derive(Debug)]
pub(crate) struct Abort {
    /// By whose rules its headers are changed.
    pub(crate) route: Arc<Route>,
    /// Which of the route's choices, if it forwards.
    pub(crate) choice: Option<usize>,
    /// The name of its cluster.
    pub(crate) cluster: Option<Arc<str>>,
    pub(crate) status: AbortStatus,
    pub(crate) body: Bytes,
}
