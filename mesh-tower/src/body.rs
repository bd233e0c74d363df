//! One body type for requests and responses, so that services of the mesh need no annotations.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::{BoxError, Error, Kind, Place, Sent};
use crate::pool::Lease;

/// A body: empty, bytes at hand, or a stream.
pub struct Body {
    inner: Inner,
    /// What is given back when a response has been read: the connection and the in-flight counts.
    lease: Option<Lease>,
}

enum Inner {
    Empty,
    Once(Bytes),
    Incoming(Incoming),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self {
            inner: Inner::Empty,
            lease: None,
        }
    }

    /// Any body of bytes.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        // Our own type is not boxed again: a request that passes two layers costs one box at most.
        if let Some(own) = (&mut body as &mut dyn std::any::Any).downcast_mut::<Option<Self>>()
            && let Some(own) = own.take()
        {
            return own;
        }
        let inner = body.map_or(Inner::Empty, |body| {
            Inner::Boxed(Box::pin(body.map_err(Into::into)))
        });
        Self { inner, lease: None }
    }

    /// The body of a response, with what it holds until it has been read.
    pub(crate) fn leased(incoming: Incoming, lease: Lease) -> Self {
        let ended = incoming.is_end_stream();
        let mut body = Self {
            inner: Inner::Incoming(incoming),
            lease: Some(lease),
        };
        if ended {
            body.finish();
        }
        body
    }

    /// All of it.
    ///
    /// # Errors
    /// When the peer stops before the end.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        Ok(self.collect().await?.to_bytes())
    }

    /// All of it as text; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub async fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finished();
        }
    }

    fn failed(&mut self, cause: BoxError) -> Error {
        let reason = format!("the body ended before it was complete: {cause}");
        match self.lease.take() {
            Some(lease) => {
                Error::new(Kind::Body, lease.failed(), reason).caused(Sent::Processed, cause)
            }
            // A body of the caller's own: whoever sends it knows how far it came.
            None => Error::new(Kind::Upload, Place::default(), reason)
                .caused(Sent::MaybeProcessed, cause),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match &mut self.inner {
            Inner::Empty => None,
            Inner::Once(bytes) => {
                let bytes = std::mem::take(bytes);
                self.inner = Inner::Empty;
                Some(Ok(Frame::data(bytes)))
            }
            Inner::Incoming(incoming) => match Pin::new(incoming).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame.map(|frame| frame.map_err(BoxError::from)),
            },
            Inner::Boxed(boxed) => match boxed.as_mut().poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            },
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if self.is_end_stream() {
                    self.finish();
                }
                Some(Ok(frame))
            }
            Some(Err(cause)) => Some(Err(self.failed(cause))),
            None => {
                self.finish();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Once(_) => false,
            Inner::Incoming(incoming) => incoming.is_end_stream(),
            Inner::Boxed(boxed) => boxed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Once(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Incoming(incoming) => incoming.size_hint(),
            Inner::Boxed(boxed) => boxed.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.inner {
            Inner::Empty => "empty",
            Inner::Once(_) => "bytes",
            Inner::Incoming(_) | Inner::Boxed(_) => "stream",
        };
        f.debug_tuple("Body").field(&kind).finish()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let inner = if bytes.is_empty() {
            Inner::Empty
        } else {
            Inner::Once(bytes)
        };
        Self { inner, lease: None }
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self {
            inner: Inner::Incoming(incoming),
            lease: None,
        }
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}
