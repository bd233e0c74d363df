//! Priorities, localities and health together: who is picked how often.
//!
//! Seeds are fixed, so each test passes always or never.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_core::cluster::{Endpoint, Health};
use mesh_core::lb::locality::{Locality, LocalityWeights};
use mesh_core::lb::{Balancer, Cursor, InPanic, LbConfig, LbPolicy, Overprovisioning, Panic};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng, TryRng};

#[path = "support/chi_square.rs"]
mod chi_square;
#[path = "support/property.rs"]
mod property;
#[path = "support/spread.rs"]
mod spread;

use chi_square::{counted, fits};
use spread::{MISTAKES, Mistake, probabilities};

const POLICIES: [LbPolicy; 3] = [
    LbPolicy::RoundRobin,
    LbPolicy::Random,
    LbPolicy::LeastRequest { choices: 2 },
];

fn endpoint(priority: u32, health: Health) -> Endpoint {
    Endpoint {
        priority,
        health,
        ..Endpoint::new(SocketAddr::from(([10, 0, 0, 1], 9080)))
    }
}

fn endpoints(parts: &[(u32, Health, usize)]) -> Vec<Endpoint> {
    let parts = parts.iter();
    parts
        .flat_map(|(priority, health, count)| vec![endpoint(*priority, *health); *count])
        .collect()
}

fn zone(name: &str) -> Option<Arc<Locality>> {
    let locality = Locality {
        zone: name.into(),
        ..Locality::default()
    };
    Some(Arc::new(locality))
}

/// An endpoint of priority 0 in each of these zones.
fn zoned(zones: &[(&str, Health)]) -> Vec<Endpoint> {
    let zones = zones.iter();
    zones
        .map(|(name, health)| Endpoint {
            locality: zone(name),
            ..endpoint(0, *health)
        })
        .collect()
}

fn weighted(policy: LbPolicy, weights: &[(&str, u32)]) -> LbConfig {
    let mut all = LocalityWeights::default();
    for (name, weight) in weights {
        all.insert(0, zone(name), *weight);
    }
    LbConfig {
        locality_weights: Some(all),
        ..policy.into()
    }
}

/// `None` is a call that finds nobody.
fn picks(balancer: &Balancer, seed: u64, count: usize) -> Vec<Option<usize>> {
    let cursor = Cursor::default();
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| balancer.pick(&cursor, None, |_| 0, &mut rng))
        .collect()
}

fn counts(config: &LbConfig, endpoints: &[Endpoint], seed: u64, count: usize) -> Vec<u64> {
    let picked = picks(&Balancer::new(config, endpoints), seed, count);
    counted(endpoints.len(), picked.into_iter().flatten())
}

#[test]
fn draws_follow_the_table_of_loads() {
    for ((healthy, [first, second]), seed) in [
        (100, [100, 0]),
        (72, [100, 0]),
        (71, [99, 1]),
        (50, [70, 30]),
        (25, [35, 65]),
        (0, [0, 100]),
    ]
    .into_iter()
    .zip(800..)
    {
        let endpoints = endpoints(&[
            (0, Health::Healthy, healthy),
            (0, Health::Unhealthy, 100 - healthy),
            (1, Health::Healthy, 1),
        ]);
        for policy in POLICIES {
            let counts = counts(&policy.into(), &endpoints, seed, 20_000);
            let by_priority = [counts[..100].iter().sum(), counts[100]];
            fits(&by_priority, &[first, second])
                .unwrap_or_else(|error| panic!("{healthy} %, {policy:?}, seed {seed}: {error}"));
            assert!(
                counts[healthy..100].iter().all(|count| *count == 0),
                "an unhealthy one was picked"
            );
            fits(&by_priority, &[second, first]).expect_err("the reverse must be noticed");
        }
    }
}

