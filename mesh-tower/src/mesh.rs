//! A mesh: one configuration, one set of pools, any number of clients and servers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mesh_core::explain::Explanation;
use mesh_core::request::PathNormalization;
use mesh_core::snapshot::{TableKey, Unserved};
use mesh_xds::ads::Status;
use mesh_xds::csds::{Csds, CsdsService};
use mesh_xds::{Dialect, ListenerName, ServerListenerTemplate, Wanted};
use tokio::sync::{mpsc, watch};

use crate::admin::Admin;
use crate::builder::{Builder, StartError};
use crate::client::{Faults, MeshClient, Mirrors, Scope, explain};
use crate::error::{Error, Kind, Place};
use crate::live::{Live, LiveSnapshot};
use crate::outside::Outside;
use crate::random::Randomness;
use crate::security::Security;
use crate::server::{Door, Drain};
use crate::telemetry::{Cells, EdgeStats, Edges, Errors, Observer, Stats};
#[cfg(feature = "tls")]
use crate::tls;

/// How long [`Mesh::shutdown`] waits for requests that run.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How many rejected resources an error quotes; a control plane can send any number of bad ones.
const MOST_QUOTED: usize = 5;

/// A mesh that this process takes part in. Cloning is cheap; two meshes of one process do not meet.
///
/// When the last clone, client and listener of it are gone, its link to the control plane is closed.
#[derive(Clone)]
pub struct Mesh {
    pub(crate) shared: Arc<Shared>,
}

/// What servers go by in gRPC's dialect alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct GrpcServers {
    /// The names of what they ask for.
    pub(crate) listeners: ServerListenerTemplate,
    /// Whether it is known which policies they are not told of.
    pub(crate) accepts_policy_gaps: bool,
}

/// What clients and servers of one mesh share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) live: Arc<Live>,
    pub(crate) random: Randomness,
    pub(crate) cells: Arc<Cells>,
    pub(crate) errors: Arc<Errors>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) mirrors: Arc<Mirrors>,
    pub(crate) edges: Arc<Edges>,
    /// Where single calls are told of, if that was asked for.
    pub(crate) observer: Option<Arc<Observer>>,
    pub(crate) drain: Drain,
    /// Whether connections were ever listened for.
    pub(crate) listens: AtomicBool,
    /// By what rules connections come in.
    pub(crate) door: Arc<Door>,
    /// Asks the control thread for tables or listeners; closed when there is no source of rules.
    pub(crate) wanted: mpsc::UnboundedSender<Wanted>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) csds: Csds,
    pub(crate) declared: Vec<TableKey>,
    pub(crate) dialect: Dialect,
    pub(crate) grpc_servers: GrpcServers,
    /// What channels are for, in gRPC's dialect.
    pub(crate) channels: Mutex<BTreeSet<ListenerName>>,
    pub(crate) normalization: PathNormalization,
    /// Without rules: every call goes where it asks to.
    pub(crate) is_direct: bool,
    pub(crate) outside: Outside,
    pub(crate) security: Security,
    /// Our certificate, and whom we believe.
    #[cfg(feature = "tls")]
    pub(crate) store: Arc<tls::Store>,
    pub(crate) admin: Option<Admin>,
}

impl Shared {
    /// Asks for a table, or a listener. Asking again for one that is known costs nothing.
    pub(crate) fn want(&self, wanted: impl Into<Wanted>) {
        // A closed channel is a mesh without a source; `why_not_ready` says so.
        let _ = self.wanted.send(wanted.into());
    }

    /// Asks for the rules of connections that come in: who listens for none has no use for them.
    /// In gRPC's dialect each address has its own; a listener of others has none that is known.
    pub(crate) fn begin_to_listen(&self, bound: Option<SocketAddr>) {
        let has_begun = self.listens.swap(true, Relaxed);
        match (self.dialect, bound) {
            (Dialect::Sidecar, _) if !has_begun => self.want(Wanted::Inbound),
            (Dialect::Grpc, Some(bound)) => self.want(self.grpc_servers.listeners.at(bound)),
            (Dialect::Sidecar, _) | (Dialect::Grpc, None) => {}
        }
    }

