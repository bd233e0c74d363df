//! The body of a response that a server gives, watched to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::account::Account;

pin_project! {
    /// The body of a response behind [`Mesh::inbound`](crate::Mesh::inbound): the application's own, whose end is
    /// noted.
    #[derive(Debug)]
    pub struct Accounted<B> {
        #[pin]
        body: B,
        account: Option<Account>,
        left: Option<u64>,
    }
}

impl<B: Body> Accounted<B> {
    /// `left` is how many bytes a server of HTTP/1 will ask for: then it drops the body, whether it has told its end or not.
    pub(crate) fn new(body: B, mut account: Option<Account>, left: Option<u64>) -> Self {
        if (body.is_end_stream() || left == Some(0))
            && let Some(account) = account.take()
        {
            account.finished();
        }
        Self {
            body,
            account,
            left,
        }
    }
}

impl<B: Body> Body for Accounted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        let Some(mut account) = this.account.take() else {
            return Poll::Ready(frame);
        };
        match &frame {
            None => account.finished(),
            // The application broke off: to a sidecar, its upstream.
            Some(Err(_)) => account.broken_off("UC"),
            Some(Ok(frame)) => {
                let trailers = frame.trailers_ref();
                account.frame(frame);
                let data = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                *this.left = this.left.map(|left| left.saturating_sub(data));
                let written = *this.left == Some(0);
                if trailers.is_some() || written || this.body.is_end_stream() {
                    account.finished();
                } else {
                    *this.account = Some(account);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
