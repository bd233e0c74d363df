//! What the backends got of each request: the request itself, and its copies for mirrors, which nobody answers.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::backend::Seen;

/// The header by which a request and its copies are known. Each sending on each side has a number of its own.
pub(crate) const NUMBER: &str = "x-oracle-number";
/// How long a copy may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What arrived and was not taken yet. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Copies {
    all: Arc<Mutex<Arrived>>,
    next: Arc<AtomicU64>,
    arrivals: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Arrived {
    by_number: BTreeMap<u64, Vec<Seen>>,
    /// Of these nobody knows how many copies they have.
    forgotten: HashSet<u64>,
}

impl Copies {
    /// Nothing arrived yet.
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::default(),
            next: Arc::default(),
            arrivals: watch::Sender::new(0),
        }
    }

    /// A number that no request has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// A backend got this.
    pub(crate) fn arrived(&self, number: u64, seen: Seen) {
        let mut all = self.all();
        if !all.forgotten.contains(&number) {
            all.by_number.entry(number).or_default().push(seen);
        }
        drop(all);
        self.arrivals.send_modify(|count| *count += 1);
    }

    /// What the backends got under this number, once it is as many or too late.
    pub(crate) async fn take(&self, number: u64, wanted: usize) -> Vec<Seen> {
        let mut arrivals = self.arrivals.subscribe();
        let enough = |_: &u64| self.all().by_number.get(&number).map_or(0, Vec::len) >= wanted;
        let _ = tokio::time::timeout(LIMIT, arrivals.wait_for(enough)).await;
        self.all().by_number.remove(&number).unwrap_or_default()
    }

    /// Whatever the backends get under this number is of no interest.
    pub(crate) fn forget(&self, number: u64) {
        let mut all = self.all();
        all.by_number.remove(&number);
        all.forgotten.insert(number);
    }

    /// What arrived and was expected by nobody.
    pub(crate) fn strays(&self) -> Vec<Seen> {
        let strays = std::mem::take(&mut self.all().by_number);
        strays.into_values().flatten().collect()
    }

    fn all(&self) -> MutexGuard<'_, Arrived> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
