//! Load balancing: picks the index of an endpoint. Everything that can be made at publish is.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, RngExt};

use crate::cluster::{Endpoint, Health};

/// The longest round-robin schedule; larger weights are scaled down to fit.
const LONGEST_SCHEDULE: u64 = 4096;

/// Among many endpoints it may be longer: with this many entries for each of mean weight, scaling
/// down still leaves the light and the heavy apart.
const ENTRIES_PER_ENDPOINT: u64 = 16;

/// `Cluster.lb_policy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LbPolicy {
    /// `ROUND_ROBIN`, by endpoint weight.
    RoundRobin,
    /// `LEAST_REQUEST`: of `choice_count` endpoints drawn, the one with the fewest requests in flight.
    LeastRequest {
        /// How many are drawn: 2 unless configured.
        choices: u32,
    },
    /// `RANDOM`, by endpoint weight.
    Random,
}

/// A policy over a set of endpoints.
#[derive(Debug)]
pub struct Balancer {
    policy: LbPolicy,
    /// One turn: indices of eligible endpoints, each as often as its weight says, spread evenly.
    schedule: Box<[u32]>,
    /// Eligible endpoints with their weights.
    eligible: Box<[(u32, u32)]>,
}

/// Where round robin stands; lives as long as the cluster does, over its versions.
#[derive(Debug, Default)]
pub struct Cursor(AtomicU64);

impl Cursor {
    /// Starts at a random place, so that many clients do not all begin with the first endpoint.
    pub fn starting_at(position: u64) -> Self {
        Self(AtomicU64::new(position))
    }
}

impl Balancer {
    /// Prepares picks over the healthy endpoints of the first priority that has one.
    pub fn new(policy: LbPolicy, endpoints: &[Endpoint]) -> Self {
        let healthy = || {
            (0_u32..)
                .zip(endpoints)
                .filter(|(_, e)| e.health == Health::Healthy)
        };
        let priority = healthy().map(|(_, endpoint)| endpoint.priority).min();
        let eligible: Box<[(u32, u32)]> = healthy()
            .filter(|(_, endpoint)| Some(endpoint.priority) == priority)
            .map(|(at, endpoint)| (at, endpoint.weight.max(1)))
            .collect();
        Self {
            policy,
            schedule: schedule(&eligible),
            eligible,
        }
    }

    /// How many endpoints can be picked.
    pub const fn eligible(&self) -> usize {
        self.eligible.len()
    }

    /// Picks an endpoint: `in_flight` tells how many requests each has, `avoid` names one that just
    /// failed, which is taken only if there is no other.
    pub fn pick(
        &self,
        cursor: &Cursor,
        avoid: Option<usize>,
        in_flight: impl Fn(usize) -> u64,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        if let [(only, _)] = self.eligible[..] {
            return Some(only as usize);
        }
        let first = self.pick_once(cursor, &in_flight, rng)?;
        if avoid != Some(first) {
            return Some(first);
        }
        // Any other, chosen evenly; `avoid` is one of at least two.
        let others = self.eligible.iter().filter(|(at, _)| *at as usize != first);
        others
            .clone()
            .nth(rng.random_range(0..self.eligible.len() - 1))
            .map(|(at, _)| *at as usize)
    }

    fn pick_once(
        &self,
        cursor: &Cursor,
        in_flight: &impl Fn(usize) -> u64,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        let length = self.schedule.len() as u64;
        if length == 0 {
            return None;
        }
        match self.policy {
            LbPolicy::RoundRobin => {
                let turn = cursor.0.fetch_add(1, Ordering::Relaxed) % length;
                Some(self.schedule[turn as usize] as usize)
            }
            LbPolicy::Random => Some(self.draw(rng)),
            LbPolicy::LeastRequest { choices } => {
                let mut best = self.draw(rng);
                let mut fewest = in_flight(best);
                for _ in 1..choices {
                    let other = self.draw(rng);
                    let theirs = in_flight(other);
                    if theirs < fewest {
                        (best, fewest) = (other, theirs);
                    }
                }
                Some(best)
            }
        }
    }

    /// An entry of the schedule: by weight.
    fn draw(&self, rng: &mut impl Rng) -> usize {
        self.schedule[rng.random_range(0..self.schedule.len())] as usize
    }
}

/// One turn of weighted round robin: the entries of an endpoint stand at even distances, and each
/// endpoint starts a little after the one before it, so that those of equal weight do not bunch.
/// Sorting keeps this cheap for thousands of endpoints, where a smooth round robin is quadratic.
fn schedule(eligible: &[(u32, u32)]) -> Box<[u32]> {
    let count = eligible.len() as u64;
    let divisor = eligible
        .iter()
        .fold(0, |a, (_, weight)| gcd(a, u64::from(*weight)))
        .max(1);
    let total: u64 = eligible
        .iter()
        .map(|(_, weight)| u64::from(*weight) / divisor)
        .sum();
    let shrink = total
        .div_ceil(LONGEST_SCHEDULE.max(count * ENTRIES_PER_ENDPOINT))
        .max(1);
    let mut turn: Vec<(u64, u32)> = (0_u64..)
        .zip(eligible)
        .flat_map(|(rank, (at, weight))| {
            let entries = ((u64::from(*weight) / divisor + shrink / 2) / shrink).max(1);
            // Fixed point: 2^32 is the whole turn.
            let offset = ((2 * rank + 1) << 31) / count;
            (0..entries).map(move |entry| (((entry << 32) + offset) / entries, *at))
        })
        .collect();
    turn.sort_by_key(|(place, _)| *place);
    turn.into_iter().map(|(_, at)| at).collect()
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
