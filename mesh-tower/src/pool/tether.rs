//! Ties the upload of a call to the call: HTTP/2 resets a stream only when neither side of it is
//! held any more, and a caller that drops its responses may keep the request's stream of messages open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// The call's end. Dropping it ends the upload.
#[derive(Debug)]
pub(crate) struct Tether(Option<Arc<Line>>);

/// The upload's end.
#[derive(Debug)]
pub(crate) struct Tied(Arc<Line>);

#[derive(Debug, Default)]
struct Line {
    over: AtomicBool,
    uploader: AtomicWaker,
}

impl Tether {
    pub(super) fn new() -> (Self, Tied) {
        let line = Arc::<Line>::default();
        (Self(Some(Arc::clone(&line))), Tied(line))
    }

    /// Lets the upload go on without the call.
    pub(super) fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            line.over.store(true, Ordering::Release);
            line.uploader.wake();
        }
    }
}

impl Tied {
    /// Whether the call has ended; whoever asks is woken when it does.
    pub(crate) fn is_over(&self, cx: &Context<'_>) -> bool {
        // In this order, so that an end in between is seen or wakes.
        self.0.uploader.register(cx.waker());
        self.0.over.load(Ordering::Acquire)
    }
}
