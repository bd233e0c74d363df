//! HTTP/2 with prior knowledge: connections are chosen by counting open streams against the peer's
//! limit, because h2 reports no saturation and requests beyond the limit would hang unseen. When no connection has room
//! a call opens another, up to [`MOST_CONNECTIONS`], and then waits for a place on any.
//!
//! It stands on h2 itself, not on hyper's client: hyper starts a task for each request and hands request and response
//! over by channels, which costs as much as all that the mesh does.

mod answering;
mod connection;
mod head;
mod piece;
mod place;
mod received;
mod upload;

use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use http_body::Body as _;
use mesh_core::cluster::Protocol;
use mesh_core::request::is_grpc;

use self::answering::Rest;
use self::connection::{Reserved, Shared, introduced};
use self::place::{Queue, Stream};
use self::upload::Upload;
use super::connect::{ConnectError, Open, Peer};
use super::lease::{Connection, Counted, Lease};
use super::tether::Tether;
use super::{Failed, Sending, broken, connect_failed, refused};
use crate::body::Body;
use crate::client::Answered;
use crate::error::{Error, Kind, Place, Sent};
pub(crate) use answering::Answering;
pub(crate) use received::Received;

/// How many connections one endpoint gets at most.
const MOST_CONNECTIONS: usize = 100;

#[derive(Debug)]
pub(crate) struct Pool {
    peer: Peer,
    open: Mutex<Vec<Shared>>,
    /// One connection is opened at a time; whoever waited looks again before opening another.
    connecting: tokio::sync::Mutex<()>,
    queue: Arc<Queue>,
}

impl Pool {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            open: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            queue: Arc::default(),
        }
    }

    pub(crate) const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Takes an open connection over.
    pub(crate) async fn adopt(&self, open: Open) -> Result<(), ConnectError> {
        let shared = introduced(open, &self.peer, &self.queue).await?;
        self.keep(shared);
        Ok(())
    }

    fn keep(&self, shared: Shared) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(shared);
        self.queue.wake();
    }

    pub(crate) fn send(
        self: &Arc<Self>,
        request: Request<Body>,
        counted: Counted,
        place: Place,
    ) -> Sending {
        if let Ok(reserved) = self.reserve() {
            return match Exchange::begin(request, reserved, counted, place) {
                Ok(exchange) => Box::pin(exchange.response()),
                Err(error) => refused(error),
            };
        }
        let pool = Arc::clone(self);
        Box::pin(async move {
            match pool.stream().await {
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

    /// A place on a new connection, or on the first that has room. The call's own limit ends the wait.
    async fn stream(&self) -> Result<Reserved, ConnectError> {
        // Waiting for another's attempt counts: nobody waits for a queue of failing ones.
        let limit = self.peer.connect_timeout();
        match tokio::time::timeout(limit, self.another()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(ConnectError::Timeout(self.peer.clone(), limit)),
        }
        let look = || match self.reserve() {
            Ok(found) => Some(Ok(found)),
            Err(0) => Some(Err(ConnectError::NoRoom(self.peer.clone()))),
            Err(_) => None,
        };
        self.queue.wait(look).await
    }

    /// Opens another connection, if there may be one. `None` if there is no room on any.
    async fn another(&self) -> Result<Option<Reserved>, ConnectError> {
        let _one_at_a_time = self.connecting.lock().await;
        match self.reserve() {
            Ok(found) => return Ok(Some(found)),
            Err(open) if open >= MOST_CONNECTIONS => return Ok(None),
            Err(_) => {}
        }
        let mut shared = introduced(
            self.peer.open(Protocol::Http2).await?,
            &self.peer,
            &self.queue,
        )
        .await?;
        let address = shared.link().address();
        let failed = |error: h2::Error| ConnectError::Http(address, error.into());
        let found = match shared.link().has_room() {
            true => Some(shared.reserve().map_err(failed)?),
            false => None,
        };
        self.keep(shared);
        Ok(found)
    }

    /// A stream on an open connection that has room; otherwise, how many connections have none.
    fn reserve(&self) -> Result<Reserved, usize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let roomy = open.iter().position(|shared| shared.link().has_room());
            let Some((at, shared)) = roomy.and_then(|at| Some((at, open.get_mut(at)?))) else {
                return Err(open.len());
            };
            #[cfg(feature = "tls")]
            if shared.is_withdrawn() {
                // What runs on it may end; it says goodbye when that has.
                drop(open.remove(at));
                continue;
            }
            match shared.reserve() {
                Ok(reserved) => return Ok(reserved),
                // What has ended goes when it is met; there are few of them.
                Err(_) => drop(open.remove(at)),
            }
        }
    }
}

/// A request that is on its way.
struct Exchange {
    response: h2::client::ResponseFuture,
    upload: Rest,
    stream: Stream,
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
        let upload = if let Some(bytes) = body.take_bytes() {
            Rest::Given(upload::whole(bytes, upstream, stream.other_side()))
        } else if body.is_end_stream() {
            Rest::Nothing
        } else {
            let (held, tied) = Tether::new();
            body.tie(tied);
            stream.spawn(Upload::new(body, upstream, stream.other_side()));
            Rest::Running(held)
        };
        Ok(Self {
            response,
            upload,
            stream,
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
        let upload = match self.upload {
            Rest::Running(tether) if !self.ends_upload => {
                tether.let_go();
                Rest::Nothing
            }
            upload => upload,
        };
        let (endpoint, edge) = (self.place.endpoint, self.counted.edge());
        let counted = self.counted.answered(response.status());
        let connection = Connection::Http2(Answering::new(upload, self.stream));
        let lease = Lease::new(connection, counted, self.place);
        let (head, stream) = response.into_parts();
        let body = Received::new(stream, &head.headers);
        Ok(Answered {
            response: http::Response::from_parts(head, Body::received(body, lease)),
            endpoint,
            edge,
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
