//! The body of a request that is sent twice: whoever sends the request reads it, and a copy of each frame goes to its
//! mirror. The bytes are shared; what waits for the mirror is bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::Inner;
use crate::client::Mirrors;
use crate::error::BoxError;

/// How many bytes may wait for a mirror. Also the largest body at hand that is mirrored.
pub(super) const MOST: usize = 1024 * 1024;

/// What a frame costs beside its bytes: empty ones are not for free.
const FRAME: usize = 64;

enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl Part {
    fn cost(&self) -> usize {
        match self {
            Self::Data(bytes) => bytes.len() + FRAME,
            Self::Trailers(_) | Self::End => 0,
        }
    }
}

/// A stream with a copy. `length` is what its request says of it.
pub(super) fn tee(inner: Inner, length: Option<u64>, mirrors: &Arc<Mirrors>) -> (Teed, Copied) {
    let (out, parts) = mpsc::unbounded_channel();
    let held = Arc::new(AtomicUsize::new(0));
    let hint = inner.size_hint().exact();
    let copied = Copied {
        parts,
        held: Arc::clone(&held),
        left: hint,
        whole: false,
    };
    let teed = Teed {
        inner,
        out: Some(out),
        held,
        left: hint.or(length),
        mirrors: Arc::clone(mirrors),
    };
    (teed, copied)
}

/// The original.
pub(super) struct Teed {
    inner: Inner,
    /// None when the copy has ended, at its end or before it.
    out: Option<mpsc::UnboundedSender<Part>>,
    held: Arc<AtomicUsize>,
    /// How many bytes are still to come. A peer that knows it never asks for the end.
    left: Option<u64>,
    mirrors: Arc<Mirrors>,
}

impl Teed {
    fn give(&mut self, part: Part) {
        let Some(out) = &self.out else {
            return;
        };
        let cost = part.cost();
        let held = self.held.fetch_add(cost, Relaxed) + cost;
        if held > MOST {
            self.mirrors.dropped();
            self.out = None;
        } else if matches!(part, Part::End) || out.is_closed() {
            // A mirror that has gone needs nothing.
            let _ = out.send(part);
            self.out = None;
        } else {
            let _ = out.send(part);
        }
    }

    fn passed(&mut self, frame: &Frame<Bytes>) {
        if let Some(bytes) = frame.data_ref() {
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(bytes.len() as u64);
            }
            self.give(Part::Data(bytes.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.give(Part::Trailers(trailers.clone()));
        }
        if self.left == Some(0) || self.inner.is_end_stream() {
            self.give(Part::End);
        }
    }
}

/// Over HTTP/1.1 nobody asks a body for a frame that has no bytes: it is whole all the same.
impl Drop for Teed {
    fn drop(&mut self) {
        if self.left == Some(0) {
            self.give(Part::End);
        }
    }
}

impl HttpBody for Teed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.inner.poll(cx));
        match &frame {
            Some(Ok(frame)) => self.passed(frame),
            // The copy breaks off as well.
            Some(Err(_)) => self.out = None,
            None => self.give(Part::End),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The copy.
pub(super) struct Copied {
    parts: mpsc::UnboundedReceiver<Part>,
    held: Arc<AtomicUsize>,
    left: Option<u64>,
    whole: bool,
}

impl HttpBody for Copied {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.whole {
            return Poll::Ready(None);
        }
        let part = ready!(self.parts.poll_recv(cx));
        if let Some(part) = &part {
            self.held.fetch_sub(part.cost(), Relaxed);
        }
        Poll::Ready(match part {
            Some(Part::Data(bytes)) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Some(Ok(Frame::data(bytes)))
            }
            Some(Part::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Part::End) => {
                self.whole = true;
                None
            }
            None => Some(Err(
                "the request that it is a copy of was not sent to its end, or was faster than its mirror".into(),
            )),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.whole
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
