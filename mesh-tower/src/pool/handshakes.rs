//! Requests that wait for a connection whose handshake costs: each takes the first that comes free or is opened, and no more
//! are opened than wait. Were each request to open its own, a peer that is slow for a moment would be asked for handshakes
//! whose callers are gone before they end, and for more of them the slower it gets.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::connect::ConnectError;

/// How many handshakes one pool has under way at most.
const MOST: usize = 64;

/// Those that wait, the oldest first.
#[derive(Debug)]
pub(super) struct Handshakes<T> {
    queue: Mutex<Queue<T>>,
    /// How many are in the queue, for those that only ask whether anybody is.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Turn<T>>,
    /// How many handshakes are under way.
    running: usize,
}

type Turn<T> = oneshot::Sender<Result<T, ConnectError>>;

impl<T> Default for Handshakes<T> {
    fn default() -> Self {
        Self {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                running: 0,
            }),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl<T> Handshakes<T> {
    /// Waits in the queue. Whether a handshake has to be begun.
    pub(super) fn queue(&self) -> (oneshot::Receiver<Result<T, ConnectError>>, bool) {
        let (turn, taken) = oneshot::channel();
        let mut queue = self.lock();
        queue.forget_gone();
        queue.waiting.push_back(turn);
        let begins = queue.begins();
        self.count(&queue);
        (taken, begins)
    }

    /// Gives a connection to whoever has waited longest; nobody waits if it comes back.
    pub(super) fn give(&self, mut connection: T) -> Option<T> {
        if self.waiting.load(SeqCst) == 0 {
            return Some(connection);
        }
        let mut queue = self.lock();
        let left = loop {
            let Some(turn) = queue.waiting.pop_front() else {
                break Some(connection);
            };
            match turn.send(Ok(connection)) {
                Ok(()) => break None,
                // That one is gone.
                Err(Ok(back)) => connection = back,
                Err(Err(_)) => break None,
            }
        };
        self.count(&queue);
        left
    }

    /// A handshake has ended, and has given what it opened. Whether whoever ran it has to begin another.
    pub(super) fn ended(&self, error: Option<ConnectError>) -> bool {
        let mut queue = self.lock();
        queue.running -= 1;
        queue.forget_gone();
        // Somebody has to hear of it, if there are not as many under way as wait.
        if let Some(error) = error
            && queue.waiting.len() > queue.running
            && let Some(turn) = queue.waiting.pop_front()
        {
            drop(turn.send(Err(error)));
        }
        let begins = queue.begins();
        self.count(&queue);
        begins
    }

    /// A handshake will not end: the runtime that ran it has. Those that counted on it begin again.
    pub(super) fn abandoned(&self) {
        let mut queue = self.lock();
        queue.running -= 1;
        while queue.waiting.len() > queue.running {
            queue.waiting.pop_front();
        }
        self.count(&queue);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, queue: &Queue<T>) {
        self.waiting.store(queue.waiting.len(), SeqCst);
    }
}

impl<T> Queue<T> {
    /// Callers give up in the order in which they came, as a rule.
    fn forget_gone(&mut self) {
        while self.waiting.front().is_some_and(Turn::is_closed) {
            self.waiting.pop_front();
        }
    }

    fn begins(&mut self) -> bool {
        let begins = self.running < MOST && self.waiting.len() > self.running;
        self.running += usize::from(begins);
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> ConnectError {
        let address = ([127, 0, 0, 1], 1).into();
        ConnectError::Tcp(address, std::io::Error::other("away"))
    }

    #[test]
    fn the_oldest_gets_what_comes_free_and_the_handshake_serves_the_next() {
        let handshakes = Handshakes::default();
        let (mut first, begins) = handshakes.queue();
        assert!(begins);
        let (mut second, begins) = handshakes.queue();
        assert!(begins);
        // One comes back, before either handshake has ended.
        assert_eq!(handshakes.give(1), None);
        assert_eq!(first.try_recv().unwrap().unwrap(), 1);
        assert_eq!(handshakes.give(2), None);
        assert!(!handshakes.ended(None));
        assert_eq!(second.try_recv().unwrap().unwrap(), 2);
        // The other handshake ends with nobody waiting: it is kept.
        assert_eq!(handshakes.give(3), Some(3));
        assert!(!handshakes.ended(None));
    }

    #[test]
    fn who_is_gone_is_passed_over_and_leaves_its_handshake_to_the_next() {
        let handshakes = Handshakes::default();
        let (gone, begins) = handshakes.queue();
        assert!(begins);
        drop(gone);
        let (mut next, begins) = handshakes.queue();
        assert!(!begins, "one is under way");
        assert_eq!(handshakes.give(1), None);
        assert_eq!(next.try_recv().unwrap().unwrap(), 1);
    }

    #[test]
    fn a_failure_is_told_to_one_that_has_no_handshake_of_its_own_left() {
        let handshakes = Handshakes::<u8>::default();
        let (mut first, _) = handshakes.queue();
        let (mut second, _) = handshakes.queue();
        assert_eq!(handshakes.give(1), None);
        assert!(first.try_recv().unwrap().is_ok());
        // Two were under way, one waits: the first that fails is nobody's.
        assert!(!handshakes.ended(Some(failed())));
        assert!(second.try_recv().is_err());
        assert!(!handshakes.ended(Some(failed())));
        assert!(second.try_recv().unwrap().is_err());
    }

    #[test]
    fn who_counts_on_a_handshake_that_will_not_end_hears_of_it() {
        let handshakes = Handshakes::<u8>::default();
        let (mut first, _) = handshakes.queue();
        handshakes.abandoned();
        assert!(matches!(
            first.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
        let (_second, begins) = handshakes.queue();
        assert!(begins, "none is under way");
    }

    #[test]
    fn no_more_run_than_may_and_all_are_served() {
        let handshakes = Handshakes::default();
        let mut all: Vec<_> = (0..3 * MOST).map(|_| handshakes.queue()).collect();
        let mut running = all.iter().filter(|(_, begins)| *begins).count();
        assert_eq!(running, MOST);
        let mut ended = 0;
        while running > 0 {
            assert_eq!(handshakes.give(ended), None);
            ended += 1;
            running -= usize::from(!handshakes.ended(None));
        }
        assert_eq!(ended, 3 * MOST);
        assert!(all.iter_mut().all(|(turn, _)| turn.try_recv().is_ok()));
    }
}
