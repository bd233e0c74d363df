//! HTTP/2 with prior knowledge: connections are chosen by counting open streams against the peer's
//! limit, because h2 reports no saturation and requests beyond the limit would hang unseen.
//!
//! It stands on h2 itself, not on hyper's client: hyper starts a task for each request and hands request and response
//! over by channels, which costs as much as all that the mesh does.

mod connection;
mod head;
mod received;
mod upload;

use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use http_body::Body as _;
use mesh_core::route::is_grpc;

use self::connection::{Reserved, Shared, introduced};
use self::upload::Upload;
use super::connect::{ConnectError, Open, Peer};
use super::lease::{Connection, Counted, Lease};
use super::tether::Tether;
use super::{Failed, Sending, broken, connect_failed, refused};
use crate::body::Body;
use crate::client::Answered;
use crate::error::{Error, Kind, Place, Sent};
pub(crate) use connection::Stream;
pub(crate) use received::Received;

/// How many connections one endpoint gets at most.
const MOST_CONNECTIONS: usize = 100;

#[derive(Debug)]
pub(crate) struct Pool {
    peer: Peer,
    open: Mutex<Vec<Shared>>,
    /// One connection is opened at a time; whoever waited looks again before opening another.
    connecting: tokio::sync::Mutex<()>,
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
        request: Request<Body>,
        counted: Counted,
        place: Place,
    ) -> Sending {
        if let Some(reserved) = self.reserve() {
            return match Exchange::begin(request, reserved, counted, place) {
                Ok(exchange) => Box::pin(exchange.response()),
                Err(error) => refused(error),
            };
        }
        let pool = Arc::clone(self);
        Box::pin(async move {
            // Waiting for another's attempt counts: nobody waits for a queue of failing ones.
            let limit = pool.peer.connect_timeout();
            let opened = match tokio::time::timeout(limit, pool.stream()).await {
                Ok(opened) => opened,
                Err(_) => Err(ConnectError::Timeout(pool.peer.clone(), limit)),
            };
            match opened {
                Ok(reserved) => {
                    let exchange = Exchange::begin(request, reserved, counted, place)?;
                    exchange.response().await
                }
                Err(error) => Err(Failed {
                    error: connect_failed(error, place),
                    unsent: Some(request),
                }),
            }
        })
    }

    async fn stream(&self) -> Result<Reserved, ConnectError> {
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(found) = self.reserve() {
            return Ok(found);
        }
        let shared = introduced(self.peer.open().await?, &self.peer).await?;
        let found = shared.reserve();
        let found = found.map_err(|error| ConnectError::Http(shared.address(), error.into()))?;
        self.keep(shared);
        Ok(found)
    }

    /// A stream on an open connection that has room. With as many connections as there may be, one
    /// on the connection with the fewest: a peer that allows no streams must not get ever more connections.
    fn reserve(&self) -> Option<Reserved> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let roomy = open.iter().position(Shared::has_room);
            let fewest = || {
                let all = open.iter().enumerate();
                all.min_by_key(|(_, shared)| shared.streams())
                    .filter(|_| open.len() >= MOST_CONNECTIONS)
                    .map(|(at, _)| at)
            };
            let at = roomy.or_else(fewest)?;
            match open.get(at)?.reserve() {
                Ok(reserved) => return Some(reserved),
                // What has ended goes when it is met; there are few of them.
                Err(_) => drop(open.remove(at)),
            }
        }
    }
}

/// A request that is on its way.
struct Exchange {
    response: h2::client::ResponseFuture,
    stream: Stream,
    tether: Option<Tether>,
    /// Whether the end of the response is the end of the upload: in gRPC it is, in HTTP an upload may go on.
    ends_upload: bool,
    counted: Counted,
    place: Place,
}

impl Exchange {
    fn begin(
        mut request: Request<Body>,
        (mut sender, stream): Reserved,
        counted: Counted,
        mut place: Place,
    ) -> Result<Self, Error> {
        place.endpoint = Some(stream.address());
        head::adapt(&mut request);
        let (head, mut body) = request.into_parts();
        let ends_upload = is_grpc(&head.headers);
        let request = Request::from_parts(head, ());
        let (response, upstream) = match sender.send_request(request, body.is_end_stream()) {
            Ok(begun) => begun,
            Err(cause) => return Err(unsendable(cause, place)),
        };
        counted.handed_over();
        let mut tether = None;
        if let Some(bytes) = body.take_bytes() {
            upload::whole(bytes, upstream);
        } else if !body.is_end_stream() {
            let (held, tied) = Tether::new();
            body.tie(tied);
            stream.spawn(Upload::new(body, upstream));
            tether = Some(held);
        }
        Ok(Self {
            response,
            stream,
            tether,
            ends_upload,
            counted,
            place,
        })
    }

    async fn response(self) -> Result<Answered, Failed> {
        let response = match self.response.await {
            Ok(response) => response,
            Err(error) => return Err(broken(error, self.place)),
        };
        let mut tether = self.tether;
        if let Some(tether) = tether.take_if(|_| !self.ends_upload) {
            tether.let_go();
        }
        let endpoint = self.place.endpoint;
        let counted = self.counted.answered(response.status());
        let connection = Connection::Http2(self.stream, tether);
        let lease = Lease::new(connection, counted, self.place);
        let (head, stream) = response.into_parts();
        let body = Received::new(stream, &head.headers);
        Ok(Answered {
            response: http::Response::from_parts(head, Body::received(body, lease)),
            endpoint,
            attempts: 1,
        })
    }
}

/// The error of a request that h2 does not take: one that HTTP/2 cannot say, or the connection has ended since it was
/// chosen.
fn unsendable(cause: h2::Error, place: Place) -> Error {
    let reason = format!("the request could not be sent: {cause}");
    Error::new(Kind::Reset, place, reason).caused(Sent::NotSent, cause)
}
