//! Connections belong to endpoints. One pool per endpoint, so no lock is shared between endpoints:
//! HTTP/1.1 as a stack of idle connections, HTTP/2 by counting open streams.

mod connect;
mod http1;
mod http2;
mod lease;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use mesh_core::cluster::{Cluster, Endpoint, Protocol, Transport};

use crate::body::Body;
use crate::client::Answered;
use crate::error::{Error, Kind, Place, Sent};
use crate::telemetry::Cells;
use connect::Peer;
use lease::Connection;
pub(crate) use lease::{Counted, Lease};

/// The connections to one endpoint of one cluster, and what is counted of it.
#[derive(Debug)]
pub(crate) struct EndpointPool {
    pub(crate) address: SocketAddr,
    pub(crate) cells: Arc<Cells>,
    transport: Transport,
    connect_timeout: Duration,
    connections: Connections,
}

#[derive(Debug)]
enum Connections {
    Http1(Arc<http1::Pool>),
    Http2(Arc<http2::Pool>),
}

/// An attempt that failed. The request is still whole if no byte of it was sent.
#[derive(Debug)]
pub struct Failed {
    pub(crate) error: Error,
    pub(crate) unsent: Option<Request<Body>>,
}

impl EndpointPool {
    pub(crate) fn new(endpoint: &Endpoint, cluster: &Cluster) -> Self {
        let peer = Peer {
            address: endpoint.address,
            connect_timeout: cluster.connect_timeout,
        };
        Self {
            address: endpoint.address,
            cells: Arc::default(),
            transport: endpoint.transport.clone(),
            connect_timeout: cluster.connect_timeout,
            connections: match cluster.protocol {
                Protocol::Http1 => Connections::Http1(Arc::new(http1::Pool::new(peer))),
                Protocol::Http2 => Connections::Http2(Arc::new(http2::Pool::new(peer))),
            },
        }
    }

    /// Whether connections of this pool are what a new version of the endpoint asks for.
    pub(crate) fn fits(&self, endpoint: &Endpoint, cluster: &Cluster) -> bool {
        let protocol = match self.connections {
            Connections::Http1(_) => Protocol::Http1,
            Connections::Http2(_) => Protocol::Http2,
        };
        self.address == endpoint.address
            && self.transport == endpoint.transport
            && self.connect_timeout == cluster.connect_timeout
            && protocol == cluster.protocol
    }

    /// Sends a request over a connection to this endpoint, a new one if none is free. The request is
    /// on its way when this returns, unless a connection has to be opened first.
    pub(crate) fn send(&self, request: Request<Body>, counted: Counted, place: Place) -> Sending {
        if let Transport::TlsDemanded(who) = &self.transport {
            let reason = format!(
                "TLS is demanded by the {who} and is not served yet; plaintext is never used in its place"
            );
            return refused(Error::new(Kind::TlsDemanded, place, reason));
        }
        match &self.connections {
            Connections::Http1(pool) => pool.send(request, counted, place),
            Connections::Http2(pool) => pool.send(request, counted, place),
        }
    }
}

/// The one boxed future of a call: the layers around it are named types.
pub(crate) type Sending = Pin<Box<dyn Future<Output = Result<Answered, Failed>> + Send>>;

/// A call that ends before it begins.
fn refused(error: Error) -> Sending {
    Box::pin(std::future::ready(Err(Failed {
        error,
        unsent: None,
    })))
}

/// Waits for the response to a request that was handed to a connection.
async fn response(
    sending: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>>,
    connection: Connection,
    counted: Counted,
    place: Place,
) -> Result<Answered, Failed> {
    match sending.await {
        Ok(response) => {
            let endpoint = place.endpoint;
            let lease = Lease::new(connection, counted.answered(response.status()), place);
            Ok(Answered {
                response: response.map(|body| Body::leased(body, lease)),
                endpoint,
                attempts: 1,
            })
        }
        Err(error) => Err(failed(error, place)),
    }
}

/// The error of a connection that did not come about.
fn connect_failed(error: connect::ConnectError, place: Place) -> Error {
    Error::new(Kind::Connect, place, error.to_string()).caused(Sent::NotSent, error)
}

/// What hyper says when a request fails: the request itself, if it was never written.
fn failed(mut error: TrySendError<Request<Body>>, place: Place) -> Failed {
    let unsent = error.take_message();
    let cause = error.into_error();
    let (kind, sent, what) = match &unsent {
        Some(_) => (
            Kind::Reset,
            Sent::NotSent,
            "the connection was closed before the request was sent",
        ),
        None if cause.is_user() => (
            Kind::Upload,
            Sent::MaybeProcessed,
            "the request's own body failed",
        ),
        None => (
            Kind::Reset,
            Sent::MaybeProcessed,
            "the connection ended before the response",
        ),
    };
    let error = Error::new(kind, place, format!("{what}: {cause}")).caused(sent, cause);
    Failed { error, unsent }
}
