//! By what rules connections come in now, and those that have.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwap;
use mesh_core::jwt::Verify;
use mesh_core::server::Inbound;
#[cfg(feature = "tls")]
use mesh_core::tls::ServerTls;
use mesh_xds::Node;
use tokio::sync::watch;
use tokio::time::Instant;

use super::closed::Closed;
use super::connection::Connection;
use super::keys::{Keys, WARMING};
use super::places::Places;
use super::refusal::Refusal;
use crate::mesh::Shared;
use crate::security::Security;
#[cfg(feature = "tls")]
use crate::tls::{Server, Store, TlsError};

/// One for each mesh.
pub(crate) struct Door {
    ways: ArcSwap<Ways>,
    published: watch::Sender<()>,
    /// What tokens are verified by, as far as it is fetched.
    pub(super) keys: Keys,
    /// Rules with keys that nobody has tried to fetch yet: those of before hold until somebody has.
    warming: Mutex<Option<Warming>>,
    /// Whether nobody will ever publish: connections are then not kept in mind.
    is_fixed: bool,
    /// Whether a layer for requests was asked for, without which a server of others cannot guard anything.
    pub(super) is_layered: AtomicBool,
    /// Whether it was told that requests come by other ways.
    has_told: AtomicBool,
    inside: Mutex<Inside>,
    pub(super) places: Places,
    pub(crate) closed: Closed,
    /// By whose client authorizers are asked.
    mesh: OnceLock<Weak<Shared>>,
    pub(super) security: Security,
    #[cfg(feature = "tls")]
    pub(super) store: Arc<Store>,
}

/// The rules of one generation.
pub(super) struct Ways {
    pub(super) inbound: Inbound,
    #[cfg(feature = "tls")]
    servers: Mutex<HashMap<ServerTls, Arc<Server>>>,
}

/// Rules that do not hold yet.
struct Warming {
    inbound: Inbound,
    /// Since when there are some, of these or of a version before them.
    since: Instant,
}

/// The connections that rules may reach.
#[derive(Default)]
struct Inside {
    next: u64,
    all: HashMap<u64, Weak<Connection>>,
}

impl Ways {
    fn new(inbound: Inbound) -> Self {
        Self {
            inbound,
            #[cfg(feature = "tls")]
            servers: Mutex::default(),
        }
    }

    /// Those of before stay with the generation that they were made for.
    #[cfg(feature = "tls")]
    pub(super) fn server(
        &self,
        terms: &ServerTls,
        store: &Arc<Store>,
    ) -> Result<Arc<Server>, TlsError> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(terms) {
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(Server::new(terms, store)?);
        servers.insert(terms.clone(), Arc::clone(&server));
        Ok(server)
    }
}

/// Rules that go away open the door: whoever runs the service has to hear of it. So has who gave the mesh certificates, and
/// takes its callers to be proven.
fn tell(former: &Inbound, now: &Inbound, has_certificates: bool) {
    match (former, now) {
        (_, Inbound::ByAddress(all)) => {
            for (bound, now) in all.iter() {
                let span = tracing::error_span!("listener", %bound);
                span.in_scope(|| tell(former.at(bound), now, has_certificates));
            }
        }
        (Inbound::Closed(former), Inbound::Closed(now)) if former == now => {}
        (Inbound::Rules(_) | Inbound::Closed(_), Inbound::Open(reason)) => tracing::warn!(
            %reason,
            "there are no rules for connections that come in any more: all of them are served, and nothing is authorised"
        ),
        (_, Inbound::Open(reason)) if has_certificates => tracing::warn!(
            %reason,
            "no rules for connections that come in: all of them are served, in plaintext, though this mesh has certificates; have the control plane know of them (`meshctl control-plane` by --authority or --certificates), or demand TLS by Builder::security(Security::Required)"
        ),
        (_, Inbound::Open(reason)) => {
            tracing::info!(%reason, "no rules for connections that come in: all of them are served");
        }
        (_, Inbound::Closed(reason)) => {
            tracing::error!(%reason, "connections that come in are closed");
        }
        (_, Inbound::Rules(rules)) => {
            tracing::debug!(version = %rules.version, "rules for connections that come in");
        }
        (_, Inbound::Waiting) => {}
    }
}

impl Door {
    /// What is open at the beginning is so for good: only a mesh that waits is told of rules. Those of the builder are kept
    /// as all rules are, so that who proves nothing any more leaves.
    pub(crate) fn new(
        inbound: Inbound,
        security: Security,
        node: &Node,
        #[cfg(feature = "tls")] store: Arc<Store>,
    ) -> Self {
        Self {
            is_fixed: matches!(inbound, Inbound::Open(_) | Inbound::Closed(_)),
            ways: ArcSwap::from_pointee(Ways::new(inbound)),
            published: watch::Sender::new(()),
            keys: Keys::default(),
            warming: Mutex::default(),
            security,
            is_layered: AtomicBool::new(false),
            has_told: AtomicBool::new(false),
            inside: Mutex::default(),
            places: Places::new(security, node),
            closed: Closed::default(),
            mesh: OnceLock::new(),
            #[cfg(feature = "tls")]
            store,
        }
    }

    /// Makes rules hold, once it was tried to fetch the keys that they ask for. Rules that change all the time must not keep
    /// those of before in force for ever.
    pub(crate) fn publish(&self, inbound: &Inbound) {
        let mut warming = self.warming();
        let since = warming.take().map_or_else(Instant::now, |it| it.since);
        let are_tried = self.keys.expect(&self.ways.load().inbound, inbound);
        if are_tried || since.elapsed() >= WARMING {
            self.enforce(inbound);
        } else {
            let inbound = inbound.clone();
            *warming = Some(Warming { inbound, since });
            self.published.send_replace(());
        }
    }

