//! Connections belong to endpoints. One pool per endpoint, so no lock is shared between endpoints:
//! HTTP/1.1 as a stack of idle connections, HTTP/2 by counting open streams. Clusters that have an endpoint in
//! common (a service and its subsets) share its connections.

mod connect;
mod handshakes;
mod http1;
mod http2;
mod lease;
#[cfg(feature = "tls")]
mod secured;
mod stream;
mod tether;
mod way;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use mesh_core::cluster::{Cluster, Endpoint, Protocol, Service, Transport};
use mesh_core::request::is_grpc;

use crate::body::{Body, is_ours};
use crate::client::Answered;
use crate::duration::bounded;
use crate::error::{BoxError, Error, Kind, Place, Sent};
use crate::security::Permits;
use crate::telemetry::{Cells, Edge};
use crate::weak_map::WeakMap;
pub(crate) use connect::{ConnectError, Open, Peer};
pub(crate) use http1::name_host;
pub(crate) use http2::Received;
use lease::Connection;
pub(crate) use lease::{Counted, Lease};
pub(crate) use tether::Tied;
pub(crate) use way::{Way, by_http1, by_http2};

/// The connections to one endpoint of one cluster, and what is counted of it.
#[derive(Debug)]
pub(crate) struct EndpointPool {
    pub(crate) address: SocketAddr,
    pub(crate) cells: Arc<Cells>,
    alike: Alike,
    connections: Connections,
    authority: OnceLock<Option<Authority>>,
}

#[derive(Debug)]
enum Connections {
    Http1 {
        http: Arc<dyn Way>,
        /// gRPC is HTTP/2, whatever the port is called. Made when the first such request comes.
        grpc: OnceLock<Arc<dyn Way>>,
    },
    Http2(Arc<dyn Way>),
    /// There may be none, and why.
    Refused(Arc<str>),
}

/// The pools in use: clusters share those that are alike, so that a subset of a service opens no connections of its own
/// beside those of the service.
#[derive(Debug)]
pub(crate) struct Pools {
    permits: Permits,
    http1: WeakMap<Alike, dyn Way>,
    http2: WeakMap<Alike, dyn Way>,
}

impl Pools {
    pub(crate) fn new(permits: Permits) -> Self {
        Self {
            permits,
            http1: WeakMap::default(),
            http2: WeakMap::default(),
        }
    }

    /// Forgets those that nobody uses any more.
    pub(crate) fn sweep(&mut self) {
        self.http1.sweep();
        self.http2.sweep();
    }
}

/// All that a connection is made by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Alike {
    address: SocketAddr,
    transport: Transport,
    connect_timeout: Duration,
}

impl Alike {
    fn of(endpoint: &Endpoint, cluster: &Cluster) -> Self {
        Self {
            address: endpoint.address,
            transport: endpoint.transport.clone(),
            connect_timeout: cluster.connect_timeout,
        }
    }
}

/// An attempt that failed. The request is still whole if no byte of it was sent.
#[derive(Debug)]
pub struct Failed<B = Body> {
    pub(crate) error: Error,
    pub(crate) unsent: Option<Request<B>>,
}

impl<B> From<Error> for Failed<B> {
    /// A failure that no repeat can help.
    fn from(error: Error) -> Self {
        Self {
            error,
            unsent: None,
        }
    }
}

impl EndpointPool {
    pub(crate) fn new(
        endpoint: &Endpoint,
        cluster: &Cluster,
        pools: &mut Pools,
        edge: Arc<Edge>,
    ) -> Self {
        let alike = Alike::of(endpoint, cluster);
        let peer = |via| Peer::Endpoint {
            address: endpoint.address,
            connect_timeout: bounded(cluster.connect_timeout),
            via,
        };
        let via = pools.permits.outbound(&endpoint.transport);
        let connections = match (cluster.protocol, via) {
            (_, Err(reason)) => Connections::Refused(reason),
            (Protocol::Http1, Ok(via)) => Connections::Http1 {
                http: pools.http1.shared(&alike, || by_http1(peer(via))),
                grpc: OnceLock::new(),
            },
            (Protocol::Http2, Ok(via)) => {
                let new = || by_http2(peer(via));
                Connections::Http2(pools.http2.shared(&alike, new))
            }
        };
        Self {
            address: endpoint.address,
            cells: Arc::new(Cells::of_endpoint(edge)),
            alike,
            connections,
            authority: OnceLock::new(),
        }
    }

    /// Whether connections and counts of this pool are what a new version of the endpoint asks for. An address that
    /// another workload has taken is another endpoint.
    pub(crate) fn fits(&self, endpoint: &Endpoint, cluster: &Cluster, service: &Service) -> bool {
        let protocol = match self.connections {
            Connections::Http1 { .. } => Protocol::Http1,
            Connections::Http2(_) => Protocol::Http2,
            Connections::Refused(_) => cluster.protocol,
        };
        let workload = endpoint.workload.as_ref();
        let leads_there = |edge: &Arc<Edge>| edge.leads_to(service, workload);
        protocol == cluster.protocol
            && self.cells.edge().is_some_and(leads_there)
            && self.alike == Alike::of(endpoint, cluster)
    }

