//! HTTP/1.1: a stack of idle connections. The last one used is taken first, so that few stay warm.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Request, Response, Uri, Version, header};
use hyper::client::conn::http1::{SendRequest, handshake};
use tokio::time::Instant;

use super::connect::{self, ConnectError};
use super::lease::{Connection, Counted, Lease};
use super::{EndpointPool, Failed, connect_failed, failed};
use crate::body::Body;
use crate::error::{Error, Kind, Place};

/// An idle connection older than this is closed: most servers close theirs after one to two minutes,
/// and a request that races with that close has to be repeated.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

pub(super) type Sender = SendRequest<Body>;

#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    pub(super) async fn send(
        &self,
        endpoint: &Arc<EndpointPool>,
        mut request: Request<Body>,
        counted: Counted,
        place: &Place,
    ) -> Result<Response<Body>, Failed> {
        if let Err(error) = to_origin_form(&mut request, place) {
            return Err(Failed {
                error,
                unsent: None,
            });
        }
        let mut sender = match self.take() {
            Some(sender) => sender,
            None => match connect(endpoint).await {
                Ok(sender) => sender,
                Err(error) => {
                    return Err(Failed {
                        error: connect_failed(error, place),
                        unsent: Some(request),
                    });
                }
            },
        };
        match sender.try_send_request(request).await {
            Ok(response) => {
                let counted = counted.answered(response.status());
                let connection = Connection::Http1(sender, Arc::clone(endpoint));
                Ok(response.map(|body| Body::leased(body, Lease::new(connection, counted, place))))
            }
            Err(error) => Err(failed(error, place)),
        }
    }

    /// The warmest idle connection that is still open.
    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { sender, .. }) = idle.pop_back() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Gives a connection back that can take the next request, and closes the coldest if it is too old.
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

impl EndpointPool {
    /// Takes a connection back whose response has been read.
    pub(super) fn give_back(self: Arc<Self>, mut sender: Sender) {
        let super::Connections::Http1(pool) = &self.connections else {
            return;
        };
        if sender.is_ready() {
            pool.put(sender);
        } else if !sender.is_closed() {
            // The connection's task has not seen the end yet; it is about to.
            tokio::spawn(async move {
                if sender.ready().await.is_ok()
                    && let super::Connections::Http1(pool) = &self.connections
                {
                    pool.put(sender);
                }
            });
        }
    }
}

async fn connect(endpoint: &EndpointPool) -> Result<Sender, ConnectError> {
    let stream = connect::tcp(endpoint.address, endpoint.connect_timeout).await?;
    let (sender, connection) = handshake(stream)
        .await
        .map_err(|error| ConnectError::Http(endpoint.address, error))?;
    let address = endpoint.address;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "HTTP/1.1 connection ended");
        }
    });
    Ok(sender)
}

/// A request to a server names its host in `Host` and its path alone in the request line (RFC 9112, 3.2.1).
fn to_origin_form(request: &mut Request<Body>, place: &Place) -> Result<(), Error> {
    *request.version_mut() = Version::HTTP_11;
    if let Some(authority) = request.uri().authority()
        && !request.headers().contains_key(header::HOST)
    {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| {
            Error::new(
                Kind::InvalidRequest,
                place.clone(),
                format!("the authority is no Host header: {error}"),
            )
        })?;
        request.headers_mut().insert(header::HOST, host);
    }
    if request.method() != http::Method::CONNECT {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    Ok(())
}
