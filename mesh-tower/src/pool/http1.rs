//! HTTP/1.1: a stack of idle connections. The last one used is taken first, so that few stay warm.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Request, Uri, Version, header};
use hyper::client::conn::http1::{SendRequest, handshake};
use tokio::time::Instant;

use super::connect::{self, ConnectError, Peer};
use super::lease::{Connection, Counted};
use super::{Failed, Sending, connect_failed, refused, response};
use crate::body::Body;
use crate::error::{Error, Kind, Place};

/// An idle connection older than this is not used again: servers close theirs, ours after 30 s, and a
/// request that races with that close has to be repeated.
const IDLE_TIMEOUT: Duration = Duration::from_secs(25);

pub(super) type Sender = SendRequest<Body>;

#[derive(Debug)]
pub(super) struct Pool {
    peer: Peer,
    idle: Mutex<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            idle: Mutex::default(),
        }
    }

    pub(super) fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
        counted: Counted,
        place: Place,
    ) -> Sending {
        if let Err(reason) = to_origin_form(&mut request) {
            return refused(Error::new(Kind::InvalidRequest, place, reason));
        }
        if let Some(mut sender) = self.take() {
            let sending = sender.try_send_request(request);
            return Box::pin(response(
                sending,
                Connection::Http1(sender, Arc::downgrade(self)),
                counted,
                place,
            ));
        }
        let pool = Arc::downgrade(self);
        let peer = self.peer;
        Box::pin(async move {
            let mut sender = match connect(peer).await {
                Ok(sender) => sender,
                Err(error) => {
                    return Err(Failed {
                        error: connect_failed(error, place),
                        unsent: Some(request),
                    });
                }
            };
            let sending = sender.try_send_request(request);
            response(sending, Connection::Http1(sender, pool), counted, place).await
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
        } else if !sender.is_closed() {
            // The connection's task has not seen the end yet; it is about to.
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    self.put(sender);
                }
            });
        }
    }

    /// Keeps a connection that can take the next request, and closes the coldest if it is too old.
    fn put(&self, sender: Sender) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back(Idle { sender, since: now });
        while idle
            .front()
            .is_some_and(|coldest| now - coldest.since > IDLE_TIMEOUT)
        {
            idle.pop_front();
        }
    }
}

async fn connect(peer: Peer) -> Result<Sender, ConnectError> {
    let address = peer.address;
    let stream = connect::tcp(peer).await?;
    let (sender, connection) = handshake(stream)
        .await
        .map_err(|error| ConnectError::Http(address, error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "HTTP/1.1 connection ended");
        }
    });
    Ok(sender)
}

/// A request to a server names its host in `Host` and its path alone in the request line (RFC 9112, 3.2.1).
fn to_origin_form(request: &mut Request<Body>) -> Result<(), String> {
    *request.version_mut() = Version::HTTP_11;
    // The authority that was routed by, whatever the caller's own header says.
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|error| format!("the authority is no Host header: {error}"))?;
        request.headers_mut().insert(header::HOST, host);
    }
    let path = std::mem::take(request.uri_mut())
        .into_parts()
        .path_and_query;
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    Ok(())
}
