//! Resources -> snapshots: what is complete is published, what is not stays at its previous version.
//!
//! The unit of completeness is the *target*: a virtual host and every cluster that its routes name.
//! A host whose new version names a cluster that has not arrived keeps its old version with the old
//! clusters, while every other host moves. Only what changed is looked at again.

mod callees;
mod clusters;
mod entries;
mod generation;
mod hosts;
mod inbound;
mod listeners;
mod named;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_core::Registry;
use mesh_core::snapshot::{Missing, Snapshot, TableKey, Unserved};

use crate::decode::endpoints::EndpointsResource;
use crate::decode::inbound::Side;
use crate::decode::route::RouteResource;
use crate::dialect::Dialect;
use crate::dns::{Answer, Lookup};
use crate::listener_name::Wanted;
use crate::resource::ResourceType;
use callees::Called;
use clusters::{Assignment, Clusters};
pub(crate) use entries::{Entry, Held};
pub use generation::{Assembled, Callees, Change};
use hosts::{Hosts, TableState};
use inbound::Inbounds;
use listeners::Listeners;
use servers::Servers;

/// How long a host waits for a cluster that the control plane's CDS does not list, before it is
/// published with that cluster missing (its requests then get 503 `NC`). A control plane that sends
/// routes before clusters is given this long; one that names a cluster that does not exist is
/// found out after it.
pub const MISSING_CLUSTER_GRACE: Duration = Duration::from_secs(2);

/// How long a resource that was asked for by name may take before it counts as not existing (gRPC A57).
pub const DOES_NOT_EXIST_AFTER: Duration = Duration::from_secs(15);

/// The cache of resources and the assembly of snapshots from it.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    clusters: Clusters,
    hosts: Hosts,
    /// In gRPC's dialect, what the tables are made of.
    listeners: Option<Listeners>,
    /// What servers asked for, once they have.
    inbound: Option<Inbounds>,
    /// Whose listeners they are.
    side: Side,
    /// The clusters that these servers call by name.
    callees: Called,
    /// In gRPC's dialect, what servers asked for.
    servers: Servers,
    /// Whom errors call the other side.
    server: Arc<str>,
    /// By table, the hosts that were asked for and have no target.
    unserved: BTreeMap<TableKey, Arc<BTreeMap<Arc<str>, Unserved>>>,
    snapshot: Snapshot,
    /// Whose short names for hosts count.
    namespace: Box<str>,
    /// What differs from the published one.
    registry: Option<Arc<Registry>>,
    /// What each table asks for and does not get, in words.
    ignored: BTreeMap<TableKey, Vec<Arc<str>>>,
}

impl Assembler {
    /// An empty one, for a client of this namespace.
    pub(crate) fn new(namespace: &str, dialect: Dialect) -> Self {
        let (clusters, listeners) = match dialect {
            Dialect::Sidecar => (Clusters::default(), None),
            Dialect::Grpc => (Clusters::by_name(), Some(Listeners::default())),
        };
        Self {
            namespace: namespace.into(),
            clusters,
            listeners,
            ..Self::default()
        }
    }

    /// The same for a gateway.
    pub(crate) fn of_gateway(self) -> Self {
        Self {
            side: Side::Gateway,
            ..self
        }
    }

    /// Adds to what is wanted. Returns whether it is new; what the dialect has no word for is not.
    pub(crate) fn want(&mut self, wanted: Wanted) -> bool {
        match (&mut self.listeners, wanted) {
            (None, Wanted::Table(table)) => self.hosts.want(table),
            (Some(listeners), Wanted::Listener(name)) => {
                let is_new = listeners.want(name);
                if is_new {
                    self.compose();
                }
                is_new
            }
            (None, Wanted::Inbound) => {
                let is_new = self.inbound.is_none();
                self.inbound.get_or_insert_default();
                is_new
            }
            (_, Wanted::Server(listener)) => self.want_server(&listener),
            (None, Wanted::Listener(_)) | (Some(_), Wanted::Table(_) | Wanted::Inbound) => false,
        }
    }

