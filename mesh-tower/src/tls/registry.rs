//! Live connections whose peers are proven. Each is judged again when other authorities are believed, or when a
//! certificate has ended; one that would no longer come about is withdrawn.

use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::proof::Proof;
use super::server::Server;
use super::store::Store;
use super::verify::Refused;

/// How soon a connection is over whose peer is believed no longer, if a builder does not say it.
const WITHIN: Duration = Duration::from_secs(60);
/// The soonest that can be asked for: each look costs a pass over all connections.
const SOONEST: Duration = Duration::from_secs(2);
/// How long what runs on a connection that is withdrawn may go on, at most.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How many are judged before others get the thread: each may take some signatures.
const AT_ONCE: usize = 16;

/// How soon it shows that somebody is believed no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Revocation {
    /// How often all are looked at, whether anything has changed or not.
    every: Duration,
    /// How long what runs on a connection that is withdrawn may go on.
    grace: Duration,
}

impl Revocation {
    /// A look may come late, and takes time itself: a quarter is left for that.
    pub(crate) fn within(all: Duration) -> Self {
        let all = all.max(SOONEST);
        Self {
            every: all / 2,
            grace: (all / 4).min(GRACE),
        }
    }
}

impl Default for Revocation {
    fn default() -> Self {
        Self::within(WITHIN)
    }
}

/// The connections that there are.
#[derive(Default)]
pub(super) struct Registry {
    all: Mutex<Vec<Weak<Entry>>>,
    is_looked_after: AtomicBool,
}

/// Who judges the other end.
pub(crate) enum Side {
    /// We called.
    Client(Arc<Client>),
    /// We were called.
    Server(Arc<Server>),
}

/// One connection in the registry, for as long as it is held.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Entry>);

struct Entry {
    side: Side,
    proof: Proof,
    grace: Duration,
    /// By which generation of what is believed.
    judged: AtomicU64,
    withdrawn: AtomicBool,
    /// By the peer, after the handshake.
    refused: AtomicBool,
    told: Notify,
}

impl Kept {
    /// What its handshake has proven.
    pub(crate) fn proof(&self) -> &Proof {
        &self.0.proof
    }

    /// Whether nothing new may begin on it.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.0.withdrawn.load(Acquire)
    }

    /// The peer has said that it does not take us.
    pub(crate) fn refused(&self) {
        self.0.refused.store(true, Release);
    }

    /// Whether it has.
    pub(crate) fn is_refused(&self) -> bool {
        self.0.refused.load(Acquire)
    }

    /// Waits until nothing new may begin on it.
    pub(crate) async fn withdrawn(&self) {
        let told = self.0.told.notified();
        let mut told = std::pin::pin!(told);
        // Before the look, or a word in between is missed.
        told.as_mut().enable();
        if !self.is_withdrawn() {
            told.await;
        }
    }

    /// Waits until it must be over.
    pub(crate) async fn over(&self) {
        self.withdrawn().await;
        sleep(self.0.grace).await;
    }
}

impl Entry {
    fn is_stale(&self, believed: u64, now: UnixTime) -> bool {
        self.proof.is_proven()
            && (self.judged.load(Acquire) != believed || self.proof.has_ended(now))
    }

    fn again(&self, believed: u64) {
        let judged = match &self.side {
            Side::Client(client) => client.still_takes(&self.proof),
            Side::Server(server) => server.still_takes(&self.proof),
        };
        match judged {
            Ok(()) => self.judged.store(believed, Release),
            Err(reason) => self.withdraw(&reason),
        }
    }

    fn withdraw(&self, reason: &Refused) {
        if !self.withdrawn.swap(true, AcqRel) {
            let who = match &self.side {
                Side::Client(client) => client.who(),
                Side::Server(server) => server.who(),
            };
            tracing::warn!(%who, %reason, "a connection would no longer come about, and is closed");
            self.told.notify_waiters();
        }
    }
}

impl Store {
    /// Looks after a connection from now on.
    pub(crate) fn keep(self: &Arc<Self>, side: Side, proof: Proof) -> Kept {
        let entry = Arc::new(Entry {
            side,
            grace: self.revocation().grace,
            judged: AtomicU64::new(proof.generation()),
            proof,
            withdrawn: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            told: Notify::new(),
        });
        let registry = &self.registry;
        registry.lock(|all| {
            // Those that are over go when there are as many again.
            if all.len() == all.capacity() {
                all.retain(|one| one.strong_count() > 0);
            }
            all.push(Arc::downgrade(&entry));
        });
        // In this order: what changed during the handshake was looked at without it.
        let believed = self.believed();
        if entry.proof.is_proven() && entry.judged.load(Acquire) != believed {
            entry.again(believed);
        }
        self.look_after();
        Kept(entry)
    }

    /// From now on; once is enough.
    pub(super) fn look_after(self: &Arc<Self>) {
        if self.registry.is_looked_after.swap(true, Relaxed) {
            return;
        }
        let looking = self.looking();
        match self.thread.handle() {
            Ok(handle) => drop(handle.spawn(looking)),
            // Tried again with the next connection.
            Err(_) => self.registry.is_looked_after.store(false, Relaxed),
        }
    }

    /// Looks at all of them, for as long as the store lasts.
    pub(super) fn looking(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        looking(Arc::downgrade(self), self.believing(), self.revocation())
    }

    /// Judges those again that may have become wrong.
    pub(super) async fn judge_again(&self) {
        self.look_at_files().await;
        let all = self.registry.lock(|all| {
            all.retain(|one| one.strong_count() > 0);
            all.clone()
        });
        let Some(now) = self.now() else { return };
        let believed = self.believed();
        for some in all.chunks(AT_ONCE) {
            let some = some.iter().filter_map(Weak::upgrade);
            for entry in some.filter(|entry| entry.is_stale(believed, now)) {
                entry.again(believed);
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn looking(
    store: Weak<Store>,
    mut believed: tokio::sync::watch::Receiver<u64>,
    revocation: Revocation,
) {
    loop {
        // At once when somebody is believed no longer.
        if let Ok(Err(_)) = timeout(revocation.every, believed.changed()).await {
            return;
        }
        let Some(store) = store.upgrade() else { return };
        store.judge_again().await;
        store.warn_of_the_end();
    }
}

#[cfg(test)]
impl Store {
    /// It is the test's own to look.
    pub(super) fn looks_by_itself(&self) {
        self.registry.is_looked_after.store(true, Relaxed);
    }

    /// How many there are.
    pub(super) fn connections(&self) -> usize {
        let live =
            |all: &mut Vec<Weak<Entry>>| all.iter().filter(|it| it.strong_count() > 0).count();
        self.registry.lock(live)
    }
}

impl Registry {
    fn lock<T>(&self, with: impl FnOnce(&mut Vec<Weak<Entry>>) -> T) -> T {
        with(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.0.proof).finish()
    }
}
