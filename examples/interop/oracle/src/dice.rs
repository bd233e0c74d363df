//! Replayable random choices.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The only source of choices of a round.
#[derive(Debug)]
pub(crate) struct Dice(StdRng);

impl Dice {
    /// The choices of one round of a run.
    pub(crate) fn new(seed: u64, round: u64) -> Self {
        Self(StdRng::seed_from_u64(
            seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ))
    }

    /// True once in `n`.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }

    /// A number of the range, both ends included.
    pub(crate) fn number(&mut self, from: i64, to: i64) -> i64 {
        self.0.random_range(from..=to)
    }

    /// One of several.
    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// One of several texts.
    pub(crate) fn text(&mut self, choices: &[&str]) -> String {
        (*self.of(choices)).to_owned()
    }
}
