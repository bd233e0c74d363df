//! HTTP/2 with prior knowledge: connections are chosen by counting open streams against the peer's
//! limit, because h2 reports no saturation and requests beyond the limit would hang unseen.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Version};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use mesh_core::route::is_grpc;

use super::connect::{ConnectError, Open, Peer};
use super::lease::{Connection, Counted};
use super::tether::Tether;
use super::{Failed, Sending, connect_failed, response};
use crate::body::Body;
use crate::error::Place;

/// How half-open connections to hosts outside of the mesh are found: by what gRPC servers bear that were set up for
/// nothing. They close connections on which pings come more often than every five minutes, or without open streams
/// (gRPC A8). Inside of the mesh it is TCP that asks ([`Peer::open`]): pings of HTTP/2 cost a lock and a look at the
/// clock for each frame that is read.
const PING_INTERVAL: Duration = Duration::from_secs(5 * 60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How many streams a connection may carry before the peer has told its limit.
const FIRST_STREAMS: usize = 10;
/// How many connections one endpoint gets at most.
const MOST_CONNECTIONS: usize = 100;

#[derive(Debug)]
pub(crate) struct Pool {
    peer: Peer,
    open: Mutex<Vec<Shared>>,
    /// One connection is opened at a time; whoever waited looks again before opening another.
    connecting: tokio::sync::Mutex<()>,
}

/// A connection that several requests use.
#[derive(Debug, Clone)]
struct Shared {
    sender: SendRequest<Body>,
    /// Where it leads.
    address: SocketAddr,
    streams: Arc<AtomicUsize>,
    /// The peer's limit, as the connection's task last saw it.
    limit: Arc<AtomicUsize>,
}

/// A connection with room, where it leads, and the place on it.
type Reserved = (SendRequest<Body>, SocketAddr, Stream);

/// One open stream; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Stream(Arc<AtomicUsize>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Pool {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            open: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// Takes an open connection over.
    pub(crate) async fn adopt(&self, open: Open) -> Result<(), ConnectError> {
        let shared = introduced(open, &self.peer).await?;
        self.keep(shared);
        Ok(())
    }

    fn keep(&self, shared: Shared) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(shared);
    }

    pub(crate) fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
        counted: Counted,
        mut place: Place,
    ) -> Sending {
        *request.version_mut() = Version::HTTP_2;
        // What names the host is :authority; a second name for it would only invite disagreement.
        request.headers_mut().remove(http::header::HOST);
        if let Some((mut sender, address, stream)) = self.reserve() {
            place.endpoint = Some(address);
            let connection = Connection::Http2(stream, tether(&mut request));
            let sending = sender.try_send_request(request);
            return Box::pin(response(sending, connection, counted, place));
        }
        let pool = Arc::clone(self);
        Box::pin(async move {
            // Waiting for another's attempt counts: nobody waits for a queue of failing ones.
            let limit = pool.peer.connect_timeout();
            let opened = match tokio::time::timeout(limit, pool.stream()).await {
                Ok(opened) => opened,
                Err(_) => Err(ConnectError::Timeout(pool.peer.clone(), limit)),
            };
            let (mut sender, address, stream) = match opened {
                Ok(stream) => stream,
                Err(error) => {
                    return Err(Failed {
                        error: connect_failed(error, place),
                        unsent: Some(request),
                    });
                }
            };
            place.endpoint = Some(address);
            let connection = Connection::Http2(stream, tether(&mut request));
            let sending = sender.try_send_request(request);
            response(sending, connection, counted, place).await
        })
    }

    async fn stream(&self) -> Result<Reserved, ConnectError> {
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(found) = self.reserve() {
            return Ok(found);
        }
        let shared = introduced(self.peer.open().await?, &self.peer).await?;
        let found = shared.reserve();
        self.keep(shared);
        Ok(found)
    }

    /// A stream on an open connection that has room. With as many connections as there may be, one
    /// on the connection with the fewest: a peer that allows no streams must not get ever more connections.
    fn reserve(&self) -> Option<Reserved> {
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
    fn reserve(&self) -> Reserved {
        self.streams.fetch_add(1, Relaxed);
        let stream = Stream(Arc::clone(&self.streams));
        (self.sender.clone(), self.address, stream)
    }
}

/// Ties the upload of gRPC to the call: there, the end of the response is the end of all. In HTTP, an
/// upload may go on after its response.
fn tether(request: &mut Request<Body>) -> Option<Tether> {
    if !request.body().is_stream() || !is_grpc(request.headers()) {
        return None;
    }
    let (tether, tied) = Tether::new();
    request.body_mut().tie(tied);
    Some(tether)
}

/// Begins HTTP on an open connection.
async fn introduced(open: Open, peer: &Peer) -> Result<Shared, ConnectError> {
    let Open { io, address } = open;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_max_send_streams(FIRST_STREAMS);
    if !peer.is_ours() {
        builder
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
    }
    let (sender, connection) = builder
        .handshake(io)
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
        address,
        streams: Arc::default(),
        limit,
    })
}