    /// Keys were fetched, or could not be.
    pub(super) fn warmed(&self) {
        let mut warming = self.warming();
        if let Some(warm) = warming.take_if(|it| self.keys.are_tried(&it.inbound)) {
            self.enforce(&warm.inbound);
            if let Some(mesh) = self.mesh() {
                mesh.live.forget_callees();
            }
        }
    }

    fn warming(&self) -> std::sync::MutexGuard<'_, Option<Warming>> {
        self.warming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of each publication, until the mesh is gone.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// Makes rules hold for every connection, and every request, that begins from now on. What is inside and would not
    /// be let in any more is asked to leave.
    fn enforce(&self, inbound: &Inbound) {
        let former = self.ways.swap(Arc::new(Ways::new(inbound.clone())));
        tell(&former.inbound, inbound, self.has_certificates());
        self.places.warn(inbound);
        let connections = {
            let inside = self.inside();
            let ways = self.ways.load();
            let connections: Vec<_> = inside.all.values().filter_map(Weak::upgrade).collect();
            for connection in &connections {
                connection.reconsider(&ways);
            }
            connections
        };
        // The last owner of one leaves by the lock.
        drop(connections);
        self.keys.leave_only(inbound);
        self.published.send_replace(());
    }

    #[cfg(feature = "tls")]
    fn has_certificates(&self) -> bool {
        self.store.is_fed()
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_self, reason = "as with the feature")]
    const fn has_certificates(&self) -> bool {
        false
    }

    pub(super) fn ways(&self) -> arc_swap::Guard<Arc<Ways>> {
        self.ways.load()
    }

    /// The rules, once there are any for a listener that is bound there.
    pub(super) async fn known(&self, bound: SocketAddr) -> Arc<Ways> {
        let mut published = self.published.subscribe();
        loop {
            published.borrow_and_update();
            let ways = self.ways.load_full();
            if !matches!(ways.inbound.at(bound), Inbound::Waiting) {
                return ways;
            }
            // The sender is ours.
            let _ = published.changed().await;
        }
    }

    /// Whether there will never be other rules.
    pub(super) const fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Whether requests of connections that nothing is known of pass: there are no rules that they could be judged by.
    pub(super) fn takes_strangers(&self) -> bool {
        let ways = self.ways.load();
        matches!(ways.inbound, Inbound::Open(_))
    }

    /// A request that came by a listener of others.
    pub(super) fn stranger(&self) -> Refusal {
        if !self.has_told.swap(true, Relaxed) {
            tracing::error!(
                "requests are refused, for the rules for connections cannot be asked about them: they came by no `MeshListener`, or axum was not given `into_make_service_with_connect_info::<PeerIdentity>()`"
            );
        }
        Refusal::stranger()
    }

    /// Why a server that has begun to listen is not ready, if it is not.
    pub(crate) fn lacks(&self) -> Option<String> {
        match &self.ways.load().inbound {
            Inbound::Waiting => Some(mesh_xds::Wanted::Inbound.to_string()),
            Inbound::Closed(reason) => Some(format!("rules for connections: {reason}")),
            Inbound::Open(_) => None,
            inbound @ (Inbound::Rules(_) | Inbound::ByAddress(_)) => self.places.lack(inbound),
        }
    }

    /// The time in seconds since 1970 and the cryptography, by which tokens are judged; or why there are none.
    #[cfg(feature = "tls")]
    pub(super) fn tokens(&self) -> Result<(u64, &dyn Verify), &'static str> {
        let now = self.store.now().ok_or("there is no clock")?;
        Ok((now.as_secs(), self.store.jws()?))
    }

    /// Signatures are of rustls' cryptography.
    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_self, reason = "as with the feature")]
    pub(super) const fn tokens(&self) -> Result<(u64, &dyn Verify), &'static str> {
        Err("tokens are verified with the feature `tls` of mesh-tower")
    }

    /// Says whose it is: once, before anything is served.
    pub(crate) fn belongs_to(&self, shared: &Arc<Shared>) {
        // There is one mesh to a door.
        let _ = self.mesh.set(Arc::downgrade(shared));
    }

    /// The mesh, while anybody uses it.
    pub(super) fn mesh(&self) -> Option<Arc<Shared>> {
        self.mesh.get()?.upgrade()
    }

    /// Says that a layer for requests is there.
    pub(super) fn layered(&self) {
        self.is_layered.store(true, Relaxed);
    }

    /// Takes a connection in, by the rules of this moment: from here on, each publication reaches it.
    pub(super) fn enter(&self, make: impl FnOnce(Option<u64>) -> Connection) -> Arc<Connection> {
        if self.is_fixed {
            return Arc::new(make(None));
        }
        let mut inside = self.inside();
        let key = inside.next;
        inside.next += 1;
        let connection = Arc::new(make(Some(key)));
        inside.all.insert(key, Arc::downgrade(&connection));
        connection.begin(&self.ways.load());
        connection
    }

    pub(super) fn left(&self, key: u64) {
        self.inside().all.remove(&key);
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn inside_now(&self) -> usize {
        self.inside().all.len()
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("inbound", &self.ways.load().inbound)
            .finish_non_exhaustive()
    }
}
