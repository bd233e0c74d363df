//! A connection in memory: what its first bytes are taken for, however they are cut into reads.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use mesh_core::server::First;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::hello::{Offered, hello};

/// What tells plaintext from TLS.
pub(crate) type Judge = fn(&[u8]) -> Option<First>;

/// What a connection is so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing has come.
    Silent,
    Plaintext,
    /// It is TLS, and its hello is not whole.
    More,
    /// It began as TLS, and is closed for this reason.
    NoHello(String),
    Tls(Offered),
}

/// What is read one after the other; then the end, or nothing.
struct Reads {
    pieces: VecDeque<Vec<u8>>,
    ends: bool,
}

impl AsyncRead for Reads {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.pieces.pop_front() else {
            return if self.ends {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        };
        let rest = piece.split_off(piece.len().min(into.remaining()));
        into.put_slice(&piece);
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

/// It takes every alert.
impl AsyncWrite for Reads {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// As a server judges it: by what can be seen first, then by the hello.
pub(crate) fn judged(
    judge: Judge,
    pieces: impl IntoIterator<Item = Vec<u8>>,
    ends: bool,
) -> Verdict {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
    let pieces: VecDeque<_> = pieces.collect();
    match pieces.front().and_then(|seen| judge(seen)) {
        None => return Verdict::Silent,
        Some(First::Plaintext) => return Verdict::Plaintext,
        Some(First::Tls) => {}
    }
    let mut waits = Context::from_waker(Waker::noop());
    match pin!(hello(Reads { pieces, ends })).poll(&mut waits) {
        Poll::Pending => Verdict::More,
        Poll::Ready(Err(error)) => Verdict::NoHello(error.to_string()),
        Poll::Ready(Ok((_, offered))) => Verdict::Tls(offered),
    }
}

/// One by one, the first alone, as far as a record's head, or in pieces of a size.
pub(crate) fn cut(bytes: &[u8], how: u8) -> Vec<Vec<u8>> {
    let at = |end: usize| {
        let (first, rest) = bytes.split_at(end.min(bytes.len()));
        vec![first.to_vec(), rest.to_vec()]
    };
    let pieces = |size: usize| bytes.chunks(size).map(<[u8]>::to_vec).collect();
    match how & 3 {
        0 => pieces(1),
        1 => at(1),
        2 => at(5),
        _ => pieces(2 + usize::from(how >> 2)),
    }
}
