//! What the timer of a call needs to know and only others learn: when the request was whole, when a
//! frame last went by, and how far the last attempt came.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::time::Instant;

use crate::error::Sent;

/// Shared by the timer of one call, the body of its request and its attempts.
#[derive(Debug)]
pub(crate) struct Trail(Mutex<State>);

#[derive(Debug, Clone)]
struct State {
    heard: Instant,
    uploaded: Option<Instant>,
    endpoint: Option<SocketAddr>,
    sent: bool,
    over: bool,
    /// Of the request's body, which may have to be told that the call is over.
    uploader: Option<Waker>,
}

impl Trail {
    /// A call that begins now. A request without a stream for its body is whole at once.
    pub(super) fn start(now: Instant, streams: bool) -> Self {
        Self(Mutex::new(State {
            heard: now,
            uploaded: (!streams).then_some(now),
            endpoint: None,
            sent: false,
            over: false,
            uploader: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a frame last went by, in either direction.
    pub(super) fn heard(&self) -> Instant {
        self.state().heard
    }

    /// When the request was whole; `None` while its body streams.
    pub(super) fn uploaded(&self) -> Option<Instant> {
        self.state().uploaded
    }

    /// How far the last attempt came.
    pub(super) fn sent(&self) -> Sent {
        match self.state().sent {
            true => Sent::MaybeProcessed,
            false => Sent::NotSent,
        }
    }

    /// The endpoint that was tried last.
    pub(super) fn endpoint(&self) -> Option<SocketAddr> {
        self.state().endpoint
    }

    /// A frame of the response went by.
    pub(super) fn frame(&self) {
        self.state().heard = Instant::now();
    }

    /// A frame of the request went by.
    pub(crate) fn upload(&self, last: bool) {
        let now = Instant::now();
        let mut state = self.state();
        state.heard = now;
        if last {
            state.uploaded.get_or_insert(now);
        }
    }

    /// An attempt begins.
    pub(crate) fn tried(&self, endpoint: SocketAddr) {
        let mut state = self.state();
        state.endpoint = Some(endpoint);
        state.sent = false;
    }

    /// The request was handed to a connection.
    pub(crate) fn handed_over(&self) {
        self.state().sent = true;
    }

    /// The call has ended at a limit: a request that is still being uploaded ends as well. HTTP/2
    /// resets a stream only when neither side of it is held any more.
    pub(super) fn give_up(&self) {
        let mut state = self.state();
        state.over = true;
        let uploader = state.uploader.take();
        drop(state);
        if let Some(uploader) = uploader {
            uploader.wake();
        }
    }

    /// Whether the call has ended at a limit; whoever asks is woken when it does.
    pub(crate) fn is_over(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        match &mut state.uploader {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        state.over
    }
}
