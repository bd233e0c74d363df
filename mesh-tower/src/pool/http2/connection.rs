//! One HTTP/2 connection: its task, and how it is found out that nobody is there any more.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep};

use crate::pool::connect::{ConnectError, Open, Peer};

/// How half-open connections to hosts outside of the mesh are found: by what gRPC servers bear that were set up for
/// nothing. They close connections on which pings come more often than every five minutes, or without open streams
/// (gRPC A8). Inside of the mesh it is TCP that asks ([`Peer::open`]).
const PING_INTERVAL: Duration = Duration::from_secs(5 * 60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How many streams a connection may carry before the peer has told its limit.
const FIRST_STREAMS: usize = 10;
/// How much of one response, and of all responses of a connection, may be on its way before it is read.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;
/// How much of one upload h2 keeps that the peer has no room for.
const SEND_BUFFER: usize = 1 << 20;
/// How large the head of a response may be: Envoy's `max_request_headers_kb`, 60 by default.
const MOST_HEADERS: u32 = 60 << 10;
/// What h2 lets small frames cost that nobody has read yet, over all streams of a connection. By its own bound one slow
/// reader of small messages would end the calls of all others.
const SMALL_FRAMES: usize = 32 << 20;
/// How many calls that were given up h2 remembers: what still comes for one that it has forgotten counts as the peer's
/// fault, and many such end the connection.
const GIVEN_UP: usize = 4096;

/// A connection that several requests use.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    sender: SendRequest<Bytes>,
    link: Arc<Link>,
}

/// What is known of a connection.
#[derive(Debug)]
struct Link {
    /// Where it leads.
    address: SocketAddr,
    streams: AtomicUsize,
    /// The peer's limit, as the connection's task last saw it.
    limit: AtomicUsize,
    /// Where its tasks run: who sends a request may be elsewhere.
    runtime: Handle,
}

/// A connection with room, and the place on it.
pub(super) type Reserved = (SendRequest<Bytes>, Stream);

/// One open stream; counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Stream(Arc<Link>);

impl Stream {
    /// Where it leads.
    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Runs something beside the connection.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.runtime.spawn(task));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

impl Shared {
    pub(super) fn address(&self) -> SocketAddr {
        self.link.address
    }

    pub(super) fn streams(&self) -> usize {
        self.link.streams.load(Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.streams() < self.link.limit.load(Relaxed)
    }

    /// An error is that of the connection: no new stream can be opened on it.
    pub(super) fn reserve(&self) -> Result<Reserved, h2::Error> {
        // A new handle waits for no stream of its own, so it is never pending.
        let mut sender = self.sender.clone();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(Err(error)) = sender.poll_ready(&mut cx) {
            return Err(error);
        }
        self.link.streams.fetch_add(1, Relaxed);
        Ok((sender, Stream(Arc::clone(&self.link))))
    }
}

/// Begins HTTP on an open connection.
pub(super) async fn introduced(open: Open, peer: &Peer) -> Result<Shared, ConnectError> {
    let Open { io, address } = open;
    let (sender, mut connection) = Builder::new()
        .initial_max_send_streams(FIRST_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MOST_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        .max_concurrent_reset_streams(GIVEN_UP)
        .enable_push(false)
        .handshake(io.into_inner())
        .await
        .map_err(|error| ConnectError::Http(address, error.into()))?;
    let runtime = Handle::current();
    let link = Arc::new(Link {
        address,
        streams: AtomicUsize::new(0),
        limit: AtomicUsize::new(FIRST_STREAMS),
        runtime,
    });
    let mut pings = match peer.is_ours() {
        true => None,
        false => connection.ping_pong().map(Pings::new),
    };
    let seen = Arc::clone(&link);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let running = poll_fn(|cx| {
            if let Some(pings) = &mut pings
                && pings.poll_unanswered(&seen.streams, cx).is_ready()
            {
                tracing::debug!(%address, "a ping on an HTTP/2 connection was not answered");
                return Poll::Ready(Ok(()));
            }
            let polled = connection.as_mut().poll(cx);
            let limit = connection.max_concurrent_send_streams();
            seen.limit.store(limit, Relaxed);
            polled
        });
        if let Err(error) = running.await {
            tracing::debug!(%address, %error, "HTTP/2 connection ended");
        }
    });
    Ok(Shared { sender, link })
}

/// Asks whether the peer is there, for as long as streams are open.
struct Pings {
    pings: PingPong,
    timer: Pin<Box<Sleep>>,
    /// Whether an answer is waited for.
    asked: bool,
}

impl Pings {
    fn new(pings: PingPong) -> Self {
        Self {
            pings,
            timer: Box::pin(sleep(PING_INTERVAL)),
            asked: false,
        }
    }

    fn again_after(&mut self, time: Duration) {
        self.timer.as_mut().reset(Instant::now() + time);
    }

    /// Ready when a ping was not answered in time.
    fn poll_unanswered(&mut self, streams: &AtomicUsize, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // An error is one of the connection, which ends by itself.
            if self.asked && self.pings.poll_pong(cx).is_ready() {
                self.asked = false;
                self.again_after(PING_INTERVAL);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.asked {
                return Poll::Ready(());
            }
            self.asked = streams.load(Relaxed) > 0 && self.pings.send_ping(Ping::opaque()).is_ok();
            self.again_after(match self.asked {
                true => PING_TIMEOUT,
                false => PING_INTERVAL,
            });
        }
    }
}
