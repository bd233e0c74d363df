//! The body of a response, as it comes from its stream.

use std::fmt;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use mesh_core::request::content_length;

/// Dropping it before its end resets the stream, unless an upload goes on.
pub(crate) struct Received {
    stream: RecvStream,
    /// What is left, if the peer has told a length.
    left: Option<u64>,
    /// Trailers come next.
    whole: bool,
}

impl Received {
    pub(super) fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let left = match stream.is_end_stream() {
            true => Some(0),
            false => content_length(headers),
        };
        Self {
            stream,
            left,
            whole: false,
        }
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.whole {
            if let Some(data) = ready!(self.stream.poll_data(cx)) {
                return Poll::Ready(Some(data.map(|bytes| self.taken(bytes))));
            }
            self.whole = true;
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            // One that was whole before its reset, h2 knows to be whole (RFC 9113, 8.1).
            Err(error) => Some(Err(error)),
        })
    }

    /// What a reader has taken, the peer may send again.
    fn taken(&mut self, bytes: Bytes) -> Frame<Bytes> {
        // Of a stream that has ended meanwhile nothing is expected.
        drop(self.stream.flow_control().release_capacity(bytes.len()));
        self.left = self
            .left
            .map(|left| left.saturating_sub(bytes.len() as u64));
        Frame::data(bytes)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
