//! `Split::draw`: the shares are those of the weights, and the draws follow no pattern.
//!
//! The statistical tests run with fixed seeds at p = 0.001, so each passes always or never. Each
//! has a counterpart that it must refuse.

use mesh_core::route::{ClusterIndex, Split, SplitError};
use rand::SeedableRng;
use rand::rngs::StdRng;

#[path = "support/chi_square.rs"]
mod chi_square;

use chi_square::{counted, fits};

const DRAWS: usize = 100_000;

fn split(weights: &[u32]) -> Result<Split<ClusterIndex>, SplitError> {
    Split::new((0..).map(ClusterIndex).zip(weights.iter().copied()))
}

fn drawn(weights: &[u32], seed: u64) -> Vec<usize> {
    eprintln!("weights {weights:?}, seed {seed}");
    let split = split(weights).expect("these weights make a split");
    let mut rng = StdRng::seed_from_u64(seed);
    (0..DRAWS)
        .map(|_| split.draw(&mut rng).0 as usize)
        .collect()
}

/// The test of Wald and Wolfowitz at p = 0.001: whether the runs of `kind` and of all else are as
/// many as chance makes. A rotation has too many, or too few.
fn looks_random(sequence: &[usize], kind: usize) -> Result<(), String> {
    let of_kind = sequence.iter().filter(|drawn| **drawn == kind).count() as f64;
    let all = sequence.len() as f64;
    let others = all - of_kind;
    assert!(
        of_kind > 30.0 && others > 30.0,
        "too few of a kind: the test means nothing"
    );
    let changes = sequence
        .windows(2)
        .filter(|pair| (pair[0] == kind) != (pair[1] == kind));
    let runs = changes.count() as f64 + 1.0;
    let mean = 2.0 * of_kind * others / all + 1.0;
    let deviation = ((mean - 1.0) * (mean - 2.0) / (all - 1.0)).sqrt();
    let z = (runs - mean) / deviation;
    if z.abs() > 3.29 {
        Err(format!(
            "{runs} runs of {kind}, expected {mean:.0}: z {z:.1}"
        ))
    } else {
        Ok(())
    }
}

/// What a split must not be: the weights dealt out in turn, spread evenly.
fn rotation(weights: &[u32]) -> Vec<usize> {
    let total: u32 = weights.iter().sum();
    let mut credit = vec![0_i64; weights.len()];
    (0..DRAWS)
        .map(|_| {
            credit
                .iter_mut()
                .zip(weights)
                .for_each(|(credit, weight)| *credit += i64::from(*weight));
            let richest = (0..weights.len())
                .max_by_key(|at| credit[*at])
                .expect("there is a weight");
            credit[richest] -= i64::from(total);
            richest
        })
        .collect()
}

/// The same in blocks: all of the first, then all of the second.
fn blocks(weights: &[u32]) -> Vec<usize> {
    let turn = weights
        .iter()
        .enumerate()
        .flat_map(|(at, weight)| std::iter::repeat_n(at, *weight as usize));
    turn.collect::<Vec<_>>()
        .into_iter()
        .cycle()
        .take(DRAWS)
        .collect()
}

const WEIGHTS: &[&[u32]] = &[
    &[50, 50],
    &[90, 10],
    &[99, 1],
    &[1, 99],
    &[80, 15, 5],
    &[33, 33, 34],
    // Not adding to 100.
    &[1, 1],
    &[1, 2, 3, 4],
    &[3, 7, 11, 200, 450],
    &[7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
    &[1_000_000, 3_000_000],
    &[u32::MAX / 2, u32::MAX / 4, u32::MAX / 4],
    &[u32::MAX - 1_000_000_000, 1_000_000_000],
];

#[test]
fn shares_follow_the_weights() {
    for (weights, seed) in WEIGHTS.iter().zip(100..) {
        fits(&counted(weights.len(), drawn(weights, seed)), weights)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn draws_follow_no_pattern() {
    for (weights, seed) in WEIGHTS.iter().zip(200..) {
        let sequence = drawn(weights, seed);
        for kind in 0..weights.len() {
            looks_random(&sequence, kind)
                .unwrap_or_else(|error| panic!("{weights:?}, seed {seed}: {error}"));
        }
    }
}

#[test]
fn weight_0_is_never_drawn() {
    let sets: &[&[u32]] = &[
        &[0, 100],
        &[100, 0],
        &[0, 50, 0, 50, 0],
        &[0, 0, 1, 0],
        &[0, u32::MAX, 0],
    ];
    for (weights, seed) in sets.iter().zip(300..) {
        fits(&counted(weights.len(), drawn(weights, seed)), weights)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// The checks above can fail: wrong shares, and shares that are right but dealt in turn.
#[test]
fn wrong_shares_and_rotations_are_noticed() {
    for weights in [&[90, 10][..], &[50, 50], &[1, 2, 3, 4]] {
        for sequence in [rotation(weights), blocks(weights)] {
            fits(&counted(weights.len(), sequence.iter().copied()), weights)
                .expect("its shares are right");
            for kind in 0..weights.len() {
                looks_random(&sequence, kind).expect_err("a rotation must be noticed");
            }
        }
    }
    for (drawn_by, claimed) in [
        ([90, 10], [91, 9]),
        ([90, 10], [10, 90]),
        ([50, 50], [51, 49]),
        ([99, 1], [100, 0]),
    ] {
        fits(&counted(2, drawn(&drawn_by, 400)), &claimed)
            .expect_err("wrong shares must be noticed");
    }
}

#[test]
fn one_draw_of_the_same_seed_is_the_same_draw() {
    assert_eq!(drawn(&[60, 40], 7), drawn(&[60, 40], 7));
    assert_ne!(drawn(&[60, 40], 7), drawn(&[60, 40], 8));
}

#[test]
fn a_split_of_one_always_gives_it() {
    let mut rng = StdRng::seed_from_u64(1);
    let one = Split::one(ClusterIndex(5));
    assert!((0..100).all(|_| *one.draw(&mut rng) == ClusterIndex(5)));
    assert_eq!(one.weights().collect::<Vec<_>>(), [(&ClusterIndex(5), 1)]);
}

#[test]
fn weights_are_told_back_without_the_zeros() {
    let split = split(&[0, 3, 0, 5, u32::MAX - 8]).expect("adds up to the maximum");
    let weights: Vec<_> = split.weights().collect();
    assert_eq!(
        weights,
        [
            (&ClusterIndex(1), 3),
            (&ClusterIndex(3), 5),
            (&ClusterIndex(4), u32::MAX - 8)
        ]
    );
}

#[test]
fn the_ends_of_the_range_of_sums() {
    for nothing in [&[][..], &[0], &[0, 0, 0]] {
        assert_eq!(split(nothing), Err(SplitError::NoWeight), "{nothing:?}");
    }
    for too_much in [
        &[u32::MAX, 1][..],
        &[1, u32::MAX],
        &[u32::MAX; 3],
        &[1 << 31, 1 << 31],
    ] {
        assert_eq!(split(too_much), Err(SplitError::TooLarge), "{too_much:?}");
    }
    for fits in [
        &[u32::MAX][..],
        &[u32::MAX, 0],
        &[u32::MAX - 1, 1],
        &[1 << 31, (1 << 31) - 1],
    ] {
        assert!(split(fits).is_ok(), "{fits:?}");
    }
}
