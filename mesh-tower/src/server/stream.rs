//! An accepted connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use mesh_core::identity::{Peer, PeerCertificate, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Connection;
use super::drain::{Member, Watcher};
use super::unguarded::{self, Unguarded};
use crate::seldom::Seldom;

/// Who is on the other end of a connection; in the extensions of each request.
///
/// Two are equal when they have the same address and have shown the same certificate, or none.
#[derive(Clone)]
#[non_exhaustive]
pub struct PeerIdentity {
    /// The peer's address.
    pub address: SocketAddr,
    pub(super) connection: Arc<Connection>,
}

impl PeerIdentity {
    /// The workload that it has proven to be by mutual TLS: its certificate chains to the mesh's roots, and its names
    /// are those that the configuration takes. None in plaintext.
    pub fn spiffe(&self) -> Option<&SpiffeId> {
        self.certificate()?.spiffe.as_ref()
    }

    /// The certificate by which it has proven itself.
    pub fn certificate(&self) -> Option<&PeerCertificate> {
        self.connection.peer().certificate().map(|it| &**it)
    }

    /// Whether the connection is TLS. That alone says nothing of who is on the other end.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self.connection.peer(), Peer::Plaintext)
    }
}

impl PartialEq for PeerIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
            && self.is_encrypted() == other.is_encrypted()
            && self.certificate() == other.certificate()
    }
}

impl Eq for PeerIdentity {}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerIdentity")
            .field("address", &self.address)
            .field("is_encrypted", &self.is_encrypted())
            .field("spiffe", &self.spiffe().map(SpiffeId::as_str))
            .finish_non_exhaustive()
    }
}

/// An accepted connection of a [`MeshListener`](crate::MeshListener).
///
/// [`Mesh::shutdown`](crate::Mesh::shutdown) waits until it is dropped. When the time for that is up, its reads and
/// writes fail with [`io::ErrorKind::ConnectionAborted`]. They fail with [`io::ErrorKind::PermissionDenied`] when the
/// rules have policies for its requests, and no [`Mesh::inbound`](crate::Mesh::inbound) asks them: a server of others
/// has to be given that layer.
pub struct MeshStream {
    io: Io,
    peer: PeerIdentity,
    /// Until the layer was seen.
    unguarded: Option<Unguarded>,
    // Apart, because a split stream is read and written by two tasks; none where somebody attends to it.
    reader: Option<Alarm>,
    writer: Option<Alarm>,
    member: Member,
}

/// What carries the bytes.
pub(super) enum Io {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Io {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl Io {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }
}

impl MeshStream {
    /// A write before the layer was seen, if it can be no answer to a request.
    fn poll_write_watched(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(unguarded) = &mut self.unguarded else {
            return self.io.poll_write(cx, bytes);
        };
        if unguarded.answers(bytes) {
            return Poll::Ready(Err(unguarded::refusal(self.peer.address)));
        }
        let written = std::task::ready!(self.io.poll_write(cx, bytes))?;
        unguarded.wrote(&bytes[..written.min(bytes.len())]);
        Poll::Ready(Ok(written))
    }

    pub(super) fn new(
        io: Io,
        address: SocketAddr,
        connection: Arc<Connection>,
        member: Member,
    ) -> Self {
        // A response head and a short body are one write; a dead socket says so on its first use.
        drop(io.tcp().set_nodelay(true));
        let alarm = || Some(Alarm::new(member.watcher.clone(), &connection));
        Self {
            io,
            reader: alarm(),
            writer: alarm(),
            unguarded: connection.is_ruled().then(Unguarded::default),
            peer: PeerIdentity {
                address,
                connection,
            },
            member,
        }
    }

    /// Who is on the other end.
    pub const fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// Says that whoever serves it sees to it that it ends in time.
    pub(super) fn attended(&mut self) {
        (self.reader, self.writer) = (None, None);
    }

    /// A server flushes when it has written all that it has.
    fn sends(&self, sends: bool) {
        self.peer.connection.sends.store(sends, Ordering::Relaxed);
    }

    pub(super) fn watcher(&self) -> Watcher {
        self.member.watcher.clone()
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.peer.connection)
    }

    /// Whether it may be read: nothing of a request may reach an application that nobody guards.
    fn may_read(&self) -> io::Result<()> {
        let connection = &self.peer.connection;
        match &self.unguarded {
            Some(_)
                if !connection.is_guarded()
                    && !connection.could_be_guarded()
                    && connection.needs_guard() =>
            {
                Err(unguarded::refusal(self.peer.address))
            }
            _ => Ok(()),
        }
    }

    /// Whether its writes have to be watched.
    fn is_watched(&mut self) -> bool {
        let Some(unguarded) = &mut self.unguarded else {
            return false;
        };
        let connection = &self.peer.connection;
        if connection.is_guarded() {
            self.unguarded = None;
            return false;
        }
        let needs = connection.needs_guard();
        if !needs {
            unguarded.lose();
        }
        needs
    }
}

impl fmt::Debug for MeshStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshStream")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

type Over = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Wakes the task of a connection when the time that it had to end is up, and fails what it does from then on.
struct Alarm {
    watcher: Watcher,
    connection: Arc<Connection>,
    /// From the first look on: where somebody attends, there is none.
    set: Option<(Seldom, Over)>,
    has_rung: bool,
}

impl Alarm {
    fn new(watcher: Watcher, connection: &Arc<Connection>) -> Self {
        Self {
            watcher,
            connection: Arc::clone(connection),
            set: None,
            has_rung: false,
        }
    }

    fn rings(&mut self, cx: &Context<'_>) -> io::Result<()> {
        let (seldom, over) = self.set.get_or_insert_with(|| {
            let (mut watcher, connection) = (self.watcher.clone(), Arc::clone(&self.connection));
            let over = async move {
                tokio::select! {
                    () = watcher.over() => {}
                    () = connection.over(), if connection.is_ruled() => {}
                }
            };
            (Seldom::default(), Box::pin(over) as Over)
        });
        if let Some(mut cx) = seldom.woken(cx)
            && !self.has_rung
        {
            self.has_rung = over.as_mut().poll(&mut cx).is_ready();
        }
        match self.has_rung {
            true => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "closed by the mesh: the time for draining is up",
            )),
            false => Ok(()),
        }
    }
}

fn check(alarm: &mut Option<Alarm>, cx: &Context<'_>) -> io::Result<()> {
    alarm.as_mut().map_or(Ok(()), |alarm| alarm.rings(cx))
}

impl AsyncRead for MeshStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        check(&mut this.reader, cx)?;
        this.may_read()?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            Io::Tls(io) => Pin::new(io).poll_read(cx, buffer),
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
        check(&mut this.writer, cx)?;
        this.sends(true);
        if this.is_watched() {
            return this.poll_write_watched(cx, bytes);
        }
        this.io.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        check(&mut this.writer, cx)?;
        this.sends(true);
        if this.is_watched() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return this.poll_write_watched(cx, first.map_or(&[], |slice| slice));
        }
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, slices),
            #[cfg(feature = "tls")]
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            #[cfg(feature = "tls")]
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper does not read while a pipelined request waits in its buffer, but it always flushes.
        check(&mut this.writer, cx)?;
        let flushed = match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            #[cfg(feature = "tls")]
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        };
        this.sends(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
