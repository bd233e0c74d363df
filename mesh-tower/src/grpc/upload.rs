//! What a generated client sends, as a body. tonic makes the same stream of all kinds of calls; one whose only frame
//! is at hand becomes bytes, which end with their one DATA frame and not with an empty one after it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;

use crate::body::Body;

type Polled = Result<Frame<Bytes>, Status>;

/// Looks at the first two frames, as far as they are at hand. Nobody has to be woken when there are more: whoever
/// sends the body asks again.
pub(super) fn upload(mut messages: tonic::body::Body) -> Body {
    let mut cx = Context::from_waker(Waker::noop());
    let mut look = || Pin::new(&mut messages).poll_frame(&mut cx);
    let first = match look() {
        Poll::Pending => return Body::new(messages),
        Poll::Ready(None) => return Body::empty(),
        Poll::Ready(Some(first)) => first,
    };
    let second = match look() {
        Poll::Pending => None,
        Poll::Ready(Some(second)) => Some(second),
        Poll::Ready(None) => return whole(first),
    };
    Body::new(Begun {
        looked: [Some(first), second],
        rest: Some(messages),
    })
}

/// The body of one frame.
fn whole(only: Polled) -> Body {
    let odd = match only.map(Frame::into_data) {
        Ok(Ok(message)) => return Body::message(message),
        Ok(Err(trailers)) => Ok(trailers),
        Err(status) => Err(status),
    };
    Body::new(Begun {
        looked: [Some(odd), None],
        rest: None,
    })
}

/// A stream whose first frames were looked at.
struct Begun {
    looked: [Option<Polled>; 2],
    rest: Option<tonic::body::Body>,
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Polled>> {
        if let Some(frame) = self.looked.iter_mut().find_map(Option::take) {
            return Poll::Ready(Some(frame));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(rest).poll_frame(cx));
        if frame.is_none() {
            self.rest = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref();
        self.looked.iter().all(Option::is_none) && rest.is_none_or(HttpBody::is_end_stream)
    }
}
