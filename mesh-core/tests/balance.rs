//! Load balancing: who is picked, how often, and who never is.
//!
//! The statistical tests run with fixed seeds at p = 0.001, so each passes always or never.

use std::cell::RefCell;
use std::net::SocketAddr;

use mesh_core::cluster::{Endpoint, Health};
use mesh_core::lb::{Balancer, Cursor, LbConfig, LbPolicy, Overprovisioning, Panic};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[path = "support/chi_square.rs"]
mod chi_square;
#[path = "support/property.rs"]
mod property;

use chi_square::{counted, fits};

const POLICIES: [LbPolicy; 4] = [
    LbPolicy::RoundRobin,
    LbPolicy::Random,
    LbPolicy::LeastRequest { choices: 2 },
    LbPolicy::LeastRequest { choices: 5 },
];

fn endpoint(weight: u32) -> Endpoint {
    Endpoint {
        weight,
        ..Endpoint::new(SocketAddr::from(([10, 0, 0, 1], 9080)))
    }
}

fn balancer(policy: LbPolicy, weights: &[u32]) -> Balancer {
    let endpoints: Vec<Endpoint> = weights.iter().map(|weight| endpoint(*weight)).collect();
    Balancer::new(&policy.into(), &endpoints)
}

/// All to the first priority with a healthy endpoint, so that it is known who is picked.
fn strict(policy: LbPolicy, endpoints: &[Endpoint]) -> Balancer {
    let config = LbConfig {
        overprovisioning: Overprovisioning::Strict,
        ..policy.into()
    };
    Balancer::new(&config, endpoints)
}

