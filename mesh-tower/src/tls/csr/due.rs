//! When the next certificate is asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngExt;
use tokio::time::sleep;

use crate::builder::seed_from_time;
use crate::random::{Randomness, SplitMix};

/// How long it sleeps at most: a timer stands still while the machine is suspended, and a certificate's life goes on.
const NAP: Duration = Duration::from_secs(60);
/// Half of a life is more or less that much of it, so that workloads that were started together do not ask together. As
/// Istio's agent has it (`SECRET_GRACE_PERIOD_RATIO_JITTER`).
const JITTER: f64 = 0.01;
/// After a failure: this long, then longer and longer.
const FIRST: Duration = Duration::from_secs(1);
const FACTOR: f64 = 1.6;
const LONGEST: Duration = Duration::from_secs(60);

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The life of a certificate that has just been made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    since: u64,
    life: u64,
}

impl Due {
    pub(super) fn of(until: u64) -> Self {
        let since = now();
        Self {
            since,
            life: until.saturating_sub(since),
        }
    }

    /// Waits until half of the life is over, shifted by a jitter from -1 to 1.
    pub(super) async fn over(self, jitter: f64) {
        while let Some(rest) = self.rest(jitter, now()) {
            sleep(rest.min(NAP)).await;
        }
    }

    /// What of that time is left.
    fn rest(self, jitter: f64, now: u64) -> Option<Duration> {
        let half = Duration::from_secs(self.life).mul_f64(0.5 + JITTER * jitter);
        let gone = Duration::from_secs(now.saturating_sub(self.since));
        half.checked_sub(gone).filter(|rest| !rest.is_zero())
    }
}

/// How long to wait after failures.
#[derive(Debug)]
pub(super) struct Pause {
    random: SplitMix,
    next: Duration,
    longest: Duration,
}

impl Pause {
    pub(super) fn new() -> Self {
        Self {
            random: Randomness::new(seed_from_time()).next(),
            next: FIRST,
            longest: LONGEST,
        }
    }

    /// From -1 to 1.
    pub(super) fn jitter(&mut self) -> f64 {
        self.random.random_range(-1.0..=1.0)
    }

    /// The next of them; up to a fifth is taken off, so that those who fail together do not come back together.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.mul_f64(FACTOR).min(self.longest);
        pause.mul_f64(self.random.random_range(0.8..=1.0))
    }

    /// It went well: the next failure is a first one. A short life leaves no time for long pauses.
    pub(super) fn over(&mut self, last: Due) {
        self.longest = Duration::from_secs(last.life / 10).clamp(FIRST, LONGEST);
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_at_half_of_its_life_within_a_hundredth() {
        let day = Due {
            since: 1000,
            life: 86400,
        };
        let seconds = |jitter, now| day.rest(jitter, now).map(|rest| rest.as_secs());
        assert_eq!(seconds(0.0, 1000), Some(43200));
        assert_eq!(seconds(1.0, 1000), Some(43200 + 864));
        assert_eq!(seconds(-1.0, 1000), Some(43200 - 864));
        assert_eq!(seconds(0.0, 1000 + 43199), Some(1));
        assert_eq!(seconds(0.0, 1000 + 43200), None);
        // The machine slept over it, or the clock went back.
        assert_eq!(seconds(0.0, u64::MAX), None);
        assert_eq!(seconds(0.0, 0), Some(43200));
    }

    #[test]
    fn pauses_grow_and_fit_into_the_life() {
        let mut pause = Pause::new();
        let all: Vec<_> = (0..20).map(|_| pause.next()).collect();
        assert!(all[0] <= FIRST && all[0] >= FIRST.mul_f64(0.8));
        assert!(all[19] <= LONGEST && all[19] >= LONGEST.mul_f64(0.8));
        pause.over(Due { since: 0, life: 20 });
        let all: Vec<_> = (0..20).map(|_| pause.next()).collect();
        assert!(
            all.iter().all(|one| *one <= Duration::from_secs(2)),
            "{all:?}"
        );
    }
}
