//! An accepted connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::drain::{Member, Watcher};

/// Who is on the other end of a connection; in the extensions of each request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerIdentity {
    /// The peer's address.
    pub address: SocketAddr,
}

/// An accepted connection of a [`MeshListener`](crate::MeshListener).
///
/// [`Mesh::shutdown`](crate::Mesh::shutdown) waits until it is dropped. When the time for that is up, its reads and
/// writes fail with [`io::ErrorKind::ConnectionAborted`].
pub struct MeshStream {
    io: Io,
    peer: PeerIdentity,
    // Apart, because a split stream is read and written by two tasks.
    reader: Alarm,
    writer: Alarm,
    member: Member,
}

/// What carries the bytes.
#[derive(Debug)]
enum Io {
    Plain(TcpStream),
}

impl MeshStream {
    pub(super) fn plain(stream: TcpStream, address: SocketAddr, member: Member) -> Self {
        // A response head and a short body are one write; a dead socket says so on its first use.
        drop(stream.set_nodelay(true));
        Self {
            io: Io::Plain(stream),
            peer: PeerIdentity { address },
            reader: Alarm::new(member.watcher.clone()),
            writer: Alarm::new(member.watcher.clone()),
            member,
        }
    }

    /// Who is on the other end.
    pub const fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    pub(super) fn watcher(&self) -> Watcher {
        self.member.watcher.clone()
    }
}

impl fmt::Debug for MeshStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshStream")
            .field("io", &self.io)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Wakes the task of a connection when the time for draining is up.
struct Alarm {
    watcher: Watcher,
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Who is woken. A connection stays on its task, so this is set once and no lock is taken at each read.
    set_for: Option<Waker>,
    has_rung: bool,
}

impl Alarm {
    const fn new(watcher: Watcher) -> Self {
        Self {
            watcher,
            over: None,
            set_for: None,
            has_rung: false,
        }
    }

    fn check(&mut self, cx: &Context<'_>) -> io::Result<()> {
        let is_set = self
            .set_for
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        if (!is_set || self.watcher.has_begun()) && !self.has_rung {
            self.set(cx.waker());
        }
        match self.has_rung {
            true => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "closed by the mesh: the time for draining is up",
            )),
            false => Ok(()),
        }
    }

    fn set(&mut self, waker: &Waker) {
        let over = self.over.get_or_insert_with(|| {
            let mut watcher = self.watcher.clone();
            Box::pin(async move { watcher.over().await })
        });
        self.has_rung = over
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_ready();
        self.set_for = Some(waker.clone());
    }
}

impl AsyncRead for MeshStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.reader.check(cx)?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for MeshStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writer.check(cx)?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writer.check(cx)?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper does not read while a pipelined request waits in its buffer, but it always flushes.
        this.writer.check(cx)?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