    /// The tables that are wanted.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = TableKey> {
        self.hosts.tables().map(|(key, _)| key.clone())
    }

    /// The load assignments that the wanted hosts need.
    pub(crate) fn endpoint_names(&mut self) -> Arc<BTreeSet<Arc<str>>> {
        self.clusters.endpoint_names()
    }

    /// Whether a table is among them.
    pub(crate) fn is_wanted(&self, table: &TableKey) -> bool {
        self.hosts.table(table).is_some()
    }

    /// Whether a table has content.
    pub(crate) fn has_table(&self, table: &TableKey) -> bool {
        matches!(self.hosts.table(table), Some(TableState::Known { .. }))
    }

    /// Whether a table has been answered, with content or with "no such".
    fn is_table_answered(&self, table: &TableKey) -> bool {
        self.hosts
            .table(table)
            .is_some_and(|state| !matches!(state, TableState::Waiting))
    }

    /// Whether everything that is wanted has been answered, with content or with "no such".
    pub(crate) fn has_all(&mut self) -> bool {
        let mut tables = self.hosts.tables();
        let tables = tables.all(|(_, state)| !matches!(state, TableState::Waiting));
        let names = self.clusters.endpoint_names();
        let listeners = self.listeners.as_ref();
        let inbound = self.inbound.as_ref();
        tables
            && inbound.is_none_or(Inbounds::is_answered)
            && self.servers.is_all_answered()
            && listeners.is_none_or(Listeners::is_all_answered)
            && self.clusters.is_known()
            && names.iter().all(|name| self.clusters.has_endpoints(name))
    }

    /// The names that clusters of DNS types need looked up, and how often.
    pub(crate) fn wanted_lookups(&self) -> Arc<BTreeMap<Lookup, Duration>> {
        self.clusters.wanted_lookups()
    }

    /// A name was looked up.
    pub(crate) fn set_answer(&mut self, lookup: &Lookup, answer: Answer) {
        self.clusters.set_answer(lookup, answer);
    }

    /// The source hands over everything at once: what is not there does not exist, and nothing waits.
    pub(crate) fn is_whole(&mut self) {
        self.hosts.missing_grace = Duration::ZERO;
    }

    /// Takes the whole set of clusters in wire form. With `keep`, clusters that are not in it stay:
    /// one of them may be what could not be read.
    pub(crate) fn set_clusters(
        &mut self,
        version: &Arc<str>,
        clusters: BTreeMap<Arc<str>, Vec<u8>>,
        keep: bool,
    ) {
        if self.clusters.replace(version, clusters, keep) {
            self.renew_registry();
        }
    }

    /// The wire form of a cluster that is listed.
    pub(crate) fn cluster(&self, name: &str) -> Option<Vec<u8>> {
        self.clusters.wire(name).cloned()
    }

    /// Takes clusters in wire form that are new or have changed, and the names of those that are gone.
    pub(crate) fn change_clusters(
        &mut self,
        version: &Arc<str>,
        changed: BTreeMap<Arc<str>, Vec<u8>>,
        removed: &[Arc<str>],
    ) {
        if self.clusters.change(version, changed, removed) {
            self.renew_registry();
        }
    }

    fn renew_registry(&mut self) {
        let registry = Registry::of_clusters(self.clusters.names(), &self.namespace);
        let differs = registry != *self.snapshot.registry;
        self.registry = differs.then(|| Arc::new(registry));
    }

    /// The names of the resources of a type that are there and can be used.
    pub(crate) fn cached(&self, resource_type: ResourceType) -> Vec<Arc<str>> {
        if let Some(named) = self.cached_by_name(resource_type) {
            return named;
        }
        match resource_type {
            ResourceType::Cluster => self.clusters.names().map(Into::into).collect(),
            ResourceType::Endpoints => self.clusters.known_endpoints().cloned().collect(),
            ResourceType::Route => {
                let known = self.hosts.tables();
                let known = known.filter(|(_, state)| matches!(state, TableState::Known { .. }));
                known.map(|(key, _)| key.to_string().into()).collect()
            }
            ResourceType::Listener => {
                let inbound = self.inbound.iter().flat_map(Inbounds::names);
                inbound.cloned().collect()
            }
        }
    }

    /// Who hands resources over from now on.
    pub(crate) fn served_by(&mut self, server: &Arc<str>) {
        self.server = Arc::clone(server);
    }

    /// The control plane is out of reach: no host is given up while nothing can arrive.
    pub(crate) fn pause(&mut self) {
        self.hosts.pause();
    }

    /// It is back.
    pub(crate) fn resume(&mut self) {
        self.hosts.resume();
    }

    /// Takes the endpoints of one cluster.
    pub(crate) fn set_endpoints(&mut self, name: Arc<str>, endpoints: EndpointsResource) {
        self.clusters
            .set_endpoints(name, Assignment::Known(endpoints));
    }

    /// Records that a load assignment does not exist: its clusters have no endpoints.
    pub(crate) fn endpoints_absent(&mut self, name: Arc<str>) {
        self.clusters.set_endpoints(name, Assignment::Absent);
    }

    /// Records that a load assignment was sent and cannot be used. What is known of it stays; that it did not exist is
    /// over, and of several faults the last one is told.
    pub(crate) fn endpoints_refused(&mut self, name: &Arc<str>, fault: Arc<str>) {
        if !self.clusters.knows_assignment(name) {
            self.clusters
                .set_endpoints(Arc::clone(name), Assignment::Refused(fault));
        }
    }

    /// Whether a load assignment has been answered.
    pub(crate) fn has_endpoints(&self, name: &str) -> bool {
        self.clusters.has_endpoints(name)
    }

    /// Takes a route configuration. Those that nobody wants are ignored.
    pub(crate) fn set_route(&mut self, version: &Arc<str>, mut route: RouteResource, wire: &[u8]) {
        if let Some(listeners) = &mut self.listeners {
            listeners.set_route(route, wire.to_vec());
            return self.compose();
        }
        let Ok(key) = route.name.parse() else {
            return;
        };
        if self.hosts.table(&key).is_none() {
            return;
        }
        let ignored = std::mem::take(&mut route.ignored).into_iter();
        let ignored = ignored.map(|what| format!("route configuration {:?}: {what}", route.name));
        let ignored = ignored.map(Into::into).collect();
        self.ignored.insert(key.clone(), ignored);
        self.hosts.set(key, version, route, &mut self.clusters);
    }

    /// What the resources in force ask for and do not get.
    pub(crate) fn ignored(&self) -> Vec<Arc<str>> {
        let tables = self.ignored.values().flatten().cloned();
        let listeners = self.listeners.iter().flat_map(Listeners::ignored);
        let inbound = self.inbound.iter().flat_map(Inbounds::ignored);
        tables
            .chain(listeners)
            .chain(inbound)
            .chain(self.servers.ignored())
            .chain(self.clusters.ignored())
            .collect()
    }

    /// Whether that may differ, for a cluster or a load assignment, from when this was asked last.
    pub(crate) fn take_ignored_changed(&mut self) -> bool {
        self.clusters.take_ignored_changed()
    }

    /// Records that a table does not exist.
    pub(crate) fn table_absent(&mut self, table: TableKey, reason: Missing) {
        self.hosts.set_absent(table, reason);
    }

    /// Empties a table of a source that can take tables away.
    pub(crate) fn table_gone(&mut self, table: TableKey, reason: Arc<str>) {
        let reason = Missing::NoSuch(reason);
        let empty = RouteResource {
            name: table.to_string().into(),
            ignore_port: true,
            hosts: Vec::new(),
            ignored: Vec::new(),
        };
        self.ignored.remove(&table);
        if matches!(self.hosts.table(&table), Some(TableState::Known { .. })) {
            self.hosts
                .set(table.clone(), &"".into(), empty, &mut self.clusters);
        }
        self.hosts.set_absent(table, reason);
    }

    /// Faults of the clusters that are in use: of the last response, and those found since then in
    /// clusters that were first looked at when a route named them.
    pub(crate) fn take_cluster_faults(&mut self) -> impl Iterator<Item = crate::Rejected> + use<> {
        self.clusters.take_faults()
    }

    /// When to call [`Self::assemble`] although nothing arrives.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.hosts.wake_at()
    }
}
