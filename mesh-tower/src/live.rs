//! A snapshot with what changes per call attached to it: pools and counters, carried from one
//! generation to the next by (cluster, address).

mod callees;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use mesh_core::cluster::{Cluster, Discovery, Transport};
use mesh_core::explain::Reaches;
use mesh_core::lb::Cursor;
use mesh_core::route::{ClusterIndex, VirtualHost};
use mesh_core::snapshot::{Snapshot, Table, TableKey, Target};
use mesh_xds::{Assembled, Change};
use rand::Rng;
use tokio::sync::watch;

use crate::pool::{EndpointPool, Pools};
use crate::random::SplitMix;
use crate::security::Permits;
use crate::server::Door;
use crate::telemetry::{Cells, Edge, Edges, Errors, service_of};
use crate::weak_map::WeakMap;
use callees::Callees;

/// What requests read: one load, then no lock and no look-up by name.
pub(crate) type LiveSnapshot = Snapshot<Arc<LiveTarget>>;

/// A target whose clusters have pools.
#[derive(Debug)]
pub(crate) struct LiveTarget {
    pub(crate) host: Arc<VirtualHost>,
    pub(crate) waiting_for: Option<Arc<str>>,
    clusters: Box<[Option<Arc<LiveCluster>>]>,
    /// Where calls are counted that get to no cluster; made at the first.
    edge: OnceLock<Arc<Edge>>,
}

impl Reaches for LiveTarget {
    fn host(&self) -> &Arc<VirtualHost> {
        &self.host
    }

    fn model(&self, index: ClusterIndex) -> Option<&Arc<Cluster>> {
        self.cluster(index).map(|cluster| &cluster.model)
    }
}

impl LiveTarget {
    pub(crate) fn cluster(&self, index: ClusterIndex) -> Option<&Arc<LiveCluster>> {
        self.clusters.get(index.0 as usize)?.as_ref()
    }

    pub(crate) fn edge(&self, edges: &Edges) -> &Arc<Edge> {
        let made = || edges.of_virtual_host(self.host.name());
        self.edge.get_or_init(made)
    }
}

/// A cluster with its pools, in the order of its endpoints.
#[derive(Debug)]
pub(crate) struct LiveCluster {
    pub(crate) model: Arc<Cluster>,
    pub(crate) endpoints: Box<[Arc<EndpointPool>]>,
    pub(crate) cursor: Arc<Cursor>,
    pub(crate) cells: Arc<Cells>,
    /// Where calls are counted that get to no endpoint.
    pub(crate) edge: Arc<Edge>,
}

impl LiveCluster {
    /// The new version of a cluster keeps what its endpoints had, where they are still the same.
    fn new(
        model: &Arc<Cluster>,
        former: Option<&Self>,
        pools: &mut Pools,
        errors: &Arc<Errors>,
        edges: &Edges,
        rng: &mut SplitMix,
    ) -> Self {
        let service = service_of(model);
        let mut kept: HashMap<_, _> = former
            .into_iter()
            .flat_map(|former| former.endpoints.iter().map(|pool| (pool.address, pool)))
            .collect();
        let pools = model
            .endpoints
            .iter()
            .map(|endpoint| match kept.remove(&endpoint.address) {
                Some(pool) if pool.fits(endpoint, model, &service) => Arc::clone(pool),
                _ => {
                    let edge = edges.to(&service, endpoint.workload.as_ref());
                    Arc::new(EndpointPool::new(endpoint, model, pools, edge))
                }
            });
        Self {
            endpoints: pools.collect(),
            model: Arc::clone(model),
            edge: edges.to(&service, None),
            cursor: former.map_or_else(
                || Arc::new(Cursor::starting_at(rng.next_u64() >> 32)),
                |former| Arc::clone(&former.cursor),
            ),
            cells: former.map_or_else(
                || Arc::new(Cells::with_errors(Arc::clone(errors))),
                |former| Arc::clone(&former.cells),
            ),
        }
    }

    /// A cluster of no configuration: calls go where the caller asks, in the caller's HTTP version.
    pub(crate) fn following_the_caller(
        model: Cluster,
        errors: &Arc<Errors>,
        edges: &Edges,
    ) -> Self {
        let model = Cluster {
            discovery: Discovery::OriginalDestination {
                transport: Transport::Plaintext,
                callers_version: true,
            },
            ..model
        };
        Self {
            endpoints: Box::default(),
            edge: edges.to(&service_of(&model), None),
            model: Arc::new(model),
            cursor: Arc::new(Cursor::starting_at(0)),
            cells: Arc::new(Cells::with_errors(Arc::clone(errors))),
        }
    }
}

/// The one place where a generation becomes visible.
#[derive(Debug)]
pub(crate) struct Live {
    current: ArcSwap<LiveSnapshot>,
    generation: watch::Sender<u64>,
    callees: Callees,
    used: Mutex<Used>,
    errors: Arc<Errors>,
    edges: Arc<Edges>,
    /// Where connections come in.
    door: Arc<Door>,
}

impl Live {
    pub(crate) fn new(
        errors: Arc<Errors>,
        edges: Arc<Edges>,
        door: Arc<Door>,
        permits: Permits,
    ) -> Self {
        Self {
            errors,
            edges,
            door,
            current: ArcSwap::default(),
            callees: Callees::default(),
            generation: watch::Sender::new(0),
            used: Mutex::new(Used {
                clusters: WeakMap::default(),
                pools: Pools::new(permits),
            }),
        }
    }