#[test]
fn in_panic_all_are_used_and_without_it_none() {
    let endpoints = endpoints(&[(0, Health::Unhealthy, 2), (0, Health::Draining, 1)]);
    for policy in POLICIES {
        let mut config = LbConfig::from(policy);
        assert_eq!(Balancer::new(&config, &endpoints).eligible(), 3);
        fits(&counts(&config, &endpoints, 810, 30_000), &[1; 3]).expect("spread evenly");
        config.panic.then = InPanic::NoEndpoint;
        assert_eq!(counts(&config, &endpoints, 811, 1000), [0; 3]);
        config.panic = Panic {
            threshold: 0,
            then: InPanic::AllEndpoints,
        };
        assert_eq!(counts(&config, &endpoints, 812, 1000), [0; 3]);
        assert_eq!(Balancer::new(&config, &endpoints).eligible(), 0);
    }
}

#[test]
fn a_priority_that_panics_fails_only_its_own_share() {
    // 7 % and 91 % of 98 %: 8 % (with what rounding leaves) and 92 %, and the first panics.
    let endpoints = endpoints(&[
        (0, Health::Healthy, 5),
        (0, Health::Unhealthy, 95),
        (1, Health::Healthy, 65),
        (1, Health::Unhealthy, 35),
    ]);
    let mut config = LbConfig::from(LbPolicy::Random);
    let by_priority = |config: &LbConfig| {
        let counts = counts(config, &endpoints, 820, 40_000);
        let of = |range: std::ops::Range<usize>| counts[range].iter().sum::<u64>();
        [of(0..5), of(5..100), of(100..165), of(165..200)]
    };
    fits(&by_priority(&config), &[8, 152, 1840, 0]).expect("5 and 95 parts of 8 %, and 92 %");
    config.panic.then = InPanic::NoEndpoint;
    let [healthy, unhealthy, second, third] = by_priority(&config);
    assert_eq!((healthy, unhealthy, third), (0, 0, 0));
    fits(&[40_000 - second, second], &[8, 92]).expect("8 % fail");
}

#[test]
fn localities_count_by_weight_and_availability() {
    use Health::{Healthy, Unhealthy};
    // a: 3 * min(1, 1.4 * 1/2) = 2.1; b: 1 * 1; c has no weight.
    let endpoints = zoned(&[
        ("a", Healthy),
        ("a", Unhealthy),
        ("b", Healthy),
        ("b", Healthy),
        ("c", Healthy),
    ]);
    for (policy, seed) in POLICIES.into_iter().zip(830..) {
        let config = weighted(policy, &[("a", 3), ("b", 1)]);
        let counts = counts(&config, &endpoints, seed, 31_000);
        fits(&counts, &[42, 0, 10, 10, 0]).unwrap_or_else(|error| panic!("{policy:?}: {error}"));
        fits(&counts, &[60, 0, 10, 10, 0]).expect_err("full weight for a must be noticed");
        let flat = self::counts(&policy.into(), &endpoints, seed, 31_000);
        fits(&flat, &[1, 0, 1, 1, 1]).expect("without the cluster's word weights do not count");
    }
}

#[test]
fn without_a_weight_that_counts_localities_are_one_set() {
    use Health::{Healthy, Unhealthy};
    let endpoints = zoned(&[("a", Healthy), ("a", Healthy), ("b", Healthy)]);
    let config = weighted(LbPolicy::Random, &[]);
    fits(&counts(&config, &endpoints, 840, 30_000), &[1, 1, 1]).expect("even");
    // The only locality with a weight has nobody left.
    let endpoints = zoned(&[
        ("a", Unhealthy),
        ("b", Healthy),
        ("b", Healthy),
        ("c", Healthy),
    ]);
    let config = weighted(LbPolicy::Random, &[("a", 9)]);
    fits(&counts(&config, &endpoints, 841, 30_000), &[0, 1, 1, 1]).expect("even");
}