    pub(crate) fn listens(&self) -> bool {
        self.listens.load(Relaxed)
    }

    /// Asks for what a channel is for.
    #[cfg(feature = "grpc")]
    pub(crate) fn want_of_channel(&self, name: ListenerName) {
        let channels = self.channels.lock();
        let mut channels = channels.unwrap_or_else(PoisonError::into_inner);
        if channels.insert(name.clone()) {
            self.want(name);
        }
    }

    /// Whether it was built without rules: it serves, and calls nothing.
    fn has_no_source(&self) -> bool {
        self.wanted.is_closed() && self.status.borrow().server.is_empty()
    }

    pub(crate) fn why_not_ready(&self, missing: &str, waited: Duration) -> String {
        let status = self.status.borrow();
        if self.has_no_source() {
            return "this mesh has no source of rules; set GRPC_XDS_BOOTSTRAP, or give the builder a control plane or a folder; with MESH=off, or `Builder::direct`, calls go where they ask to without a mesh".to_owned();
        }
        if self.wanted.is_closed() {
            return format!(
                "no configuration any more: the mesh-control thread for {} has ended",
                status.server
            );
        }
        let mut text = format!(
            "waited {waited:?} for {missing} from control plane {} as node {:?}",
            status.server, status.node
        );
        match (&status.last_error, status.connected) {
            (Some(error), false) => text.push_str(&format!("; not connected, last error: {error}")),
            (None, false) => text.push_str("; not connected yet"),
            (_, true) => text.push_str("; it is connected and has not sent it"),
        }
        for rejected in status.rejected.iter().take(MOST_QUOTED) {
            text.push_str("; ");
            text.push_str(rejected);
        }
        if let Some(more @ 1..) = status.rejected.len().checked_sub(MOST_QUOTED) {
            text.push_str(&format!("; and {more} more that were rejected"));
        }
        text
    }
}

impl Mesh {
    /// A mesh by hand.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A mesh as the environment says: `GRPC_XDS_BOOTSTRAP` names a bootstrap file,
    /// `GRPC_XDS_BOOTSTRAP_CONFIG` holds one; with neither, `MESH_CONFIG` names a folder of Istio YAML to follow
    /// ([`Builder::yaml`]). With `MESH=off` calls go where they ask to, as [`Builder::direct`] says. A variable that is
    /// empty counts as one that is not set.
    ///
    /// `MESH_ADMIN` opens an admin port ([`Builder::admin`]), and `MESH_CERTIFICATES` names the folder of the workload's
    /// certificate ([`Files`](crate::Files)) or, as `sds:/path`, the socket of Istio's agent ([`Sds`](crate::Sds)), `MESH_TOKEN_FILE` that of the token by which a control plane over TLS knows us
    /// ([`Builder::token_file`]). [`Builder::from_env`] is the same where more is to be set.
    ///
    /// Returns at once; the first call to a destination waits up to 15 s for its configuration.
    ///
    /// # Errors
    /// When the environment names neither a control plane nor a folder, or what it names cannot be used.
    pub async fn from_env() -> Result<Self, StartError> {
        Builder::from_env()?.build()
    }

    /// [`Self::from_env`], but without a mesh where the environment names no rules: the same program on a laptop.
    /// What is named and broken is an error here too.
    ///
    /// # Errors
    /// When the bootstrap cannot be used.
    pub async fn from_env_or_direct() -> Result<Self, StartError> {
        Builder::from_env_or_direct()?.build()
    }

    /// A client of this mesh: a workload's routes.
    pub fn client(&self) -> MeshClient {
        MeshClient::new(Arc::clone(&self.shared), Scope::Mesh)
    }

