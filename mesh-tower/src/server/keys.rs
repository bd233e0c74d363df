//! Keys of tokens that are fetched (`remote_jwks`).
//!
//! ```text
//! rules --expect--> Sources <--read-- requests
//!                      ^
//!                      +--write-- keeper: one task for each source, while rules name it
//! ```
//! No request fetches anything or waits for it. Rules that name a new source hold when it was tried for the first time,
//! whatever came of it: until then those of before do, as with `async_fetch` in Envoy. Without `async_fetch` Envoy fetches
//! when a token comes; here it makes no difference.

mod fetch;
mod keeper;
#[cfg(all(test, feature = "tls"))]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use mesh_core::jwt::{Fetched, Jwks, RemoteJwks};
use mesh_core::server::Inbound;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::duration::bounded;
pub(super) use keeper::keep;

/// How long new rules wait for the first attempt to end: Istio's `timeout` of a `jwksUri`.
pub(super) const WARMING: Duration = Duration::from_secs(5);
/// The shortest `cache_duration` that is taken: what is configured must not become a storm.
const SHORTEST: Duration = Duration::from_secs(1);
/// How many `cache_duration`s old keys may be. They are fetched anew before one is over; the rest is for issuers that
/// cannot be reached for a while.
const OLDEST: u32 = 2;

/// What is fetched for one mesh.
#[derive(Debug, Default)]
pub(super) struct Keys {
    sources: ArcSwap<Sources>,
    /// Of the keeper that works; those of other runtimes stand by.
    lease: Arc<tokio::sync::Mutex<()>>,
}

/// All that rules name: few, so they are looked through.
#[derive(Debug, Default)]
pub(super) struct Sources(Box<[Arc<Source>]>);

/// One source, and what came from it.
#[derive(Debug)]
struct Source {
    from: Arc<RemoteJwks>,
    kept: ArcSwapOption<Kept>,
    tried: AtomicBool,
    missed: Notify,
}

#[derive(Debug)]
struct Kept {
    keys: Arc<Jwks>,
    until: Instant,
}

impl Keys {
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<Sources>> {
        self.sources.load()
    }

    /// Takes in what rules name beside those that hold now, and forgets what others did that never came to hold; says
    /// whether all of it was tried.
    pub(super) fn expect(&self, now: &Inbound, next: &Inbound) -> bool {
        let known = self.sources.load();
        let is_named = |source: &&Arc<Source>| {
            let mut all = named(now).chain(named(next));
            all.any(|from| *from == source.from)
        };
        let mut sources: Vec<_> = known.0.iter().filter(is_named).cloned().collect();
        let mut is_changed = sources.len() != known.0.len();
        for from in named(next) {
            if !sources.iter().any(|source| source.from == *from) {
                sources.push(Arc::new(Source::new(from)));
                is_changed = true;
            }
        }
        if is_changed {
            self.sources.store(Arc::new(Sources(sources.into())));
        }
        self.are_tried(next)
    }

    pub(super) fn are_tried(&self, inbound: &Inbound) -> bool {
        let sources = self.sources.load();
        let is_tried = |from| sources.find(from).is_some_and(Source::is_tried);
        named(inbound).all(is_tried)
    }

    /// Forgets what these rules do not name.
    pub(super) fn leave_only(&self, inbound: &Inbound) {
        let sources = self.sources.load();
        let is_named = |source: &&Arc<Source>| named(inbound).any(|from| *from == source.from);
        let left: Box<_> = sources.0.iter().filter(is_named).cloned().collect();
        if left.len() != sources.0.len() {
            self.sources.store(Arc::new(Sources(left)));
        }
    }
}

/// What rules would have fetched.
fn named(inbound: &Inbound) -> impl Iterator<Item = &Arc<RemoteJwks>> {
    inbound
        .pipelines()
        .flat_map(|pipeline| pipeline.remote_jwks())
}

impl Sources {
    /// The same is found by its address, unless the rules have changed this moment.
    fn find(&self, from: &Arc<RemoteJwks>) -> Option<&Source> {
        let mut sources = self.0.iter();
        let found = sources.find(|source| source.from == *from);
        found.map(|source| &**source)
    }
}

impl Fetched for Sources {
    fn keys(&self, from: &Arc<RemoteJwks>) -> Option<Arc<Jwks>> {
        let kept = self.find(from)?.kept.load();
        let kept = kept.as_ref().filter(|kept| Instant::now() < kept.until);
        kept.map(|kept| Arc::clone(&kept.keys))
    }

    fn missed(&self, from: &Arc<RemoteJwks>) {
        if let Some(source) = self.find(from) {
            source.missed.notify_one();
        }
    }
}

impl Source {
    fn new(from: &Arc<RemoteJwks>) -> Self {
        Self {
            from: Arc::clone(from),
            kept: ArcSwapOption::empty(),
            tried: AtomicBool::new(false),
            missed: Notify::new(),
        }
    }

    fn cached(&self) -> Duration {
        bounded(self.from.cache_duration).max(SHORTEST)
    }

    fn keep(&self, keys: Jwks) {
        let kept = Kept {
            keys: Arc::new(keys),
            until: Instant::now() + self.cached() * OLDEST,
        };
        self.kept.store(Some(Arc::new(kept)));
    }

    /// Until when there are keys.
    fn until(&self) -> Option<Instant> {
        self.kept.load().as_ref().map(|kept| kept.until)
    }

    fn is_tried(&self) -> bool {
        self.tried.load(Acquire)
    }

    /// Says whether it was not tried before.
    fn has_tried(&self) -> bool {
        !self.tried.swap(true, Release)
    }
}
