//! The body of a response that a server gives, watched to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::account::Account;

pin_project! {
    /// The body of a response behind [`Mesh::inbound`](crate::Mesh::inbound): the application's own, whose end is
    /// noted, or the text of a refusal.
    #[derive(Debug)]
    pub struct Accounted<B> {
        #[pin]
        body: Option<B>,
        text: Bytes,
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
            body: Some(body),
            text: Bytes::new(),
            account,
            left,
        }
    }

    /// An answer of the mesh's own, which is told of by who makes it.
    pub(crate) const fn of_the_mesh(text: Bytes) -> Self {
        Self {
            body: None,
            text,
            account: None,
            left: None,
        }
    }
}

impl<B: Body> Body for Accounted<B>
where
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let Some(mut body) = this.body.as_pin_mut() else {
            let text = std::mem::take(this.text);
            let data = (!text.is_empty()).then(|| Frame::data(text.into()));
            return Poll::Ready(data.map(Ok));
        };
        let frame = ready!(body.as_mut().poll_frame(cx));
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
                if trailers.is_some() || written || body.is_end_stream() {
                    account.finished();
                } else {
                    *this.account = Some(account);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Some(body) => body.is_end_stream(),
            None => self.text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(self.text.len() as u64),
        }
    }
}
