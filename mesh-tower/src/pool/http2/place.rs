//! Places for streams on a connection: one is taken until the response and the upload of its stream are both over, as
//! the peer counts it (RFC 9113, 5.1.2).

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};

/// How many places are looked at before one more is made: with half of them free, one in 256 calls makes one.
const LOOKED_AT: usize = 8;
/// How many places of a connection are kept for the next calls.
const MOST_KEPT: usize = 1024;

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Link {
    /// Where it leads.
    address: SocketAddr,
    streams: AtomicUsize,
    /// The peer's limit, as the connection's task last saw it.
    limit: AtomicUsize,
    /// Where its tasks run: who sends a request may be elsewhere.
    runtime: Handle,
    queue: Arc<Queue>,
}

impl Link {
    pub(super) fn new(address: SocketAddr, limit: usize, queue: Arc<Queue>) -> Self {
        Self {
            address,
            streams: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            runtime: Handle::current(),
            queue,
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.load(SeqCst)
    }

    pub(super) fn has_room(&self) -> bool {
        self.streams() < self.limit.load(SeqCst)
    }

    /// Called whenever the connection has been driven.
    pub(super) fn allow(&self, limit: usize) {
        if self.limit.load(Relaxed) != limit {
            self.limit.store(limit, SeqCst);
            self.queue.wake();
        }
    }

    /// Whoever looks for room shall meet it, and find that it has ended.
    pub(super) fn ended(&self) {
        self.allow(usize::MAX);
    }
}

/// Kept for the next call: what both sides of a stream share would cost each call an allocation.
#[derive(Debug)]
struct Slot {
    link: Arc<Link>,
    /// How many sides of the stream are not over.
    sides: AtomicUsize,
}

/// The places of a connection that were taken before.
#[derive(Debug)]
pub(super) struct Places {
    link: Arc<Link>,
    slots: Vec<Arc<Slot>>,
    next: usize,
}

impl Places {
    pub(super) const fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            slots: Vec::new(),
            next: 0,
        }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn take(&mut self) -> Stream {
        self.link.streams.fetch_add(1, Relaxed);
        for _ in 0..LOOKED_AT {
            match self.slots.get(self.next) {
                // Nobody else takes one meanwhile: that needs `&mut self`.
                Some(slot) if slot.sides.load(Acquire) == 0 => {
                    slot.sides.store(1, Relaxed);
                    return Stream(Arc::clone(slot));
                }
                Some(_) => self.next += 1,
                None => self.next = 0,
            }
        }
        let slot = Arc::new(Slot {
            link: Arc::clone(&self.link),
            sides: AtomicUsize::new(1),
        });
        if self.slots.len() < MOST_KEPT {
            self.slots.push(Arc::clone(&slot));
        }
        Stream(slot)
    }
}

/// One side of an open stream. It counts until the last side is dropped.
#[derive(Debug)]
pub(crate) struct Stream(Arc<Slot>);

impl Stream {
    /// Where it leads.
    pub(super) fn address(&self) -> SocketAddr {
        self.0.link.address
    }

    /// Runs something beside the connection.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.link.runtime.spawn(task));
    }

    pub(super) fn other_side(&self) -> Self {
        self.0.sides.fetch_add(1, Relaxed);
        Self(Arc::clone(&self.0))
    }

    pub(super) fn is_last_side(&self) -> bool {
        self.0.sides.load(Acquire) == 1
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let link = &self.0.link;
        if self.0.sides.fetch_sub(1, AcqRel) == 1 {
            link.streams.fetch_sub(1, SeqCst);
            link.queue.wake();
        }
    }
}

/// Where calls wait, one after another, for a place on any connection of a pool.
#[derive(Debug, Default)]
pub(super) struct Queue {
    turn: Mutex<()>,
    /// Whether somebody waits. He says so before he looks at the counts, and whoever changes them looks here
    /// afterwards: all in one order, or both could miss the other.
    waits: AtomicBool,
    changed: Notify,
}

impl Queue {
    /// There may be room now.
    pub(super) fn wake(&self) {
        if self.waits.load(SeqCst) {
            self.changed.notify_one();
        }
    }

    /// Waits for what `look` finds. Only the first in the queue looks.
    pub(super) async fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let _turn = self.turn.lock().await;
        let _waits = Waits::new(&self.waits);
        loop {
            if let Some(found) = look() {
                return found;
            }
            self.changed.notified().await;
        }
    }
}

/// Dropped with the wait, however that ends.
struct Waits<'a>(&'a AtomicBool);

impl<'a> Waits<'a> {
    fn new(waits: &'a AtomicBool) -> Self {
        waits.store(true, SeqCst);
        Self(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}