    /// A gateway's client: the routes of the `Gateway` servers of this port number, whatever port is
    /// really listened on. The mesh's node must be a [`Node::router`](crate::Node::router).
    ///
    /// A request that came in by [`MeshListener::as_gateway_port`](crate::MeshListener::as_gateway_port) takes the routes
    /// of its own filter chain, if its extensions come along ([`GatewayChain`](crate::GatewayChain)): behind TLS each
    /// server of a `Gateway` has its own. A request of HTTP/1.1 with `Upgrade` is sent on, and an answer of 101 hands
    /// the connection over (`hyper::upgrade::on`).
    pub fn gateway(&self, port: u16) -> MeshClient {
        self.shared.want(TableKey::Gateway(port));
        MeshClient::new(Arc::clone(&self.shared), Scope::Gateway(port))
    }

    /// Waits until everything that was declared to the builder is configured; with nothing declared,
    /// until the source of rules has answered. In gRPC's dialect, until the targets of all channels are configured.
    /// A mesh without rules, which only serves, is ready at once.
    ///
    /// # Errors
    /// When that takes longer than `timeout`, with the reason.
    pub async fn ready(&self, timeout: Duration) -> Result<(), Error> {
        let mut generations = self.shared.live.subscribe();
        let mut status = self.shared.status.clone();
        let deadline = tokio::time::Instant::now() + crate::duration::bounded(timeout);
        loop {
            generations.borrow_and_update();
            status.borrow_and_update();
            let missing = self.missing();
            let Some(missing) = missing.first() else {
                return Ok(());
            };
            let changed = async {
                tokio::select! {
                    changed = generations.changed() => changed.is_ok(),
                    changed = status.changed() => changed.is_ok(),
                }
            };
            if !matches!(tokio::time::timeout_at(deadline, changed).await, Ok(true)) {
                let reason = self.shared.why_not_ready(missing, timeout);
                return Err(Error::new(Kind::NotReady, Place::default(), reason));
            }
        }
    }

    /// What [`Self::ready`] still waits for: the first few.
    pub(crate) fn missing(&self) -> Vec<String> {
        if self.shared.is_direct {
            return Vec::new();
        }
        let snapshot = self.shared.live.load();
        if self.shared.dialect == Dialect::Grpc {
            let channels = self.shared.channels.lock();
            let channels = channels.unwrap_or_else(PoisonError::into_inner);
            let lacking = channels.iter().filter_map(|name| lacking(&snapshot, name));
            return lacking.take(MOST_QUOTED).collect();
        }
        if self.shared.declared.is_empty() {
            if self.shared.has_no_source() {
                return Vec::new();
            }
            let connected = self.shared.status.borrow().connected;
            let missing = (!connected).then(|| "the first answer".to_owned());
            return missing.into_iter().collect();
        }
        let mut missing = Vec::new();
        for key in &self.shared.declared {
            match snapshot.tables.get(key) {
                None => missing.push(format!("route configuration {:?} (RDS)", key.to_string())),
                Some(table) => {
                    let waiting = table.targets().filter_map(|it| it.waiting_for.as_ref());
                    missing.extend(waiting.take(MOST_QUOTED).map(ToString::to_string));
                }
            }
        }
        missing
    }

    /// What the rules say of a request, with the reasons: the virtual host, the routes and why the others do not match,
    /// the clusters and their endpoints. Nothing is sent and nothing is counted; only its head is read.
    ///
    /// Waits as a call does for the configuration of its destination, 15 s at most. It tells of this moment: the
    /// next configuration may say another thing. `CallOptions` are not looked at.
    ///
    /// ```no_run
    /// # async fn example(mesh: mesh_tower::Mesh) -> Result<(), Box<dyn std::error::Error>> {
    /// let request = http::Request::get("http://reviews:9080/").header("end-user", "jason").body(())?;
    /// println!("{}", mesh.explain(&request).await);
    /// # Ok(()) }
    /// ```
    pub async fn explain<B>(&self, request: &http::Request<B>) -> Explanation {
        let mut head = http::Request::new(());
        head.method_mut().clone_from(request.method());
        head.uri_mut().clone_from(request.uri());
        head.headers_mut().clone_from(request.headers());
        *head.version_mut() = request.version();
        explain(&self.shared, head).await
    }

