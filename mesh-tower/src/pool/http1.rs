//! HTTP/1.1: a stack of idle connections. The last one used is taken first, so that few stay warm.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Request, Uri, Version, header};
use hyper::client::conn::http1::{SendRequest, handshake};
use mesh_core::cluster::Protocol;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connect::{ConnectError, Open, Peer};
use super::handshakes::Handshakes;
use super::lease::{Connection, Counted};
use super::{Failed, Sending, connect_failed, refused, response};
use crate::body::Body;
use crate::error::{Error, Kind, Place};
#[cfg(feature = "tls")]
use crate::tls::{Kept, PeerRefused};

/// An idle connection older than this is not used again: servers close theirs, ours after 30 s, and a
/// request that races with that close has to be repeated.
const IDLE_TIMEOUT: Duration = Duration::from_secs(25);

/// How many idle connections one host outside of the mesh keeps. Those hosts are as many as callers name, and what
/// many calls at once have opened must not stay open for the one call that follows.
const MOST_IDLE_OUTSIDE: usize = 32;

/// A connection that takes one request at a time.
#[derive(Debug)]
pub(super) struct Sender {
    http: SendRequest<Body>,
    /// Where it leads.
    address: SocketAddr,
    /// Of a peer that is proven.
    #[cfg(feature = "tls")]
    kept: Option<Kept>,
}

impl Sender {
    /// Whether another request may be sent on it.
    fn is_ready(&self) -> bool {
        !self.is_withdrawn() && self.http.is_ready()
    }

    /// Whether its peer is one of whom nothing is proven any more.
    fn is_withdrawn(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.kept.as_ref().is_some_and(Kept::is_withdrawn);
        #[cfg(not(feature = "tls"))]
        false
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    peer: Peer,
    idle: Mutex<VecDeque<Idle>>,
    /// Of a peer that is reached by TLS.
    handshakes: Handshakes<Sender>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            idle: Mutex::default(),
            handshakes: Handshakes::default(),
        }
    }

    pub(crate) const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Takes an open connection over.
    pub(crate) async fn adopt(&self, open: Open) -> Result<(), ConnectError> {
        self.put(ready(open).await?);
        Ok(())
    }

    pub(crate) fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
        counted: Counted,
        mut place: Place,
    ) -> Sending {
        if let Err(reason) = to_origin_form(&mut request) {
            return refused(Error::new(Kind::InvalidRequest, place, reason));
        }
        if let Some(mut sender) = self.take() {
            place.endpoint = Some(sender.address);
            let sending = sender.http.try_send_request(request);
            return Box::pin(response(
                sending,
                Connection::Http1(sender, Arc::downgrade(self)),
                counted,
                place,
            ));
        }
        let (pool, waiting) = (Arc::downgrade(self), self.connecting());
        Box::pin(async move {
            let mut sender = match waiting.await {
                Ok(sender) => sender,
                Err(error) => {
                    return Err(Failed {
                        error: connect_failed(error, place),
                        unsent: Some(request),
                    });
                }
            };
            place.endpoint = Some(sender.address);
            let sending = sender.http.try_send_request(request);
            response(sending, Connection::Http1(sender, pool), counted, place).await
        })
    }

    /// A connection for one request, which a peer of TLS may have in common with others.
    fn connecting(self: &Arc<Self>) -> Pin<Box<dyn Future<Output = Connecting> + Send>> {
        if !self.peer.is_secured() {
            return Box::pin(connect(self.peer.clone()));
        }
        let pool = Arc::clone(self);
        Box::pin(async move {
            let (turn, begins) = pool.handshakes.queue();
            if begins {
                tokio::spawn(Shaking(Some(Arc::clone(&pool))).run());
            }
            turn.await
                .unwrap_or(Err(ConnectError::NoRoom(pool.peer.clone())))
        })
    }

    /// The warmest idle connection that is still open. If that one is too old, so are all.
    fn take(&self) -> Option<Sender> {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle
            .back()
            .is_some_and(|warmest| now - warmest.since > IDLE_TIMEOUT)
        {
            idle.clear();
        }
        while let Some(Idle { sender, .. }) = idle.pop_back() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Takes a connection back whose response has been read.
    pub(super) fn give_back(self: Arc<Self>, mut sender: Sender) {
        if sender.is_ready() {
            self.put(sender);
        } else if !sender.http.is_closed() {
            // The connection's task has not seen the end yet; it is about to.
            tokio::spawn(async move {
                if sender.http.ready().await.is_ok() {
                    self.put(sender);
                }
            });
        }
    }

    /// Keeps a connection that can take the next request, and closes the coldest: the old ones, and what is more
    /// than there may be.
    fn put(&self, sender: Sender) {
        if sender.is_withdrawn() {
            return;
        }
        let Some(sender) = self.handshakes.give(sender) else {
            return;
        };
        let since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back(Idle { sender, since });
        if !self.peer.is_ours() && idle.len() > MOST_IDLE_OUTSIDE {
            idle.pop_front();
        }
        close_old(&mut idle, since);
    }

    /// Closes what has been idle for too long, for pools that are not called any more.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        close_old(&mut idle, Instant::now());
    }
}

