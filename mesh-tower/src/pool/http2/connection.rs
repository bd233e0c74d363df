//! One HTTP/2 connection: its task, and how it is found out that nobody is there any more.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::piece::Piece;
use super::place::{Link, Places, Queue, Stream};
use crate::error::BoxError;
use crate::pool::connect::{ConnectError, Open, Peer};
use crate::pool::stream::Stream as Io;
#[cfg(feature = "tls")]
use crate::tls::Kept;

/// How half-open connections to hosts outside of the mesh are found: by what gRPC servers bear that were set up for
/// nothing. They close connections on which pings come more often than every five minutes, or without open streams
/// (gRPC A8). Inside of the mesh it is TCP that asks ([`Peer::open`]).
const PING_INTERVAL: Duration = Duration::from_secs(5 * 60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// No limit that a peer tells: that is a `u32`, and `usize::MAX` of a peer that tells none.
const UNTOLD: usize = usize::MAX - 1;
/// How much of one response, and of all responses of a connection, may be on its way before it is read.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;
/// How much of one upload that comes bit by bit h2 keeps until it is written.
pub(super) const SEND_BUFFER: usize = 1 << 20;
/// How large the head of a response may be: Envoy's `max_request_headers_kb`, 60 by default.
const MOST_HEADERS: u32 = 60 << 10;
/// What h2 lets small frames cost that nobody has read yet, over all streams of a connection. By its own bound one slow
/// reader of small messages would end the calls of all others.
const SMALL_FRAMES: usize = 32 << 20;
/// How many calls that were given up h2 remembers: what still comes for one that it has forgotten counts as the peer's
/// fault, and many such end the connection.
const GIVEN_UP: usize = 4096;

/// A connection that several requests use.
#[derive(Debug)]
pub(super) struct Shared {
    sender: SendRequest<Piece>,
    places: Places,
    /// Of a peer that is proven.
    #[cfg(feature = "tls")]
    kept: Option<Kept>,
}

/// A connection with room, and the place on it.
pub(super) type Reserved = (SendRequest<Piece>, Stream);

impl Shared {
    pub(super) fn link(&self) -> &Link {
        self.places.link()
    }

    /// Whether nothing new may begin on it.
    #[cfg(feature = "tls")]
    pub(super) fn is_withdrawn(&self) -> bool {
        self.kept.as_ref().is_some_and(Kept::is_withdrawn)
    }

    /// An error is that of the connection: no new stream can be opened on it.
    pub(super) fn reserve(&mut self) -> Result<Reserved, h2::Error> {
        // A new handle waits for no stream of its own, so it is never pending.
        let mut sender = self.sender.clone();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(Err(error)) = sender.poll_ready(&mut cx) {
            return Err(error);
        }
        Ok((sender, self.places.take()))
    }
}

/// Begins HTTP on an open connection, and learns how many streams the peer takes: a request that is sent before may
/// wait in h2, where no other connection is tried for it.
pub(super) async fn introduced(
    open: Open,
    peer: &Peer,
    queue: &Arc<Queue>,
) -> Result<Shared, ConnectError> {
    let Open {
        io,
        address,
        #[cfg(feature = "tls")]
        kept,
    } = open;
    let failed = |error: BoxError| ConnectError::Http(address, error);
    let (sender, mut connection) = Builder::new()
        .initial_max_send_streams(UNTOLD)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MOST_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        .max_concurrent_reset_streams(GIVEN_UP)
        .enable_push(false)
        .handshake::<_, Piece>(io.into_inner())
        .await
        .map_err(|error| failed(error.into()))?;
    let limit = poll_fn(|cx| told_limit(&mut connection, cx))
        .await
        .map_err(failed)?;
    let link = Arc::new(Link::new(address, limit, Arc::clone(queue)));
    let pings = match peer.is_ours() {
        true => None,
        false => connection.ping_pong().map(Pings::new),
    };
    tokio::spawn(driven(connection, pings, Arc::clone(&link)));
    let places = Places::new(link);
    Ok(Shared {
        sender,
        places,
        #[cfg(feature = "tls")]
        kept,
    })
}

type Running = h2::client::Connection<Io, Piece>;

/// What the peer's first settings say: they come first of all (RFC 9113, 3.4).
fn told_limit(connection: &mut Running, cx: &mut Context<'_>) -> Poll<Result<usize, BoxError>> {
    let polled = Pin::new(&mut *connection).poll(cx);
    match (connection.max_concurrent_send_streams(), polled) {
        (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
        (UNTOLD, Poll::Ready(Ok(()))) => {
            Poll::Ready(Err("the connection ended before the peer's settings".into()))
        }
        (UNTOLD, Poll::Pending) => Poll::Pending,
        (limit, _) => Poll::Ready(Ok(limit)),
    }
}

/// The connection's task.
async fn driven(connection: Running, mut pings: Option<Pings>, link: Arc<Link>) {
    let address = link.address();
    let ended = {
        let mut connection = pin!(connection);
        let running = poll_fn(|cx| {
            if let Some(pings) = &mut pings
                && pings.poll_unanswered(&link, cx).is_ready()
            {
                tracing::debug!(%address, "a ping on an HTTP/2 connection was not answered");
                return Poll::Ready(Ok(()));
            }
            let polled = connection.as_mut().poll(cx);
            link.allow(connection.max_concurrent_send_streams());
            polled
        });
        running.await
    };
    link.ended();
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "HTTP/2 connection ended");
    }
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
    fn poll_unanswered(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<()> {
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
            self.asked = link.streams() > 0 && self.pings.send_ping(Ping::opaque()).is_ok();
            self.again_after(match self.asked {
                true => PING_TIMEOUT,
                false => PING_INTERVAL,
            });
        }
    }
}
