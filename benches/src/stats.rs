//! Medians of paired rounds, with intervals that make no assumption on how noise is distributed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How often the rounds are drawn anew for an interval.
const RESAMPLES: usize = 2_000;

/// A median with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    /// The median of `values` and its percentile bootstrap interval. The same values and seed give the
    /// same interval.
    pub(crate) fn of(values: &[f64], seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut drawn = vec![0.0; values.len()];
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                for slot in &mut drawn {
                    *slot = values[rng.random_range(0..values.len())];
                }
                median(&mut drawn)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        Self {
            median: median(&mut values.to_vec()),
            low: medians[RESAMPLES * 25 / 1_000],
            high: medians[RESAMPLES * 975 / 1_000 - 1],
        }
    }
}

/// The median; sorts the values. Not a number of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn the_interval_holds_the_median_and_is_the_same_again() {
        let values: Vec<f64> = (0..101)
            .map(|i| 1.0 + f64::from((i * 37) % 101) / 1_000.0)
            .collect();
        let estimate = Estimate::of(&values, 7);
        assert!((estimate.median - 1.05).abs() < 1e-9);
        assert!(1.02 < estimate.low && estimate.low < estimate.median);
        assert!(estimate.median < estimate.high && estimate.high < 1.08);
        assert_eq!(estimate, Estimate::of(&values, 7));
    }

    #[test]
    fn one_wild_round_does_not_move_it() {
        let mut values = vec![1.0; 99];
        values.push(1_000.0);
        let estimate = Estimate::of(&values, 7);
        assert_eq!(
            (estimate.low, estimate.median, estimate.high),
            (1.0, 1.0, 1.0)
        );
    }
}
