//! How long a provider waits before it asks again.

use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;

use crate::random::{Randomness, SplitMix};

/// The wait after the first attempt that failed, how it grows, and the longest: as xDS clients wait, but not so long, because
/// who is asked is of this machine.
const FIRST: Duration = Duration::from_millis(100);
const GROWTH: f64 = 1.6;
const LONGEST: Duration = Duration::from_secs(10);
/// Not all processes of a machine at once.
const JITTER: [f64; 2] = [0.8, 1.2];

/// Waits that grow.
pub(super) struct Pauses {
    next: Duration,
    rng: SplitMix,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self {
            next: FIRST,
            rng: Randomness::new(crate::builder::seed_from_time()).next(),
        }
    }

    /// It went well: the next begins anew.
    pub(super) const fn reset(&mut self) {
        self.next = FIRST;
    }

    pub(super) async fn wait(&mut self) {
        let jitter = self.rng.random_range(JITTER[0]..JITTER[1]);
        sleep(self.next.mul_f64(jitter)).await;
        self.next = self.next.mul_f64(GROWTH).min(LONGEST);
    }
}
