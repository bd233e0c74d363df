//! A call of which the response is being read, and what of its upload ends with it.

use h2::{Reason, SendStream};

use super::piece::Piece;
use super::place::Stream;
use crate::pool::tether::Tether;

/// What is left to do for an upload when its response has begun.
#[derive(Debug)]
pub(super) enum Rest {
    Nothing,
    /// It was given to h2, which may keep some of it still.
    Given(SendStream<Piece>),
    /// It runs, and ends with this.
    Running(Tether),
}

/// A stream whose response is being read. Its end is that of its upload.
#[derive(Debug)]
pub(crate) struct Answering {
    upload: Rest,
    stream: Stream,
}

impl Answering {
    pub(super) const fn new(upload: Rest, stream: Stream) -> Self {
        Self { upload, stream }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // h2 resets streams by itself that nobody holds any more, but none that is ended on both sides, though it may
        // not have sent the end yet. One of which all was sent must not be reset: h2 would remember it as given up.
        if let Rest::Given(stream) = &mut self.upload
            && !self.stream.is_last_side()
        {
            stream.send_reset(Reason::CANCEL);
        }
    }
}
