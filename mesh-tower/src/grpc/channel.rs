//! The transport of generated clients.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use mesh_core::request::split_port;
use mesh_core::snapshot::TableKey;
use mesh_xds::{Dialect, ListenerName};
use tower_service::Service;

use super::target::{InvalidTarget, Target};
use super::upload::upload;
use crate::body::Body;
use crate::client::{MeshClient, ResponseFuture};
use crate::error::Error;
use crate::mesh::Mesh;

/// What a generated client calls through: `RatingsClient::new(mesh.channel("xds:///ratings:9080")?)`.
/// Made by [`Mesh::channel`]. Cloning is cheap; clones share connections and counts.
///
/// # Calls
/// Every call is routed, split, balanced, limited and counted like those of a [`MeshClient`], one by one: a stream
/// stays on the endpoint that it began on. All calls go to the channel's target, whatever origin the generated
/// client was given. The first waits up to 15 s for the target's configuration, the caller's deadline if that is
/// nearer.
///
/// gRPC is HTTP/2. Where the configuration says HTTP/1.1 of a cluster (in Istio a port whose name begins with
/// `http`), gRPC goes there over HTTP/2 with prior knowledge all the same. A sidecar would send it over HTTP/1.1,
/// where it fails: name the port `grpc` for callers with sidecars.
///
/// # Errors
/// The status of a call that the mesh could not bring to an end is UNAVAILABLE, and its message the sentence of
/// [`Error`]: Envoy's response flag, the route, the cluster and the version of the configuration. It is
/// DEADLINE_EXCEEDED where a limit of time has passed, and CANCELLED where the caller's own stream of messages
/// failed. [`Error`] itself is in the status's source:
///
/// ```
/// # fn example(status: &tonic::Status) {
/// let error = std::error::Error::source(status).and_then(|it| it.downcast_ref::<mesh_tower::Error>());
/// # let _ = error;
/// # }
/// ```
///
/// What the configuration itself answers (a direct response, a redirect) comes as Envoy's local replies to gRPC do:
/// as the status that gRPC maps the HTTP status to, with the body as its message.
///
/// # Deadlines
/// `Request::set_timeout` of tonic (the header `grpc-timeout`) limits the whole call on this side as well, from its
/// beginning to the end of the response, whatever the route admits; so does the timeout of
/// [`CallOptions`](crate::CallOptions) in the extensions of tonic's request. The nearest limit ends the call, and
/// resets its stream. The subset and the number of repeats may be said there as well.
///
/// # Cancellation
/// Dropping the call, or the stream of responses, resets the stream at the server (CANCEL), also while the caller's
/// own stream of messages is open.
#[derive(Clone)]
pub struct MeshChannel {
    client: MeshClient,
    authority: Authority,
}

impl Mesh {
    /// A channel for tonic's generated clients, to `xds:///host:port`, `xds:///host` (port 80), or `host:port`. The
    /// host is one that the mesh knows, in the short form as well as in the full one; the name of its port should
    /// begin with `grpc`.
    ///
    /// Returns at once, and asks for the target's configuration at once: the first call waits for it, up to 15 s.
    ///
    /// ```no_run
    /// # mod ratings_client {
    /// #     pub struct RatingsClient<T>(T);
    /// #     impl<T: tonic::client::GrpcService<tonic::body::Body>> RatingsClient<T> {
    /// #         pub fn new(transport: T) -> Self { Self(transport) }
    /// #         pub async fn get(&mut self, _: tonic::Request<()>) -> Result<tonic::Response<u32>, tonic::Status> {
    /// #             Ok(tonic::Response::new(5))
    /// #         }
    /// #     }
    /// # }
    /// use std::time::Duration;
    ///
    /// use mesh_tower::Mesh;
    /// use ratings_client::RatingsClient; // made by tonic-prost-build
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let mesh = Mesh::from_env().await?;
    /// let mut ratings = RatingsClient::new(mesh.channel("xds:///ratings:9080")?);
    /// let mut request = tonic::Request::new(());
    /// request.set_timeout(Duration::from_secs(2));
    /// let stars = ratings.get(request).await?.into_inner();
    /// println!("{stars} stars");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the target is of another form. `xds://authority/...` is for federation, which is not served.
    pub fn channel(&self, target: &str) -> Result<MeshChannel, InvalidTarget> {
        let Target { authority, port } = Target::parse(target)?;
        match (
            self.shared.dialect,
            ListenerName::new(host(&authority), port),
        ) {
            (Dialect::Sidecar, _) => self.shared.want(TableKey::Port(port)),
            (Dialect::Grpc, Ok(name)) => self.shared.want_of_channel(name),
            // Calls say so.
            (Dialect::Grpc, Err(_)) => {}
        }
        let client = MeshClient::for_grpc(Arc::clone(&self.shared));
        Ok(MeshChannel { client, authority })
    }
}

fn host(authority: &Authority) -> &str {
    split_port(authority.as_str()).0
}

impl MeshChannel {
    /// The same channel, whose responses carry a [`CallInfo`](crate::CallInfo) in their extensions.
    #[must_use]
    pub fn with_call_info(self) -> Self {
        Self {
            client: self.client.with_call_info(),
            authority: self.authority,
        }
    }

    /// Generated clients know a path only.
    fn complete(&self, uri: &mut Uri) {
        let mut parts = std::mem::take(uri).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts
            .path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        // With all three parts there is nothing that could be wrong.
        *uri = Uri::from_parts(parts).unwrap_or_default();
    }
}

impl Service<Request<tonic::body::Body>> for MeshChannel {
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> ResponseFuture {
        let mut request = request.map(upload);
        self.complete(request.uri_mut());
        self.client.call(request)
    }
}

impl fmt::Debug for MeshChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshChannel")
            .field("target", &self.authority.as_str())
            .finish_non_exhaustive()
    }
}
