//! One body type for requests and responses, so that services of the mesh need no annotations.

mod held;
mod tee;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::client::{Mirrors, Trail};
use crate::error::{BoxError, Error};
use crate::pool::{Lease, Received, Tied};
use crate::telemetry::Account;
pub(crate) use held::is_ours;

/// A body: empty, bytes at hand, or a stream.
pub struct Body {
    inner: Inner,
    /// What is given back when a response has been read: the connection and the in-flight counts.
    lease: Option<Lease>,
    /// Whom the body of a request tells how far it is, when its call has a limit of time.
    upload: Option<Arc<Trail>>,
    /// Tells the body of a request that HTTP/2 sends bit by bit that its call has ended.
    tied: Option<Tied>,
    /// What is told how a response without a lease ended, one that the configuration gave.
    account: Option<Box<Account>>,
}

enum Inner {
    Empty,
    Once {
        bytes: Bytes,
        /// Whether the peer learns the length from a header. gRPC has it in the message.
        told: bool,
    },
    Incoming(Incoming),
    Received(Received),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self::of(Inner::Empty)
    }

    /// Any body of bytes.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        // Our own type is not boxed again: a request that passes two layers costs one box at most.
        if let Some(own) = taken::<Self, B>(&mut body) {
            return own;
        }
        body.map_or(Self::empty(), Self::boxed)
    }

    fn boxed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::of(Inner::Boxed(Box::pin(body.map_err(Into::into))))
    }

    /// The one message of a gRPC call.
    #[cfg(feature = "grpc")]
    pub(crate) const fn message(message: Bytes) -> Self {
        Self::of(Inner::Once {
            bytes: message,
            told: false,
        })
    }

    const fn of(inner: Inner) -> Self {
        Self {
            inner,
            lease: None,
            upload: None,
            tied: None,
            account: None,
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// When the peer stops before the end.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let mut first = Bytes::new();
        // Most bodies are one frame, and need nothing to be gathered in.
        while first.is_empty() {
            match self.frame().await.transpose()? {
                None => return Ok(first),
                Some(frame) => first = frame.into_data().unwrap_or_default(),
            }
        }
        if self.is_end_stream() {
            return Ok(first);
        }
        let rest = self.collect().await?.aggregate();
        if !rest.has_remaining() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.remaining());
        whole.put(first);
        whole.put(rest);
        Ok(whole.freeze())
    }

    /// All of it as text; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub async fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    /// Whether it comes bit by bit, and may keep its reader waiting.
    pub(crate) fn is_stream(&self) -> bool {
        !matches!(self.inner, Inner::Empty | Inner::Once { .. }) && !self.is_end_stream()
    }

    /// All of it, if it is at hand.
    pub(crate) fn take_bytes(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.inner, Inner::Empty) {
            Inner::Once { bytes, .. } => Some(bytes),
            other => {
                self.inner = other;
                None
            }
        }
    }

    /// A copy for a mirror: bytes at hand are shared, and what a stream yields reaches both. `None` for more bytes
    /// than a mirror may hold. `length` is the `content-length` of the request.
    pub(crate) fn copy(&mut self, length: Option<u64>, mirrors: &Arc<Mirrors>) -> Option<Self> {
        let inner = match std::mem::replace(&mut self.inner, Inner::Empty) {
            Inner::Empty => Inner::Empty,
            Inner::Once { bytes, told } => {
                self.inner = Inner::Once {
                    bytes: bytes.clone(),
                    told,
                };
                (bytes.len() <= tee::MOST).then_some(Inner::Once { bytes, told })?
            }
            // Nobody will ask it for a frame.
            ended if ended.is_end_stream() => {
                self.inner = ended;
                Inner::Empty
            }
            stream => {
                let (teed, copied) = tee::tee(stream, length, mirrors);
                self.inner = Inner::Boxed(Box::pin(teed));
                Inner::Boxed(Box::pin(copied))
            }
        };
        Some(Self::of(inner))
    }
}

/// What is there, if it is a `T`.
fn taken<T: 'static, B: 'static>(body: &mut Option<B>) -> Option<T> {
    let body: &mut dyn std::any::Any = body;
    body.downcast_mut::<Option<T>>()?.take()
}

impl Inner {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Once { bytes, .. } => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BoxError::from))),
            Self::Received(received) => received
                .poll(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BoxError::from))),
            Self::Boxed(boxed) => boxed.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once { .. } => false,
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Received(received) => received.is_end_stream(),
            Self::Boxed(boxed) => boxed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Once { told: false, .. } => SizeHint::default(),
            Self::Once { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Received(received) => received.size_hint(),
            Self::Boxed(boxed) => boxed.size_hint(),
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
        if self.is_abandoned(cx) {
            return Poll::Ready(Some(Err(self.abandoned())));
        }
        let Poll::Ready(frame) = self.inner.poll(cx) else {
            return self.limit(cx, false).map(|at| Some(Err(self.expired(at))));
        };
        let last = self.is_end_stream();
        if let Some(trail) = &self.upload {
            trail.upload(last || frame.is_none());
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if let Some(account) = self.open_account() {
                    account.frame(&frame);
                }
                if last {
                    self.finish();
                } else if let Poll::Ready(expired) = self.limit(cx, true) {
                    return Poll::Ready(Some(Err(self.expired(expired))));
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
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.inner {
            Inner::Empty => "empty",
            Inner::Once { .. } => "bytes",
            Inner::Incoming(_) | Inner::Received(_) | Inner::Boxed(_) => "stream",
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
            Inner::Once { bytes, told: true }
        };
        Self::of(inner)
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self::of(Inner::Incoming(incoming))
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