    /// Why this endpoint may not be called by a foreign client, whose connections are plaintext.
    pub(crate) fn no_foreign(&self) -> Option<String> {
        if let Connections::Refused(reason) = &self.connections {
            return Some(reason.to_string());
        }
        let reason = self.alike.transport.no_plaintext()?;
        Some(format!(
            "{reason}: the connections of a foreign client are its own, without the mesh's TLS; call through Mesh::client"
        ))
    }

    /// Its address as a URI has it; made when a foreign client is first sent there.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        let made = || self.address.to_string().try_into().ok();
        self.authority.get_or_init(made).as_ref()
    }

    /// Sends a request over a connection to this endpoint, a new one if none is free. The request is
    /// on its way when this returns, unless a connection has to be opened first.
    pub(crate) fn send(&self, request: Request<Body>, counted: Counted, place: Place) -> Sending {
        match &self.connections {
            Connections::Refused(reason) => {
                refused(Error::new(Kind::TlsDemanded, place, &**reason))
            }
            Connections::Http1 { http, grpc } if is_grpc(request.headers()) => {
                let new = || by_http2(http.peer().clone());
                grpc.get_or_init(new).send(request, counted, place)
            }
            Connections::Http1 { http, .. } => http.send(request, counted, place),
            Connections::Http2(pool) => pool.send(request, counted, place),
        }
    }
}

/// The one boxed future of a call: the layers around it are named types.
pub(crate) type Sending<B = Body> =
    Pin<Box<dyn Future<Output = Result<Answered, Failed<B>>> + Send>>;

/// A call that ends before it begins.
pub(crate) fn refused<B: Send + 'static>(error: Error) -> Sending<B> {
    Box::pin(std::future::ready(Err(error.into())))
}

/// Waits for the response to a request that was handed to a connection of HTTP/1.1.
async fn response(
    sending: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>>,
    connection: Connection,
    counted: Counted,
    place: Place,
) -> Result<Answered, Failed> {
    counted.handed_over();
    match sending.await {
        Ok(response) => {
            let (endpoint, edge) = (place.endpoint, counted.edge());
            let lease = Lease::new(connection, counted.answered(response.status()), place);
            Ok(Answered {
                response: response.map(|body| Body::leased(body, lease)),
                endpoint,
                edge,
                attempts: 1,
            })
        }
        Err(error) => Err(failed(error, place)),
    }
}

/// The error of a connection that did not come about.
pub(crate) fn connect_failed(error: ConnectError, place: Place) -> Error {
    let mut reason = error.to_string();
    if place.cluster.as_deref() == Some(mesh_core::istiod::PASSTHROUGH) {
        reason.push_str(
            "; the mesh has no route for this host and port (PassthroughCluster): if it should have one, look for the host and the port in the ServiceEntries, as `meshctl explain` does",
        );
    }
    Error::new(error.kind(), place, reason).caused(Sent::NotSent, error)
}

/// What hyper says when a request fails: the request itself, if it was never written.
fn failed(mut error: TrySendError<Request<Body>>, place: Place) -> Failed {
    let unsent = error.take_message();
    let cause = error.into_error();
    if unsent.is_none() {
        let own = cause.is_user();
        return lost(cause, own, place).into();
    }
    let reason = format!("the connection was closed before the request was sent: {cause}");
    let error = Error::new(Kind::Reset, place, reason).caused(Sent::NotSent, cause);
    Failed { error, unsent }
}

/// What h2 says when there is no response.
fn broken(cause: h2::Error, place: Place) -> Failed {
    let own = is_ours(&cause);
    // Both say that the request was not processed (RFC 9113, 8.7): h2 tells of a GOAWAY only the streams beyond it.
    let refused = cause.is_remote()
        && (cause.is_go_away() || cause.reason() == Some(h2::Reason::REFUSED_STREAM));
    let error = lost(cause, own, place);
    match refused {
        true => error.came(Sent::Refused).into(),
        false => error.into(),
    }
}

/// The error of a request that was sent, or half of it: by its `own` body's fault or by the connection's.
fn lost(cause: impl Into<BoxError>, own: bool, place: Place) -> Error {
    let cause = cause.into();
    let (kind, what) = match own {
        true => (Kind::Upload, "the request's own body failed"),
        false => (Kind::Reset, "the connection ended before the response"),
    };
    #[cfg(feature = "tls")]
    if let Some(refusal) = crate::tls::PeerRefused::below(&*cause) {
        let reason = format!("{what}: {refusal}");
        return Error::new(kind, place, reason).caused(Sent::MaybeProcessed, cause);
    }
    Error::new(kind, place, format!("{what}: {cause}")).caused(Sent::MaybeProcessed, cause)
}
