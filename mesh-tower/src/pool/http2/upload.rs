//! Sends the body of a request, frame by frame and no faster than the peer takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;

use crate::body::Body;
use crate::error::Error;

/// The body of a request that comes bit by bit: a task of its own. What becomes of it, the response tells.
pub(super) struct Upload {
    body: Body,
    stream: SendStream<Bytes>,
    /// What the peer has no room for yet, and whether it is the last.
    waiting: Option<(Bytes, bool)>,
}

impl Upload {
    pub(super) const fn new(body: Body, stream: SendStream<Bytes>) -> Self {
        Self {
            body,
            stream,
            waiting: None,
        }
    }

    /// The end of the upload, by a reset if it is none that HTTP/2 knows.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        loop {
            // Asked first: the caller may be gone while the peer takes nothing.
            if self.body.is_abandoned(cx) {
                return Poll::Ready(Err(Reason::CANCEL));
            }
            // The peer may end the stream while the caller says nothing.
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if self.waiting.is_some() && !ready!(self.poll_room(cx)) {
                return Poll::Ready(Ok(()));
            }
            if let Some((bytes, last)) = self.waiting.take() {
                sent(self.stream.send_data(bytes, last))?;
                if last {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(sent(self.stream.send_data(Bytes::new(), true)));
            };
            let frame = frame.map_err(|error| reason(&error))?;
            match frame.into_data() {
                Ok(bytes) => {
                    let last = self.body.is_end_stream();
                    // It says nothing, and peers end connections on which too many such frames come.
                    if bytes.is_empty() && !last {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    // Room is asked for when there is something to send: what is reserved ahead, others lack.
                    self.stream.reserve_capacity(usize::from(!bytes.is_empty()));
                    self.waiting = Some((bytes, last));
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.reserve_capacity(0);
                        return Poll::Ready(sent(self.stream.send_trailers(trailers)));
                    }
                }
            }
        }
    }

    /// Whether the stream is still there when there is room for what waits. For no bytes there always is.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self
            .waiting
            .as_ref()
            .is_none_or(|(bytes, _)| bytes.is_empty())
        {
            return Poll::Ready(true);
        }
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }
}

impl Future for Upload {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(reason) = ready!(self.poll_end(cx)) {
            self.stream.send_reset(reason);
        }
        Poll::Ready(())
    }
}

/// Sends the whole body of a request at once. h2 keeps what the peer has no room for, and it is in memory already.
pub(super) fn whole(bytes: Bytes, mut stream: SendStream<Bytes>) {
    if let Err(reason) = sent(stream.send_data(bytes, true)) {
        stream.send_reset(reason);
    }
}

/// What h2 does not take ends the stream. One that has ended takes nothing and cannot be reset: nothing comes of it.
fn sent(result: Result<(), h2::Error>) -> Result<(), Reason> {
    result.map_err(|_| Reason::INTERNAL_ERROR)
}

/// The reason with which a body says that it ends.
fn reason(error: &Error) -> Reason {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .find_map(|error| error.downcast_ref::<h2::Error>()?.reason())
        .unwrap_or(Reason::INTERNAL_ERROR)
}