#[test]
fn in_panic_localities_do_not_count() {
    use Health::{Healthy, Unhealthy};
    let endpoints = zoned(&[("a", Healthy), ("b", Unhealthy), ("b", Unhealthy)]);
    let config = weighted(LbPolicy::Random, &[("a", 9), ("b", 1)]);
    fits(&counts(&config, &endpoints, 850, 30_000), &[1, 1, 1]).expect("1/3 is below 50 %");
}

#[test]
fn a_locality_of_several_priorities_has_a_weight_in_each() {
    let mut endpoints = zoned(&[("a", Health::Healthy), ("b", Health::Healthy)]);
    endpoints.extend(endpoints.clone().into_iter().map(|endpoint| Endpoint {
        priority: 7,
        ..endpoint
    }));
    endpoints.push(endpoint(0, Health::Unhealthy));
    endpoints.push(endpoint(0, Health::Unhealthy));
    let mut weights = LocalityWeights::default();
    for (priority, name, weight) in [(0, "a", 1), (0, "b", 3), (7, "a", 4), (7, "b", 1)] {
        weights.insert(priority, zone(name), weight);
    }
    let config = LbConfig {
        locality_weights: Some(weights),
        ..LbPolicy::Random.into()
    };
    // Two of four are healthy: 70 % and 30 %.
    let expected = [70 * 5, 70 * 15, 30 * 16, 30 * 4, 0, 0];
    fits(&counts(&config, &endpoints, 860, 50_000), &expected).expect("70 : 30, 1 : 3, 4 : 1");
}

#[test]
fn huge_weights_keep_their_shares() {
    let endpoints = zoned(&[("a", Health::Healthy), ("b", Health::Healthy)]);
    let config = weighted(LbPolicy::Random, &[("a", u32::MAX), ("b", u32::MAX)]);
    fits(&counts(&config, &endpoints, 870, 20_000), &[1, 1]).expect("even");
}

#[test]
fn each_locality_has_its_own_turn() {
    let mut endpoints = zoned(&[("a", Health::Healthy); 3]);
    endpoints.extend(zoned(&[("b", Health::Healthy); 2]));
    let config = weighted(LbPolicy::RoundRobin, &[("a", 1), ("b", 1)]);
    let balancer = Balancer::new(&config, &endpoints);
    let picked: Vec<usize> = picks(&balancer, 880, 6000).into_iter().flatten().collect();
    for (zone, turn) in [(0..3, 3), (3..5, 2)] {
        let own: Vec<usize> = picked
            .iter()
            .copied()
            .filter(|at| zone.contains(at))
            .collect();
        assert!(own.len() > 2500, "{zone:?}: {}", own.len());
        for (place, at) in own.iter().enumerate() {
            assert_eq!(*at, own[place % turn], "{zone:?} at {place}");
        }
    }
}

#[test]
fn the_one_to_avoid_has_a_replacement_in_another_locality() {
    let mut endpoints = zoned(&[("a", Health::Healthy)]);
    endpoints.extend(zoned(&[("b", Health::Healthy); 3]));
    for policy in POLICIES {
        let config = weighted(policy, &[("a", 9), ("b", 1)]);
        let balancer = Balancer::new(&config, &endpoints);
        assert_eq!(balancer.eligible(), 4);
        let (cursor, mut rng) = (Cursor::default(), StdRng::seed_from_u64(890));
        for avoid in 0..4 {
            let mut seen = [0_u64; 4];
            for _ in 0..2000 {
                let picked = balancer.pick(&cursor, Some(avoid), |_| 0, &mut rng);
                seen[picked.expect("there are others")] += 1;
            }
            assert_eq!(seen[avoid], 0, "{policy:?}");
            let others = seen.iter().filter(|seen| **seen > 0).count();
            assert_eq!(others, 3, "{policy:?}, without {avoid}: {seen:?}");
        }
    }
}

#[test]
fn an_endpoint_that_gets_no_traffic_is_no_replacement() {
    let endpoints = endpoints(&[(0, Health::Healthy, 1), (1, Health::Healthy, 1)]);
    let balancer = Balancer::new(&LbPolicy::Random.into(), &endpoints);
    assert_eq!(balancer.eligible(), 1);
    let mut rng = StdRng::seed_from_u64(895);
    let picked = balancer.pick(&Cursor::default(), Some(0), |_| 0, &mut rng);
    assert_eq!(picked, Some(0));
}