/// Picks with nothing in flight and nothing to avoid.
fn picks(balancer: &Balancer, start: u64, seed: u64, count: usize) -> Vec<usize> {
    eprintln!("seed {seed}, {count} picks");
    let cursor = Cursor::starting_at(start);
    let mut rng = StdRng::seed_from_u64(seed);
    let pick = |_| {
        balancer
            .pick(&cursor, None, |_| 0, &mut rng)
            .expect("there are endpoints")
    };
    (0..count).map(pick).collect()
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[test]
fn round_robin_turns_are_exact_and_even() {
    let weights = prop::collection::vec(1_u32..30, 2..12);
    property::holds(31, 300, &(weights, any::<u32>()), |(weights, start)| {
        let divisor = weights.iter().copied().fold(0, gcd);
        let turn = weights.iter().sum::<u32>() / divisor;
        let balancer = balancer(LbPolicy::RoundRobin, &weights);
        // From any start, each turn has every endpoint as often as its weight says.
        let sequence = picks(&balancer, u64::from(start), 0, 3 * turn as usize);
        let expected: Vec<u64> = weights
            .iter()
            .map(|weight| u64::from(weight / divisor))
            .collect();
        for turn in sequence.chunks(turn as usize) {
            prop_assert_eq!(
                counted(weights.len(), turn.iter().copied()),
                expected.clone()
            );
        }
        // Within a turn nobody is ahead of its share, or behind it, by as much as two picks.
        let sequence = picks(&balancer, 0, 0, turn as usize);
        let mut counts = vec![0_u32; weights.len()];
        for (done, pick) in (1_u32..).zip(sequence) {
            counts[pick] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let share = f64::from(done) * f64::from(weight / divisor) / f64::from(turn);
                let ahead = f64::from(*count) - share;
                prop_assert!(ahead.abs() < 2.0, "{ahead} after {done} of {weights:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn round_robin_of_equal_weights_is_the_order_of_the_endpoints() {
    for weight in [1, 7, u32::MAX] {
        let balancer = balancer(LbPolicy::RoundRobin, &[weight; 4]);
        assert_eq!(picks(&balancer, 2, 0, 8), [2, 3, 0, 1, 2, 3, 0, 1]);
    }
}

#[test]
fn round_robin_does_not_bunch() {
    let sequence = picks(&balancer(LbPolicy::RoundRobin, &[1, 3]), 0, 0, 40);
    assert!(
        sequence
            .windows(4)
            .all(|window| window.iter().filter(|at| **at == 0).count() == 1)
    );
    // One heavy endpoint among many light ones alternates with them.
    let mut weights = [1; 20];
    weights[7] = 20;
    let sequence = picks(&balancer(LbPolicy::RoundRobin, &weights), 0, 0, 78);
    let longest = |of: &dyn Fn(&usize) -> bool| {
        sequence
            .split(|at| !of(at))
            .map(<[usize]>::len)
            .max()
            .expect("split yields one part at least")
    };
    assert!(longest(&|at| *at == 7) <= 2, "{sequence:?}");
    assert!(longest(&|at| *at != 7) <= 2, "{sequence:?}");
}

#[test]
fn round_robin_turns_are_exact_over_threads() {
    let balancer = balancer(LbPolicy::RoundRobin, &[5, 3, 2]);
    let cursor = Cursor::starting_at(4);
    let run = |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let pick = |_| {
            balancer
                .pick(&cursor, None, |_| 0, &mut rng)
                .expect("there are endpoints")
        };
        (0..2500).map(pick).collect::<Vec<_>>()
    };
    let picked: Vec<usize> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || run(seed))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no pick panics"))
            .collect()
    });
    assert_eq!(counted(3, picked), [5000, 3000, 2000]);
}

#[test]
fn round_robin_goes_on_over_the_end_of_the_cursor() {
    let sequence = picks(&balancer(LbPolicy::RoundRobin, &[1, 1]), u64::MAX - 1, 0, 4);
    assert_eq!(sequence, [0, 1, 0, 1]);
}

#[test]
fn random_follows_the_weights() {
    let sets: &[&[u32]] = &[
        &[1, 1],
        &[9, 1],
        &[1, 2, 3, 4],
        &[100, 1, 1],
        &[5; 10],
        &[30, 20, 7],
    ];
    for (weights, seed) in sets.iter().zip(500..) {
        let sequence = picks(&balancer(LbPolicy::Random, weights), 0, seed, 100_000);
        let counts = counted(weights.len(), sequence);
        fits(&counts, weights).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let mut wrong = weights.to_vec();
        wrong[0] *= 2;
        fits(&counts, &wrong).expect_err("twice the weight for the first must be noticed");
    }
}

#[test]
fn least_request_without_load_spreads_over_all() {
    let balancer = balancer(LbPolicy::LeastRequest { choices: 2 }, &[1; 6]);
    let counts = counted(6, picks(&balancer, 0, 600, 60_000));
    fits(&counts, &[1; 6]).expect("equal endpoints get equal shares");
}

#[test]
fn least_request_prefers_the_idle() {
    // One idle endpoint among four: two draws see it with probability 1 - (3/4)^2 = 7/16.
    let loads = [9_u64, 9, 0, 9];
    let balancer = balancer(LbPolicy::LeastRequest { choices: 2 }, &[1; 4]);
    let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(601));
    let pick = |_| {
        balancer
            .pick(&cursor, None, |at| loads[at], &mut rng)
            .expect("there are endpoints")
    };
    let counts = counted(4, (0..50_000).map(pick));
    fits(&counts, &[3, 3, 7, 3]).expect("7 of 16 go to the idle one");
    fits(&counts, &[1, 1, 1, 1]).expect_err("blind picks must be noticed");
}

#[test]
fn least_request_with_more_choices_hardly_misses_the_idle() {
    let loads = [3_u64, 2, 1, 0];
    let balancer = balancer(LbPolicy::LeastRequest { choices: 10 }, &[1; 4]);
    let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(602));
    let pick = |_| {
        balancer
            .pick(&cursor, None, |at| loads[at], &mut rng)
            .expect("there are endpoints")
    };
    let counts = counted(4, (0..10_000).map(pick));
    // Missed with probability (3/4)^10 = 5.6 %; five sigma are 1.2 %.
    assert!((9320..=9560).contains(&counts[3]), "{counts:?}");
    assert!(counts[0] < counts[1] && counts[1] < counts[2], "{counts:?}");
}

#[test]
fn least_request_keeps_the_load_level() {
    // The balls stay where they fall. Two choices keep the fullest bin within a few of the mean;
    // random picks of 20,000 balls into 100 bins do not (their deviation is 14).
    let fullest = |policy| {
        let balancer = balancer(policy, &[1; 100]);
        let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(603));
        let loads = RefCell::new(vec![0_u64; 100]);
        for _ in 0..20_000 {
            let load = |at: usize| loads.borrow()[at];
            let at = balancer
                .pick(&cursor, None, load, &mut rng)
                .expect("there are endpoints");
            loads.borrow_mut()[at] += 1;
        }
        loads
            .into_inner()
            .into_iter()
            .max()
            .expect("there are bins")
    };
    let level = fullest(LbPolicy::LeastRequest { choices: 2 });
    let random = fullest(LbPolicy::Random);
    assert!(level <= 205, "{level}");
    assert!(random > 215, "{random}");
}

