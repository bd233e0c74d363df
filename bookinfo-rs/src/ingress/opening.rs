//! A deadline for the opening of a connection: for all that comes before hyper's own timers run.
//!
//! hyper's server for both versions of HTTP reads until it knows which one the client speaks, and waits for that without
//! an end. [`Guard`](super::framing::Guard) lengthens the wait, for it holds a head back until it is whole. From
//! then on HTTP/1 has the parser's timer for heads and HTTP/2 its pings, so the deadline ends there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What an HTTP/2 client says first (RFC 9113, 3.4). Whatever differs from it is HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that must show its version of HTTP in time, or reading fails with [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub(crate) struct Opening<T> {
    inner: T,
    /// How much of the preface was read so far.
    matched: usize,
    /// None once the version is known.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<T> Opening<T> {
    /// Starts the deadline.
    pub(crate) fn new(inner: T, limit: Duration) -> Self {
        Self {
            inner,
            matched: 0,
            deadline: Some(Box::pin(tokio::time::sleep(limit))),
        }
    }

    fn saw(&mut self, bytes: &[u8]) {
        let rest = &PREFACE[self.matched..];
        let preface_so_far = bytes.len() < rest.len() && rest.starts_with(bytes);
        self.matched += bytes.len();
        // The end of the stream needs no deadline either.
        if bytes.is_empty() || !preface_so_far {
            self.deadline = None;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Opening<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Before reading: a client that always has one more byte must not keep the clock from being read.
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            let why = "the client did not send the head of a request in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        if this.deadline.is_some() && polled.is_ready() {
            this.saw(&buf.filled()[before..]);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Opening<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// What reading gives after these bytes and no more, and when.
    async fn after(bytes: &[u8]) -> (io::Result<usize>, Duration) {
        let start = Instant::now();
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Opening::new(server, LIMIT);
        client.write_all(bytes).await.unwrap();
        server.read_exact(&mut vec![0; bytes.len()]).await.unwrap();
        let read = tokio::time::timeout(LIMIT * 10, server.read(&mut [0; 8])).await;
        (read.unwrap_or(Ok(usize::MAX)), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn it_holds_until_the_version_is_known_and_no_longer() {
        for end in 0..PREFACE.len() {
            let (read, elapsed) = after(&PREFACE[..end]).await;
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut, "{end}");
            assert_eq!(elapsed.as_secs(), LIMIT.as_secs(), "{end}");
        }
        let more = [PREFACE, b"more"].concat();
        for known in [PREFACE, &more, b"G", b"PRI / HTTP/1.1", b"\r\n"] {
            let (read, _) = after(known).await;
            // Nothing came, and nothing ended the wait.
            assert_eq!(read.unwrap(), usize::MAX, "{known:?}");
        }
    }
}
