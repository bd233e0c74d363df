//! Runs a property over inputs drawn from a fixed seed, so that a failure replays by itself.

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// Panics with the seed and the smallest input found for which `property` does not hold.
pub(crate) fn holds<S>(
    seed: u64,
    cases: u32,
    inputs: &S,
    property: impl Fn(S::Value) -> TestCaseResult,
) where
    S: Strategy,
    S::Value: Debug,
{
    eprintln!("seed {seed}, {cases} cases");
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    if let Err(failure) = TestRunner::new(config).run(inputs, property) {
        panic!("seed {seed}: {failure}");
    }
}