#[test]
fn another_word_on_health_makes_another_balancer() {
    let endpoints = endpoints(&[(0, Health::Healthy, 4), (1, Health::Healthy, 1)]);
    let config = LbConfig::from(LbPolicy::Random);
    let ejected = |at: usize| match at {
        0 | 1 => Health::Unhealthy,
        _ => endpoints[at].health,
    };
    let balancer = Balancer::with_health(&config, &endpoints, ejected);
    let picked = picks(&balancer, 896, 20_000);
    let counts = counted(5, picked.into_iter().flatten());
    fits(&counts, &[0, 0, 35, 35, 30]).expect("half of the first is 70 %");
    fits(
        &self::counts(&config, &endpoints, 897, 20_000),
        &[1, 1, 1, 1, 0],
    )
    .expect("as sent");
}

/// Counts the words that are drawn from it.
struct Counting<'a>(StdRng, &'a Cell<u32>);

impl TryRng for Counting<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.1.set(self.1.get() + 1);
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.1.set(self.1.get() + 1);
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.1.set(self.1.get() + 1);
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

#[test]
fn only_steps_with_a_choice_draw() {
    let drawn = |config: &LbConfig, endpoints: &[Endpoint]| {
        let count = Cell::new(0);
        let mut rng = Counting(StdRng::seed_from_u64(898), &count);
        let balancer = Balancer::new(config, endpoints);
        for _ in 0..1000 {
            balancer.pick(&Cursor::default(), None, |_| 0, &mut rng);
        }
        count.get()
    };
    let round_robin = LbConfig::from(LbPolicy::RoundRobin);
    let calm = endpoints(&[(0, Health::Healthy, 3), (1, Health::Healthy, 3)]);
    assert_eq!(drawn(&round_robin, &calm), 0);
    let one_zone = zoned(&[("a", Health::Healthy); 3]);
    let zones = weighted(LbPolicy::RoundRobin, &[("a", 3)]);
    assert_eq!(drawn(&zones, &one_zone), 0);
    // The counter counts: a spill costs a draw for each pick, and so do two localities.
    let spill = endpoints(&[
        (0, Health::Healthy, 1),
        (0, Health::Unhealthy, 1),
        (1, Health::Healthy, 3),
    ]);
    assert!((1000..1100).contains(&drawn(&round_robin, &spill)));
    let two_zones = zoned(&[("a", Health::Healthy), ("b", Health::Healthy)]);
    let zones = weighted(LbPolicy::RoundRobin, &[("a", 3), ("b", 1)]);
    assert!((1000..1100).contains(&drawn(&zones, &two_zones)));
}

fn any_health() -> impl Strategy<Value = Health> {
    prop_oneof![
        4 => Just(Health::Healthy),
        2 => Just(Health::Degraded),
        3 => Just(Health::Unhealthy),
        1 => Just(Health::Draining),
    ]
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let place = prop_oneof![Just(None), Just(zone("a")), Just(zone("b"))];
    let priority = prop::sample::select(vec![0_u32, 0, 0, 1, 2, 9]);
    (1_u32..5, priority, place, any_health()).prop_map(|(weight, priority, locality, health)| {
        Endpoint {
            weight,
            locality,
            ..endpoint(priority, health)
        }
    })
}

