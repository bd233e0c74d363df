//! The pick.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, RngExt};

use super::groups::{Choice, Group, Layout, lay_out};
use super::{LbConfig, LbPolicy};
use crate::cluster::{Endpoint, Health};

/// How many groups turn on their own. With more, some share a place, and their turns are no longer
/// exact; their shares still are.
const LANES: usize = 8;

/// Picks endpoints of a cluster.
#[derive(Debug)]
pub struct Balancer {
    policy: LbPolicy,
    choice: Choice,
    /// The endpoints that can be picked, group by group.
    eligible: Box<[u32]>,
    /// The groups' turns, one after the other.
    schedule: Box<[u32]>,
}

/// Where round robin stands; lives as long as the cluster does, over its versions.
#[derive(Debug, Default)]
pub struct Cursor([AtomicU64; LANES]);

impl Cursor {
    /// Starts at a random place, so that many clients do not all begin with the first endpoint.
    pub fn starting_at(position: u64) -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(position)))
    }
}

impl Balancer {
    /// Prepares picks, each endpoint being as healthy as its assignment says.
    pub fn new(config: &LbConfig, endpoints: &[Endpoint]) -> Self {
        Self::with_health(config, endpoints, |at| endpoints[at].health)
    }

    /// Prepares picks with another word on health than the assignment's: `health` is asked once for
    /// each index. What is ejected or recovers is a new balancer of the same configuration; a
    /// [`Cursor`] goes on with it.
    pub fn with_health(
        config: &LbConfig,
        endpoints: &[Endpoint],
        health: impl Fn(usize) -> Health,
    ) -> Self {
        let (choice, layout) = lay_out(config, endpoints, health);
        let Layout {
            members, schedule, ..
        } = layout;
        Self {
            policy: config.policy,
            choice,
            eligible: members.into(),
            schedule: schedule.into(),
        }
    }

    /// How many endpoints can be picked.
    pub const fn eligible(&self) -> usize {
        self.eligible.len()
    }

    /// The indices of those that can be picked, each once.
    pub fn eligible_endpoints(&self) -> &[u32] {
        &self.eligible
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
        let group = match &self.choice {
            Choice::One(group) => group,
            Choice::Several(priorities) => priorities.draw(rng)?.draw(rng)?,
        };
        let members = &self.eligible[group.members.clone()];
        let first = match members {
            [] => return None,
            [only] => *only as usize,
            _ => self.pick_once(group, cursor, &in_flight, rng)?,
        };
        if avoid != Some(first) {
            return Some(first);
        }
        // Another of its group, and if it is alone there, of any group.
        let among = match members {
            [_] => &self.eligible[..],
            _ => members,
        };
        if among.len() == 1 {
            return Some(first);
        }
        // Any of them, chosen evenly; `avoid` is one of at least two.
        let mut others = among.iter().filter(|at| **at as usize != first);
        others
            .nth(rng.random_range(0..among.len() - 1))
            .map(|at| *at as usize)
    }

    fn pick_once(
        &self,
        group: &Group,
        cursor: &Cursor,
        in_flight: &impl Fn(usize) -> u64,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        let schedule = &self.schedule[group.schedule.clone()];
        let length = schedule.len() as u64;
        if length == 0 {
            return None;
        }
        match self.policy {
            LbPolicy::RoundRobin => {
                let place = &cursor.0[group.number % LANES];
                let turn = place.fetch_add(1, Ordering::Relaxed) % length;
                Some(schedule[turn as usize] as usize)
            }
            LbPolicy::Random => Some(draw(schedule, rng)),
            LbPolicy::LeastRequest { choices } => {
                let mut best = draw(schedule, rng);
                let mut fewest = in_flight(best);
                for _ in 1..choices {
                    let other = draw(schedule, rng);
                    let theirs = in_flight(other);
                    if theirs < fewest {
                        (best, fewest) = (other, theirs);
                    }
                }
                Some(best)
            }
        }
    }
}

/// An entry of a schedule that is not empty: by weight.
fn draw(schedule: &[u32], rng: &mut impl Rng) -> usize {
    schedule[rng.random_range(0..schedule.len())] as usize
}
