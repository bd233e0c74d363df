//! A bound address of a mesh.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use mesh_xds::Dialect;
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use super::closed::Closing;
use super::drain::Member;
use super::half_open::{self, HalfOpen};
use super::inbound::InboundLayer;
use super::keys;
use super::opening::{Accepted, AtOnce};
use super::places::Place;
use super::serve;
use super::stream::MeshStream;
use crate::body::Body;
use crate::error::BoxError;
use crate::mesh::{Mesh, Shared};
use crate::security::Security;

/// The pause after an accept that failed for lack of descriptors or memory.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts connections for a mesh. Bound, and not yet serving.
///
/// There are three ways to serve, and [`Mesh::shutdown`] drains each of them:
/// * [`serve`](Self::serve): HTTP/1.1 and HTTP/2 for any tower service.
/// * `axum::serve(listener, app)`, with feature `axum`:
///
/// ```no_run
/// # #[cfg(feature = "axum")]
/// # async fn example(mesh: mesh_tower::Mesh) -> Result<(), Box<dyn std::error::Error>> {
/// use axum::extract::ConnectInfo;
/// use mesh_tower::PeerIdentity;
///
/// let hello = |ConnectInfo(peer): ConnectInfo<PeerIdentity>| async move { peer.address.to_string() };
/// let app = axum::Router::new().fallback(hello).layer(mesh.inbound());
/// let app = app.into_make_service_with_connect_info::<PeerIdentity>();
/// let listener = mesh.listen("0.0.0.0:9080").await?;
/// axum::serve(listener, app).with_graceful_shutdown(mesh.draining()).await?;
/// # Ok(()) }
/// ```
///
/// * tonic's server with [`incoming`](Self::incoming), with feature `tonic-server`:
///
/// ```no_run
/// # #[cfg(feature = "tonic-server")]
/// # async fn example(mesh: mesh_tower::Mesh, routes: tonic::service::Routes) -> Result<(), Box<dyn std::error::Error>> {
/// let incoming = mesh.listen("0.0.0.0:9080").await?.incoming();
/// tonic::transport::Server::builder()
///     .layer(mesh.inbound())
///     .serve_with_incoming_shutdown(routes, incoming, mesh.draining())
///     .await?;
/// # Ok(()) }
/// ```
///
/// Without [`Mesh::draining`], axum and tonic do not learn of a drain: nothing new is accepted, but idle connections
/// stay until the time for draining is up. axum's loop then never returns, and tonic's returns at once.
#[derive(Debug)]
pub struct MeshListener {
    /// None when draining has begun: the address is given back.
    open: Option<Open>,
    address: SocketAddr,
    /// The port by which rules know it, if that is another one.
    pub(super) stands_for: Option<u16>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Open {
    socket: TcpListener,
    /// From the first accept on; a drain does not wait for a listener that nobody asks.
    member: Option<Member>,
    half_open: HalfOpen,
    place: Place,
}

/// What a listener hears of.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one at a time, and a box would cost each connection an allocation"
)]
enum Event {
    Draining,
    Opened(MeshStream),
    Accepted(TcpStream, SocketAddr),
}

/// An address that could not be bound.
#[derive(thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct ListenError {
    address: String,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}; choose another address, or port 0 for a free one")]
    Bind(#[source] io::Error),
    /// In gRPC's dialect, under `Required`.
    #[error(
        "{GRPC_GAPS}, and Builder::security(Security::Required) does not serve by such policies; take the rules in the dialect of sidecars (Dialect::Sidecar), or say Builder::accept_grpc_policy_gaps()"
    )]
    PolicyGaps,
}

/// What istiod leaves out of a server's listener in gRPC's dialect: each of these would refuse requests that are served.
const GRPC_GAPS: &str = "in gRPC's dialect a control plane like istiod sends no ALLOW policy without rules, no CUSTOM policy and no RequestAuthentication";

