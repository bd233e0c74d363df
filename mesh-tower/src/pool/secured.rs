//! The bytes under TLS. Where the peer is proven, they end when the proof does.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::seldom::Seldom;
use crate::tls::{Kept, PeerRefused, Stream};

/// TLS, and how long it may last.
pub(crate) struct Secured {
    stream: Stream,
    kept: Option<Kept>,
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    seldom: Seldom,
    /// Of a peer that would not be taken any more.
    is_over: bool,
}

impl Secured {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            kept: None,
            over: None,
            seldom: Seldom::default(),
            is_over: false,
        }
    }

    pub(super) fn kept(stream: Stream, kept: Kept) -> Self {
        let until = kept.clone();
        Self {
            kept: Some(kept),
            over: Some(Box::pin(async move { until.over().await })),
            ..Self::new(stream)
        }
    }

    /// What the peer says of us by its alert, in words that are to be mended by. Some that stand on this keep the text of
    /// an error alone.
    fn told(&self, error: io::Error) -> io::Error {
        let Some(refused) = PeerRefused::of(&error) else {
            return error;
        };
        if let Some(kept) = &self.kept {
            kept.refused();
        }
        io::Error::new(error.kind(), refused)
    }

    /// Whoever reads is woken when it is over, and each connection reads.
    fn check(&mut self, cx: &Context<'_>) -> io::Result<()> {
        if let Some(over) = &mut self.over
            && let Some(mut cx) = self.seldom.woken(cx)
            && over.as_mut().poll(&mut cx).is_ready()
        {
            (self.over, self.is_over) = (None, true);
        }
        match self.is_over {
            false => Ok(()),
            true => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the peer's certificate is not taken any more; its connection was closed",
            )),
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, into));
        Poll::Ready(read.map_err(|error| self.told(error)))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secured")
    }
}