#[test]
fn the_one_to_avoid_is_avoided() {
    for (policy, seed) in POLICIES.into_iter().zip(700..) {
        let balancer = balancer(policy, &[1; 5]);
        let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(seed));
        // Nothing is in flight at the one to avoid: least request likes it best.
        let load = |at: usize| u64::from(at != 3);
        let pick = |_| {
            balancer
                .pick(&cursor, Some(3), load, &mut rng)
                .expect("there are endpoints")
        };
        let counts = counted(5, (0..20_000).map(pick));
        assert_eq!(counts[3], 0, "{policy:?}");
        assert!(
            counts.iter().filter(|count| **count > 4000).count() == 4,
            "{policy:?}: {counts:?}"
        );
    }
}

#[test]
fn the_picks_that_avoid_go_evenly_to_the_others() {
    for (policy, seed) in [LbPolicy::Random, LbPolicy::LeastRequest { choices: 2 }]
        .into_iter()
        .zip(710..)
    {
        let balancer = balancer(policy, &[1; 4]);
        let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(seed));
        let pick = |_| {
            balancer
                .pick(&cursor, Some(0), |_| 0, &mut rng)
                .expect("there are endpoints")
        };
        let counts = counted(4, (0..30_000).map(pick));
        fits(&counts, &[0, 1, 1, 1]).unwrap_or_else(|error| panic!("{policy:?}: {error}"));
    }
}

#[test]
fn with_two_endpoints_the_other_one_is_taken() {
    for policy in POLICIES {
        let balancer = balancer(policy, &[1, 1000]);
        let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(720));
        for avoid in [0, 1].into_iter().cycle().take(2000) {
            assert_eq!(
                balancer.pick(&cursor, Some(avoid), |_| 0, &mut rng),
                Some(1 - avoid),
                "{policy:?}"
            );
        }
    }
}

#[test]
fn a_single_endpoint_is_picked_even_if_it_is_to_be_avoided() {
    for policy in POLICIES {
        let endpoints = [
            Endpoint {
                health: Health::Unhealthy,
                ..endpoint(1)
            },
            endpoint(7),
            Endpoint {
                priority: 1,
                ..endpoint(1)
            },
        ];
        let balancer = strict(policy, &endpoints);
        assert_eq!(balancer.eligible(), 1);
        let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(730));
        for avoid in [None, Some(0), Some(1), Some(2), Some(99)] {
            assert_eq!(
                balancer.pick(&cursor, avoid, |_| 9, &mut rng),
                Some(1),
                "{policy:?}, {avoid:?}"
            );
        }
    }
}

#[test]
fn without_an_eligible_endpoint_nothing_is_picked() {
    let unhealthy = Endpoint {
        health: Health::Unhealthy,
        ..endpoint(1)
    };
    for policy in POLICIES {
        for endpoints in [vec![], vec![unhealthy.clone()], vec![unhealthy.clone(); 3]] {
            let without_panic = LbConfig {
                panic: Panic {
                    threshold: 0,
                    ..Panic::default()
                },
                ..policy.into()
            };
            let balancer = Balancer::new(&without_panic, &endpoints);
            assert_eq!(balancer.eligible(), 0);
            let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(740));
            for avoid in [None, Some(0)] {
                assert_eq!(
                    balancer.pick(&cursor, avoid, |_| 0, &mut rng),
                    None,
                    "{policy:?}"
                );
            }
        }
    }
}