/// The sentence, not the fields: a `main` that returns the error prints this.
impl fmt::Debug for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Mesh {
    /// Binds `host:port`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound; in gRPC's dialect under [`Security::Required`](crate::Security::Required), unless
    /// [`Builder::accept_grpc_policy_gaps`](crate::Builder::accept_grpc_policy_gaps) was said.
    pub async fn listen(&self, address: &str) -> Result<MeshListener, ListenError> {
        self.check_gaps(address)?;
        let (socket, bound) = bind(address).await?;
        self.shared.begin_to_listen(Some(bound));
        keys::keep(&self.shared);
        Ok(MeshListener {
            open: Some(Open {
                socket,
                member: None,
                half_open: HalfOpen::default(),
                place: Place::new(&self.shared.door, bound),
            }),
            address: bound,
            stands_for: None,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Tells of each port that its policies are not all that were written for it.
    fn check_gaps(&self, address: &str) -> Result<(), ListenError> {
        let shared = &self.shared;
        if shared.dialect != Dialect::Grpc
            || shared.door.is_fixed()
            || shared.grpc_servers.accepts_policy_gaps
        {
            return Ok(());
        }
        if shared.security == Security::Required {
            return Err(ListenError {
                address: address.to_owned(),
                cause: Cause::PolicyGaps,
            });
        }
        tracing::warn!(
            address,
            "{GRPC_GAPS}; one that is only tried (dry run) is enforced. What is served here is less guarded than behind a sidecar; Builder::accept_grpc_policy_gaps() says that this is known"
        );
        Ok(())
    }

    /// Binds and serves until [`Self::shutdown`]; see [`MeshListener::serve`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let mesh = mesh_tower::Mesh::from_env().await?;
    /// mesh.drain_on_signal()?;
    /// let app = axum::Router::new().fallback(|| async { "hello" });
    /// mesh.serve("0.0.0.0:9080", app).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve<S, B>(&self, address: &str, service: S) -> Result<(), ListenError>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send + 'static,
        B::Data: From<Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        self.listen(address).await?.serve(service).await
    }
}

impl MeshListener {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves HTTP/1.1 and HTTP/2 (told apart by the first bytes) until [`Mesh::shutdown`]. Takes any
    /// tower service: an axum router, tonic's routes, your own. [`Mesh::inbound`] is in front of it. The body of a request is
    /// the mesh's own type, so that an authorizer can be shown its beginning.
    ///
    /// Returns when draining has begun and its last connection has ended, so that a `main` that awaits it cuts no
    /// request.
    ///
    /// # Errors
    /// None at present. What the rules do not let in is closed, connection by connection.
    pub async fn serve<S, B>(self, service: S) -> Result<(), ListenError>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send + 'static,
        B::Data: From<Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let inbound = InboundLayer::of(&self.shared);
        serve::run(self, service, inbound).await;
        Ok(())
    }

    /// The next connection that is open; none when draining has begun, and then the socket is closed.
    pub(super) async fn next(&mut self) -> Option<MeshStream> {
        loop {
            let Open {
                socket,
                member,
                half_open,
                place,
            } = self.open.as_mut()?;
            let member = member.get_or_insert_with(|| {
                place.begin(self.stands_for.unwrap_or_else(|| self.address.port()));
                self.shared.drain.member()
            });
            let event = tokio::select! {
                biased;
                () = member.watcher.draining() => Event::Draining,
                stream = half_open.next(), if !half_open.is_empty() => Event::Opened(stream),
                (tcp, peer) = accept(socket) => Event::Accepted(tcp, peer),
            };
            match event {
                Event::Draining => {
                    self.open = None;
                    return None;
                }
                Event::Opened(stream) => return Some(stream),
                Event::Accepted(tcp, peer) => {
                    if let Some(stream) = self.begin(tcp, peer) {
                        return Some(stream);
                    }
                }
            }
        }
    }

    /// Opens a connection: at once, or in a task of its own.
    fn begin(&mut self, tcp: TcpStream, peer: SocketAddr) -> Option<MeshStream> {
        let accepted = Accepted {
            tcp,
            peer,
            bound: self.address,
            stands_for: self.stands_for,
            member: self.shared.drain.member(),
        };
        let door = &self.shared.door;
        match accepted.at_once(door) {
            AtOnce::Served(stream) => return Some(stream),
            AtOnce::Closed => {}
            AtOnce::Later(accepted) => {
                let half_open = &mut self.open.as_mut()?.half_open;
                if half_open.open(accepted.open(Arc::clone(door))) {
                    let crowded = Closing::Crowded(half_open::MOST);
                    door.closed.note(peer, self.address, &crowded);
                }
            }
        }
        None
    }
}

pub(super) async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), ListenError> {
    let error = |cause| ListenError {
        address: address.to_owned(),
        cause: Cause::Bind(cause),
    };
    let socket = TcpListener::bind(address).await.map_err(error)?;
    let bound = socket.local_addr().map_err(error)?;
    Ok((socket, bound))
}

/// A failure to accept is of the machine's, not of the listener's: it passes.
pub(super) async fn accept(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