fn any_config() -> impl Strategy<Value = LbConfig> {
    let overprovisioning = prop_oneof![
        3 => Just(Overprovisioning::default()),
        2 => prop::sample::select(vec![1_u32, 60, 100, 250])
            .prop_map(|factor| Overprovisioning::Envoy { factor }),
        1 => Just(Overprovisioning::Strict),
    ];
    let then = prop::sample::select(vec![InPanic::AllEndpoints, InPanic::NoEndpoint]);
    let threshold = prop::sample::select(vec![0_u8, 30, 50, 50, 100]);
    let weight = (
        prop::sample::select(vec![0_u32, 0, 1, 2, 9]),
        prop::sample::select(vec![None, zone("a"), zone("b")]),
        1_u32..6,
    );
    let weights = prop::option::weighted(0.75, prop::collection::vec(weight, 0..12));
    let policy = prop::sample::select(POLICIES.to_vec());
    (policy, overprovisioning, threshold, then, weights).prop_map(
        |(policy, overprovisioning, threshold, then, weights)| {
            let locality_weights = weights.map(|weights| {
                let mut all = LocalityWeights::default();
                for (priority, locality, weight) in weights {
                    all.insert(priority, locality, weight);
                }
                all
            });
            LbConfig {
                policy,
                overprovisioning,
                panic: Panic { threshold, then },
                locality_weights,
            }
        },
    )
}

/// Whether counts are within five sigma of what the probabilities say.
fn agrees(counts: &[u64], probabilities: &[f64], drawn: u64) -> Result<(), String> {
    let drawn = drawn as f64;
    for (at, (count, probability)) in counts.iter().zip(probabilities).enumerate() {
        let expected = drawn * probability;
        let sigma = (expected * (1.0 - probability).max(0.0)).sqrt();
        let off = (*count as f64 - expected).abs();
        // The second part is for small expectations, whose tails are longer than the normal ones.
        if off > 5.0 * sigma + if sigma > 0.0 { 4.0 } else { 1e-6 } {
            return Err(format!("endpoint {at}: {count} instead of {expected:.1}"));
        }
    }
    Ok(())
}

const DRAWS: u64 = 20_000;

#[test]
fn picks_follow_the_plain_reading_of_the_rules() {
    let inputs = (
        any_config(),
        prop::collection::vec(any_endpoint(), 0..18),
        any::<u64>(),
    );
    property::holds(41, 400, &inputs, |(config, endpoints, seed)| {
        let expected = probabilities(&config, &endpoints, Mistake::None);
        let counts = counts(&config, &endpoints, seed, DRAWS as usize);
        let failing = DRAWS - counts.iter().sum::<u64>();
        let balancer = Balancer::new(&config, &endpoints);
        let picked = expected.iter().filter(|share| **share > 0.0).count();
        prop_assert_eq!(balancer.eligible(), picked);
        if let Err(error) = agrees(&counts, &expected, DRAWS) {
            prop_assert!(false, "{error}: {counts:?} for {expected:?}");
        }
        let share = 1.0 - expected.iter().sum::<f64>();
        let share = if share < 1e-9 { 0.0 } else { share };
        if let Err(error) = agrees(&[failing], &[share], DRAWS) {
            prop_assert!(false, "those that fail: {error}");
        }
        Ok(())
    });
}

/// The same check with a reading that has one rule wrong must fail for some input.
#[test]
fn a_rule_read_wrongly_is_noticed() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngSeed, TestRunner};
    let config = Config {
        rng_seed: RngSeed::Fixed(42),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let inputs = (any_config(), prop::collection::vec(any_endpoint(), 0..18));
    let mut noticed = vec![0; MISTAKES.len()];
    for seed in 0..200 {
        let tree = inputs
            .new_tree(&mut runner)
            .expect("inputs are not filtered");
        let (config, endpoints) = tree.current();
        let counts = counts(&config, &endpoints, seed, DRAWS as usize);
        for (noticed, mistake) in noticed.iter_mut().zip(MISTAKES) {
            let wrong = probabilities(&config, &endpoints, mistake);
            *noticed += u32::from(agrees(&counts, &wrong, DRAWS).is_err());
        }
    }
    eprintln!("noticed of 200: {noticed:?}");
    assert!(
        noticed.iter().all(|noticed| *noticed >= 4),
        "{MISTAKES:?}: {noticed:?}"
    );
}
