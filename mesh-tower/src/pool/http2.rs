//! HTTP/2 with prior knowledge: connections are chosen by counting open streams against the peer's
//! limit, because h2 reports no saturation and requests beyond the limit would hang unseen.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Version};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connect::{self, ConnectError, Peer};
use super::lease::{Connection, Counted};
use super::{Failed, Sending, connect_failed, response};
use crate::body::Body;
use crate::error::Place;

/// Finds half-open connections, also when they are idle.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many streams a connection may carry before the peer has told its limit.
const FIRST_STREAMS: usize = 10;
/// How many connections one endpoint gets at most.
const MOST_CONNECTIONS: usize = 100;

#[derive(Debug)]
pub(super) struct Pool {
    peer: Peer,
    open: Mutex<Vec<Shared>>,
    /// One connection is opened at a time; whoever waited looks again before opening another.
    connecting: tokio::sync::Mutex<()>,
}

/// A connection that several requests use.
#[derive(Debug, Clone)]
struct Shared {
    sender: SendRequest<Body>,
    streams: Arc<AtomicUsize>,
    /// The peer's limit, as the connection's task last saw it.
    limit: Arc<AtomicUsize>,
}

/// One open stream; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Stream(Arc<AtomicUsize>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Pool {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            open: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
        counted: Counted,
        place: Place,
    ) -> Sending {
        *request.version_mut() = Version::HTTP_2;
        // What names the host is :authority; a second name for it would only invite disagreement.
        request.headers_mut().remove(http::header::HOST);
        if let Some((mut sender, stream)) = self.reserve() {
            let sending = sender.try_send_request(request);
            return Box::pin(response(sending, Connection::Http2(stream), counted, place));
        }
        let pool = Arc::clone(self);
        Box::pin(async move {
            // Waiting for another's attempt counts: nobody waits for a queue of failing ones.
            let Peer {
                address,
                connect_timeout,
            } = pool.peer;
            let opening = tokio::time::timeout(connect_timeout, pool.stream());
            let opened = opening
                .await
                .unwrap_or(Err(ConnectError::Timeout(address, connect_timeout)));
            let (mut sender, stream) = match opened {
                Ok(stream) => stream,
                Err(error) => {
                    return Err(Failed {
                        error: connect_failed(error, place),
                        unsent: Some(request),
                    });
                }
            };
            let sending = sender.try_send_request(request);
            response(sending, Connection::Http2(stream), counted, place).await
        })
    }

    async fn stream(&self) -> Result<(SendRequest<Body>, Stream), ConnectError> {
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(found) = self.reserve() {
            return Ok(found);
        }
        let shared = connect(self.peer).await?;
        let found = shared.reserve();
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(shared);
        Ok(found)
    }

    /// A stream on an open connection that has room. With as many connections as there may be, one
    /// on the connection with the fewest: a peer that allows no streams must not get ever more connections.
    fn reserve(&self) -> Option<(SendRequest<Body>, Stream)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|shared| !shared.sender.is_closed());
        let streams = |shared: &Shared| shared.streams.load(Relaxed);
        let roomy = |shared: &&Shared| streams(shared) < shared.limit.load(Relaxed);
        let fewest = || {
            open.iter()
                .min_by_key(|shared| streams(shared))
                .filter(|_| open.len() >= MOST_CONNECTIONS)
        };
        open.iter().find(roomy).or_else(fewest).map(Shared::reserve)
    }
}

impl Shared {
    fn reserve(&self) -> (SendRequest<Body>, Stream) {
        self.streams.fetch_add(1, Relaxed);
        (self.sender.clone(), Stream(Arc::clone(&self.streams)))
    }
}

async fn connect(peer: Peer) -> Result<Shared, ConnectError> {
    let address = peer.address;
    let stream = connect::tcp(peer).await?;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_max_send_streams(FIRST_STREAMS)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(stream)
        .await
        .map_err(|error| ConnectError::Http(address, error))?;
    let limit = Arc::new(AtomicUsize::new(FIRST_STREAMS));
    let seen = Arc::clone(&limit);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let running = poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            seen.store(connection.current_max_send_streams(), Relaxed);
            polled
        });
        if let Err(error) = running.await {
            tracing::debug!(%address, %error, "HTTP/2 connection ended");
        }
    });
    Ok(Shared {
        sender,
        streams: Arc::default(),
        limit,
    })
}