/// Opens connections as long as requests wait for them. What a handshake has cost is not lost when the request that it was
/// begun for has found another connection, or is gone. The pool is taken out at the end.
struct Shaking(Option<Arc<Pool>>);

impl Shaking {
    async fn run(mut self) {
        while let Some(pool) = &self.0 {
            let opened = async { ready(pool.peer.open(Protocol::Http1).await?).await };
            let goes_on = match opened.await {
                Ok(sender) => {
                    pool.put(sender);
                    pool.handshakes.ended(None)
                }
                Err(error) => pool.handshakes.ended(Some(error)),
            };
            if !goes_on {
                self.0 = None;
            }
        }
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.handshakes.abandoned();
        }
    }
}

fn close_old(idle: &mut VecDeque<Idle>, now: Instant) {
    while idle
        .front()
        .is_some_and(|coldest| now - coldest.since > IDLE_TIMEOUT)
    {
        idle.pop_front();
    }
}

type Connecting = Result<Sender, ConnectError>;

async fn connect(peer: Peer) -> Result<Sender, ConnectError> {
    let (sender, _) = introduced(peer.open(Protocol::Http1).await?).await?;
    Ok(sender)
}

/// A connection that can take a request: only that counts as idle.
async fn ready(open: Open) -> Connecting {
    let (mut sender, running) = introduced(open).await?;
    let Err(error) = sender.http.ready().await else {
        return Ok(sender);
    };
    // That it is closed is all that the sender knows.
    let why = running.await.ok().and_then(Result::err);
    let error = why.unwrap_or(error);
    #[cfg(feature = "tls")]
    if let Some(refused) = PeerRefused::below(&error) {
        let refused = refused.to_string().into();
        return Err(ConnectError::RefusedByPeer(sender.address, refused));
    }
    Err(ConnectError::Http(sender.address, error.into()))
}

/// How HTTP on a connection ends.
type Running = JoinHandle<hyper::Result<()>>;

/// Begins HTTP on an open connection.
async fn introduced(open: Open) -> Result<(Sender, Running), ConnectError> {
    let Open {
        io,
        address,
        #[cfg(feature = "tls")]
        kept,
    } = open;
    let (http, connection) = handshake(io)
        .await
        .map_err(|error| ConnectError::Http(address, error.into()))?;
    let running = tokio::spawn(async move {
        // A gateway's client may change the protocol.
        let ended = connection.with_upgrades().await;
        if let Err(error) = &ended {
            tracing::debug!(%address, %error, "HTTP/1.1 connection ended");
        }
        ended
    });
    let sender = Sender {
        http,
        address,
        #[cfg(feature = "tls")]
        kept,
    };
    Ok((sender, running))
}

/// Puts the authority that was routed by into `Host`, whatever the caller's own header says.
pub(crate) fn name_host<B>(request: &mut Request<B>) -> Result<(), String> {
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|error| format!("the authority is no Host header: {error}"))?;
        let inserted = request.headers_mut().try_insert(header::HOST, host);
        inserted.map_err(|error| format!("there is no room for the Host header: {error}"))?;
    }
    Ok(())
}

/// A request to a server names its host in `Host` and its path alone in the request line (RFC 9112, 3.2.1).
fn to_origin_form(request: &mut Request<Body>) -> Result<(), String> {
    *request.version_mut() = Version::HTTP_11;
    name_host(request)?;
    let path = std::mem::take(request.uri_mut())
        .into_parts()
        .path_and_query;
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    Ok(())
}
