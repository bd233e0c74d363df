//! The hosts that were called: found without a lock, made and dropped under one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use mesh_core::CowMap;
use mesh_core::request::lower_case;
use tokio::time::Instant;

use super::destination::Destination;
use super::{Means, Name};

/// How many there are at most: a caller that goes through all hosts of the world must not keep them all.
const MOST: usize = 1024;
/// How many leave at once when there are as many, so that looking for them is rare.
const LEAVING: usize = MOST / 8;

/// Destinations by host; the few of one host differ in port, security or connect timeout.
type Map = CowMap<Arc<str>, Arc<[Arc<Destination>]>>;

#[derive(Debug)]
pub(super) struct Destinations {
    map: ArcSwap<Map>,
    /// Held by whoever changes the map; how many destinations are in it.
    count: Mutex<usize>,
    /// Since when `used` counts seconds.
    start: Instant,
}

/// Every destination that is kept has calls under way.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{MOST} hosts outside of the mesh have calls under way, and there may be no more")]
pub(crate) struct Full;

/// When a destination was last called, in seconds.
#[derive(Debug, Default)]
pub(super) struct Used(AtomicU64);

impl Used {
    fn set(&self, now: u64) {
        // Most calls of a second find it set already and leave the cache line to others.
        if self.0.load(Ordering::Relaxed) != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Destinations {
    fn default() -> Self {
        Self {
            map: ArcSwap::default(),
            count: Mutex::default(),
            start: Instant::now(),
        }
    }
}

impl Destinations {
    pub(super) fn get(
        &self,
        name: Name<'_>,
        connect_timeout: Duration,
        means: &Means,
    ) -> Result<Arc<Destination>, Full> {
        let now = self.start.elapsed().as_secs();
        let host = lower_case(name.host);
        let name = Name {
            host: &host,
            ..name
        };
        let found = find(&self.map.load(), name, connect_timeout).cloned();
        let found = found.map_or_else(|| self.made(name, connect_timeout, means), Ok)?;
        found.used.set(now);
        Ok(found)
    }

    fn made(
        &self,
        name: Name<'_>,
        connect_timeout: Duration,
        means: &Means,
    ) -> Result<Arc<Destination>, Full> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let mut map = Map::clone(&self.map.load());
        if let Some(found) = find(&map, name, connect_timeout) {
            return Ok(Arc::clone(found));
        }
        if *count >= MOST {
            *count -= make_room(&mut map);
            if *count >= MOST {
                return Err(Full);
            }
        }
        // Pools close their old connections when they are used. Those that are not would keep them, and new hosts
        // are what makes them many.
        for others in map.values() {
            others.iter().for_each(|other| other.sweep());
        }
        let made = Arc::new(Destination::new(name, connect_timeout, means));
        let others = map.get(name.host).into_iter().flat_map(|of| of.iter());
        let all = others.cloned().chain([Arc::clone(&made)]).collect();
        map.insert(name.host.into(), all);
        *count += 1;
        self.map.store(Arc::new(map));
        Ok(made)
    }
}

fn find<'a>(
    map: &'a Map,
    name: Name<'_>,
    connect_timeout: Duration,
) -> Option<&'a Arc<Destination>> {
    map.get(name.host)?
        .iter()
        .find(|one| one.is(name, connect_timeout))
}

/// Takes those away that have been idle for longest; returns how many.
fn make_room(map: &mut Map) -> usize {
    let mut idle: Vec<_> = map
        .iter()
        .flat_map(|(host, all)| all.iter().map(move |one| (one.used.get(), host, one)))
        .filter(|(_, _, one)| one.is_idle())
        .map(|(used, host, one)| (used, Arc::clone(host), Arc::clone(one)))
        .collect();
    idle.sort_by_key(|(used, ..)| *used);
    idle.truncate(LEAVING);
    for (_, host, leaving) in &idle {
        let all = map.get(&**host).into_iter().flat_map(|of| of.iter());
        let left: Arc<[_]> = all
            .filter(|one| !Arc::ptr_eq(one, leaving))
            .cloned()
            .collect();
        if left.is_empty() {
            map.remove(&**host);
        } else {
            map.insert(Arc::clone(host), left);
        }
    }
    idle.len()
}