#[test]
fn only_healthy_endpoints_of_the_first_priority_with_one_are_picked() {
    let one =
        (0_u32..20, 0_u32..4, any::<bool>()).prop_map(|(weight, priority, healthy)| Endpoint {
            priority,
            health: if healthy {
                Health::Healthy
            } else {
                Health::Unhealthy
            },
            ..endpoint(weight)
        });
    let inputs = (
        prop::collection::vec(one, 0..12),
        prop::sample::select(POLICIES.to_vec()),
        prop::option::of(0_usize..14),
        any::<u64>(),
    );
    property::holds(32, 500, &inputs, |(endpoints, policy, avoid, seed)| {
        let balancer = strict(policy, &endpoints);
        let healthy = |at: &usize| endpoints[*at].health == Health::Healthy;
        let first = (0..endpoints.len())
            .filter(healthy)
            .map(|at| endpoints[at].priority)
            .min();
        let mut expected: Vec<usize> = (0..endpoints.len())
            .filter(|at| healthy(at) && Some(endpoints[*at].priority) == first)
            .collect();
        prop_assert_eq!(balancer.eligible(), expected.len());
        if let (Some(avoid), [_, _, ..]) = (avoid, &expected[..]) {
            expected.retain(|at| *at != avoid);
        }
        let cursor = Cursor::starting_at(seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut picked = Vec::new();
        for _ in 0..4000 {
            picked.extend(balancer.pick(&cursor, avoid, |_| 0, &mut rng));
        }
        prop_assert_eq!(picked.len(), if expected.is_empty() { 0 } else { 4000 });
        picked.sort_unstable();
        picked.dedup();
        // All of them, and nothing else: the least weight has more than 1 of 240 picks.
        prop_assert_eq!(picked, expected);
        Ok(())
    });
}

#[test]
fn least_request_asks_only_about_endpoints_that_may_be_picked() {
    let endpoints = [
        endpoint(1),
        Endpoint {
            health: Health::Unhealthy,
            ..endpoint(1)
        },
        endpoint(1),
        Endpoint {
            priority: 2,
            ..endpoint(1)
        },
    ];
    let balancer = strict(LbPolicy::LeastRequest { choices: 4 }, &endpoints);
    let asked = RefCell::new(vec![0_u64; 4]);
    let load = |at: usize| {
        asked.borrow_mut()[at] += 1;
        0
    };
    let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(750));
    for _ in 0..100 {
        balancer
            .pick(&cursor, None, load, &mut rng)
            .expect("there are endpoints");
    }
    assert_eq!(
        (
            asked.borrow()[1],
            asked.borrow()[3],
            asked.borrow().iter().sum()
        ),
        (0, 0, 400)
    );
}

/// Weights are 32 bits wide; a turn as long as their sum would take gigabytes.
#[test]
fn huge_weights_keep_turns_short_and_shares_right() {
    const MAX: u32 = u32::MAX;
    // The Debug form shows the schedule, the one thing in it that could grow.
    for weights in [
        &[MAX, 1][..],
        &[MAX, MAX - 1],
        &[MAX; 1000],
        &[1, MAX, 1, MAX],
        &[MAX, MAX / 2, MAX / 4],
    ] {
        for policy in POLICIES {
            let shown = format!("{:?}", balancer(policy, weights)).len();
            assert!(shown < 200_000, "{shown} characters for {weights:?}");
        }
    }
    // The light one is not forgotten, and comes once in a turn.
    let sequence = picks(&balancer(LbPolicy::RoundRobin, &[MAX, 1]), 0, 0, 20_000);
    let light: Vec<usize> = (0..sequence.len())
        .filter(|at| sequence[*at] == 1)
        .collect();
    assert!(light.len() >= 4, "{light:?}");
    assert!(
        light
            .windows(2)
            .all(|pair| pair[1] - pair[0] == light[1] - light[0]),
        "{light:?}"
    );
    // Scaling down keeps the shares within one percent.
    for policy in [LbPolicy::RoundRobin, LbPolicy::Random] {
        let sequence = picks(&balancer(policy, &[MAX, MAX / 2, MAX / 4]), 0, 760, 70_000);
        let counts = counted(3, sequence);
        for (count, expected) in counts.iter().zip([40_000_u64, 20_000, 10_000]) {
            assert!(count.abs_diff(expected) < 700, "{policy:?}: {counts:?}");
        }
    }
}

/// Many endpoints must not make the turn so coarse that weights are lost.
#[test]
fn weights_count_among_thousands_of_endpoints() {
    for policy in [LbPolicy::RoundRobin, LbPolicy::Random] {
        let mut rng = StdRng::seed_from_u64(770);
        let weights: Vec<u32> = (0..3000).map(|_| [1, 3][rng.random_range(0..2)]).collect();
        let heavy = weights.iter().filter(|weight| **weight == 3).count() as f64;
        let share = 3.0 * heavy / weights.iter().map(|weight| f64::from(*weight)).sum::<f64>();
        let sequence = picks(&balancer(policy, &weights), 0, 771, 60_000);
        let to_heavy = sequence.iter().filter(|at| weights[**at] == 3).count() as f64 / 60_000.0;
        assert!(
            (to_heavy - share).abs() < 0.02,
            "{policy:?}: {to_heavy:.3} instead of {share:.3}"
        );
    }
}