    /// The current generation; the guard must not be held over an await.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<LiveSnapshot>> {
        self.current.load()
    }

    /// Wakes whoever waits for a newer generation.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// A cluster that a server calls by its name, once it has arrived; none where the control plane has none.
    pub(crate) async fn callee(&self, name: &str) -> Option<Arc<LiveCluster>> {
        let mut generations = self.generation.subscribe();
        loop {
            generations.borrow_and_update();
            if let Some(known) = self.callees.find(name) {
                return known;
            }
            // The sender is ours.
            let _ = generations.changed().await;
        }
    }

    /// Rules that held until now may be gone.
    pub(crate) fn forget_callees(&self) {
        self.callees.forget_unused();
    }

    /// Every cluster that the configuration reaches.
    pub(crate) fn clusters(&self) -> Vec<Arc<LiveCluster>> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut clusters: Vec<_> = used.clusters.values().collect();
        clusters.sort_by(|a, b| a.model.name.cmp(&b.model.name));
        clusters
    }

    /// Makes a generation visible to every request that begins from now on. Costs what has changed.
    pub(crate) fn publish(&self, assembled: &Assembled, rng: &mut SplitMix) {
        // Before the rules that name them.
        let callees = assembled.callees.as_ref().map(|callees| {
            let live = callees.iter().map(|(name, model)| {
                let cluster = model.as_ref().map(|model| self.live_cluster(model, rng));
                (Arc::clone(name), cluster)
            });
            live.collect()
        });
        self.callees.publish(callees, assembled.inbound.as_deref());
        if let Some(inbound) = &assembled.inbound {
            self.door.publish(inbound);
            self.callees.forget_unused();
        }
        let mut next = LiveSnapshot::clone(&self.current.load());
        next.generation = assembled.snapshot.generation;
        next.registry = Arc::clone(&assembled.snapshot.registry);
        let mut touched: HashMap<TableKey, Table<Arc<LiveTarget>>> = HashMap::new();
        for key in assembled
            .tables
            .iter()
            .chain(assembled.changes.iter().map(|change| &change.table))
        {
            if let Some(model) = assembled.snapshot.tables.get(key) {
                let former = next.tables.get(key);
                touched.entry(key.clone()).or_insert_with(|| {
                    let mut table = former.cloned().unwrap_or_else(|| {
                        Table::new(Arc::clone(&model.version), model.ignore_port)
                    });
                    table.version = Arc::clone(&model.version);
                    table.ignore_port = model.ignore_port;
                    table.missing.clone_from(&model.missing);
                    table.unserved = Arc::clone(&model.unserved);
                    table
                });
            }
        }
        self.apply(&assembled.changes, &mut touched, rng);
        for (key, table) in touched {
            next.tables.insert(key, table);
        }
        let generation = next.generation;
        // The former generation is freed here, on the publisher's thread.
        drop(self.current.swap(Arc::new(next)));
        self.forget_unused(&assembled.changes);
        self.generation.send_replace(generation);
    }

    fn apply(
        &self,
        changes: &[Change],
        touched: &mut HashMap<TableKey, Table<Arc<LiveTarget>>>,
        rng: &mut SplitMix,
    ) {
        // All removals first: a domain may move from one host to another.
        for (change, old) in changes
            .iter()
            .filter_map(|change| Some((change, change.leaving()?)))
        {
            if let Some(table) = touched.get_mut(&change.table) {
                table.remove(&old.host);
            }
        }
        for (change, new) in changes
            .iter()
            .filter_map(|change| Some((change, change.new.as_ref()?)))
        {
            let live = Arc::new(self.live(new, rng));
            match touched.get_mut(&change.table) {
                Some(table) if change.keeps_host() => table.update(&new.host, live),
                Some(table) => table.insert(&new.host, live),
                None => {}
            }
        }
    }

    fn live(&self, target: &Target, rng: &mut SplitMix) -> LiveTarget {
        let clusters = target
            .clusters
            .iter()
            .map(|model| Some(self.live_cluster(model.as_ref()?, rng)));
        LiveTarget {
            clusters: clusters.collect(),
            host: Arc::clone(&target.host),
            waiting_for: target.waiting_for.clone(),
            edge: OnceLock::new(),
        }
    }

    fn live_cluster(&self, model: &Arc<Cluster>, rng: &mut SplitMix) -> Arc<LiveCluster> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let Used { clusters, pools } = &mut *used;
        let former = clusters.get(&model.name);
        if let Some(same) = former
            .as_ref()
            .filter(|former| Arc::ptr_eq(&former.model, model))
        {
            return Arc::clone(same);
        }
        let former = former.as_deref();
        let cluster = Arc::new(LiveCluster::new(
            model,
            former,
            pools,
            &self.errors,
            &self.edges,
            rng,
        ));
        clusters.insert(Arc::clone(&model.name), &cluster);
        cluster
    }

    /// Names whose last cluster is gone must not stay for ever. A request that still runs may hold
    /// one a little longer, so from time to time all are looked at.
    fn forget_unused(&self, changes: &[Change]) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = changes
            .iter()
            .filter_map(|change| change.old.as_ref())
            .flat_map(|old| old.host.clusters());
        for name in gone {
            used.clusters.forget(name);
        }
        used.clusters.sweep();
        used.pools.sweep();
    }
}

/// What is found again by name, while anybody uses it.
#[derive(Debug)]
struct Used {
    /// The newest version of each.
    clusters: WeakMap<Arc<str>, LiveCluster>,
    pools: Pools,
}
