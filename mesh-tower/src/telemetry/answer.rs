//! The body of a response that a server gives, watched to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

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
    }
}

impl<B: Body> Accounted<B> {
    pub(crate) fn new(body: B, mut account: Option<Account>) -> Self {
        if body.is_end_stream()
            && let Some(account) = account.take()
        {
            account.finished();
        }
        Self { body, account }
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
                if trailers.is_some() || this.body.is_end_stream() {
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