    /// The generation of the configuration that requests use now; 0 is "none yet".
    pub fn generation(&self) -> u64 {
        self.shared.live.load().generation
    }

    /// How the link to the source of rules stands.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// The gRPC service by which tools ask this client how it stands (CSDS, gRPC A40;
    /// `envoy.service.status.v3.ClientStatusDiscoveryService`): its node, and each resource that it wants or has,
    /// with version, status and what was wrong with an update that it refused. `client_scope` is the control plane
    /// in use, or the folder.
    ///
    /// It answers while there is no control plane, too; without a source of rules, and when the mesh is gone, it
    /// answers with no client. It shows all that the client was told: serve it where only operators come.
    ///
    /// ```no_run
    /// # async fn example(mesh: mesh_tower::Mesh) -> Result<(), Box<dyn std::error::Error>> {
    /// mesh.serve("127.0.0.1:9901", mesh.csds()).await?;
    /// # Ok(()) }
    /// ```
    pub fn csds(&self) -> CsdsService {
        self.shared.csds.clone().service()
    }

    /// Where the admin port listens, if [`Builder::admin`] asked for one.
    pub fn admin_addr(&self) -> Option<std::net::SocketAddr> {
        self.shared.admin.as_ref().map(Admin::address)
    }

    /// What has been counted up to now.
    pub fn stats(&self) -> Stats {
        let errors: BTreeMap<_, _> = self
            .shared
            .errors
            .counts()
            .filter(|(_, count)| *count > 0)
            .collect();
        Stats {
            generation: self.generation(),
            requests: self.shared.cells.started(),
            in_flight: self.shared.cells.in_flight(),
            errors,
            faults: self.shared.faults.read(),
            mirrors: self.shared.mirrors.read(),
            closed: self
                .shared
                .door
                .closed
                .counts()
                .filter(|(_, count)| *count > 0)
                .collect(),
            access_log_dropped: self.shared.observer.as_ref().map_or(0, |it| it.dropped()),
            edges: self
                .shared
                .live
                .clusters()
                .iter()
                .chain(self.shared.outside.counted())
                .flat_map(|cluster| EdgeStats::of(cluster))
                .collect(),
        }
    }

    /// Drains every listener of this mesh: no new connections, GOAWAY on HTTP/2, `connection: close` on HTTP/1;
    /// requests that run may end within 10 s, then their connections are closed as they are.
    ///
    /// Returns when the last connection has ended, at most 1 s after that time. It is for good: a listener that is
    /// bound later accepts nothing.
    pub async fn shutdown(&self) {
        self.shutdown_within(DRAIN_TIMEOUT).await;
    }

    /// [`Self::shutdown`] with another time for requests that run. While another runs, the shorter of the two counts.
    pub async fn shutdown_within(&self, timeout: Duration) {
        self.shared.drain.run(timeout).await;
    }

    /// Resolves when [`Self::shutdown`] begins: for `with_graceful_shutdown` of `axum::serve` and
    /// `serve_with_incoming_shutdown` of tonic's server.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut drain = self.shared.drain.watcher();
        async move { drain.draining().await }
    }
}

/// What a listener's target still waits for.
fn lacking(snapshot: &LiveSnapshot, name: &ListenerName) -> Option<String> {
    let table = snapshot.tables.get(&TableKey::Port(name.port()));
    if let Some(target) = table.and_then(|table| table.find(name.name())) {
        return target.waiting_for.as_ref().map(ToString::to_string);
    }
    match table.and_then(|table| table.unserved.get(name.host())) {
        None => Some(Wanted::from(name.clone()).to_string()),
        Some(Unserved::Waiting(what)) => Some(what.to_string()),
        Some(Unserved::Missing(_)) => None,
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
