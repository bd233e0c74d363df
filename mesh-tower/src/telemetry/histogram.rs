//! Calls of one kind: how many, and how long they took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Envoy's default buckets of histograms, in milliseconds, as they are written; each is an upper bound.
pub(crate) const BOUNDS: [&str; 19] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
    "30000", "60000", "300000", "600000", "1800000", "3600000",
];

/// The same in nanoseconds.
const NANOS: [u64; 19] = [
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    300_000_000_000,
    600_000_000_000,
    1_800_000_000_000,
    3_600_000_000_000,
];

/// How many fell into each bucket, the last without a bound, and their sum. The counter of calls is the sum of the
/// buckets, so that the two never differ.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Histogram {
    buckets: [AtomicU64; NANOS.len() + 1],
    /// 584 years of calls fit.
    nanos: AtomicU64,
}

impl Histogram {
    pub(super) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Most calls are short: the first buckets are the first looked at.
        let at = NANOS.iter().position(|bound| nanos <= *bound);
        let bucket = at.and_then(|at| self.buckets.get(at));
        let last = &self.buckets[NANOS.len()];
        bucket.unwrap_or(last).fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    pub(super) fn read(&self) -> Reading {
        Reading {
            buckets: self.buckets.each_ref().map(|count| count.load(Relaxed)),
            nanos: self.nanos.load(Relaxed),
        }
    }
}

/// What a histogram held at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Not cumulative.
    pub(super) buckets: [u64; NANOS.len() + 1],
    nanos: u64,
}

impl Reading {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn milliseconds(&self) -> f64 {
        self.nanos as f64 / 1e6
    }

    /// How many there are more in each bucket than there were, of those that have grown.
    #[cfg(feature = "metrics")]
    pub(super) fn since(&self, former: &Self) -> impl Iterator<Item = (usize, usize)> {
        let both = self.buckets.into_iter().zip(former.buckets);
        both.map(|(now, before)| usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX))
            .enumerate()
            .filter(|(_, more)| *more > 0)
    }

    /// Both together.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += count;
        }
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_upper_bounds_and_the_two_lists_are_one() {
        for (text, nanos) in BOUNDS.iter().zip(NANOS) {
            assert_eq!(text.parse::<f64>().map(|ms| (ms * 1e6) as u64), Ok(nanos));
        }
        let histogram = Histogram::default();
        for nanos in [0, 500_000, 500_001, 3_600_000_000_000, 3_600_000_000_001] {
            histogram.record(Duration::from_nanos(nanos));
        }
        let reading = histogram.read();
        let counts = [0, 1, 18, 19].map(|at| reading.buckets[at]);
        assert_eq!(counts, [2, 1, 1, 1]);
        assert_eq!(reading.count(), 5);
        assert!((reading.milliseconds() - 7_200_001.000_002).abs() < 1e-6);
    }
}
