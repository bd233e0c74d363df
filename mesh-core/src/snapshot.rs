//! One generation of configuration: immutable, shared, swapped whole.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::cow_map::CowMap;
use crate::istiod;
use crate::registry::Registry;
use crate::request::split_port;
use crate::route::{ClusterIndex, DomainTable, VirtualHost};

/// The configuration of one generation. Cloning it shares everything.
#[derive(Debug)]
pub struct Snapshot<T = Arc<Target>> {
    /// Counts published changes, from 1; 0 is "nothing yet".
    pub generation: u64,
    /// Route tables by key.
    pub tables: CowMap<TableKey, Table<T>>,
    /// The hosts that the control plane has clusters for.
    pub registry: Arc<Registry>,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self {
            generation: self.generation,
            tables: self.tables.clone(),
            registry: Arc::clone(&self.registry),
        }
    }
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self {
            generation: 0,
            tables: CowMap::new(),
            registry: Arc::default(),
        }
    }
}

/// Which route table a request uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableKey {
    /// Of a workload: by the port that the caller asks for. RDS name `9080`.
    Port(u16),
    /// Of a gateway: by the `Gateway` server's port number. RDS name `http.8080`.
    Gateway(u16),
    /// Of one server of a gateway that ends TLS: servers of one port are told apart by their names. This is the whole RDS
    /// name, `https.8443.<port's name>.<gateway>.<namespace>`.
    Server(Arc<str>),
}

impl TableKey {
    /// Whether it is a gateway's: it has the hosts that were put behind it, and no policy for others.
    pub const fn is_gateway(&self) -> bool {
        matches!(self, Self::Gateway(_) | Self::Server(_))
    }
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::Gateway(port) => write!(f, "http.{port}"),
            Self::Server(name) => f.write_str(name),
        }
    }
}

impl FromStr for TableKey {
    type Err = InvalidTableKey;

    fn from_str(name: &str) -> Result<Self, InvalidTableKey> {
        let port = |text: &str| text.parse().map_err(|_| InvalidTableKey(name.to_owned()));
        if let Some(server) = name.strip_prefix("https.") {
            let at = server.split_once('.').filter(|(_, of)| !of.is_empty());
            let (number, _) = at.ok_or_else(|| InvalidTableKey(name.to_owned()))?;
            return port(number).map(|_: u16| Self::Server(name.into()));
        }
        match name.strip_prefix("http.") {
            Some(text) => port(text).map(Self::Gateway),
            None => port(name).map(Self::Port),
        }
    }
}

/// A route configuration whose name is neither `PORT`, `http.PORT` nor `https.PORT.<server>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "route configuration {0:?}: expected PORT, http.PORT or https.PORT.<port's name>.<gateway>.<namespace>"
)]
pub struct InvalidTableKey(String);

/// The virtual hosts of one route configuration. `T` is what a host leads to: a [`Target`], or what
/// a data plane has made of it.
#[derive(Debug, Clone)]
pub struct Table<T> {
    /// `version_info` of the route configuration.
    pub version: Arc<str>,
    /// `ignore_port_in_host_matching`
    pub ignore_port: bool,
    /// Why the table has no hosts, when it has none.
    pub missing: Option<Missing>,
    /// Hosts, in lower case, that were asked for one by one (gRPC's dialect) and have no target.
    pub unserved: Arc<BTreeMap<Arc<str>, Unserved>>,
    targets: CowMap<Arc<str>, T>,
    /// Domains lead to names: a host whose clusters change leaves its domains as they are.
    domains: DomainTable<Arc<str>>,
}

/// Why a table is not there; the text says who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It does not exist: requests have no route.
    NoSuch(Arc<str>),
    /// It was not sent, or what was sent could not be used: nobody knows whether it exists.
    NotReceived(Arc<str>),
}

/// Why a host that was asked for by its name has no target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unserved {
    /// Something of it has not arrived; the text says what.
    Waiting(Arc<str>),
    /// There is nothing to wait for.
    Missing(Missing),
}

impl<T: Clone> Table<T> {
    /// A table without hosts.
    pub fn new(version: Arc<str>, ignore_port: bool) -> Self {
        Self {
            version,
            ignore_port,
            missing: None,
            unserved: Arc::default(),
            targets: CowMap::new(),
            domains: DomainTable::new(),
        }
    }

    /// What the best domain for an authority leads to.
    pub fn find(&self, authority: &str) -> Option<&T> {
        self.find_split(authority, split_port(authority).0)
    }

    /// The same, for a caller that has already taken the port off.
    pub fn find_split(&self, authority: &str, host: &str) -> Option<&T> {
        let name = self
            .domains
            .find(if self.ignore_port { host } else { authority })?;
        self.targets.get(&**name)
    }

    /// What a virtual host leads to, by its name.
    pub fn target(&self, name: &str) -> Option<&T> {
        self.targets.get(name)
    }

    /// The virtual host for hosts that no other one is for: istiod ends every table of a workload with `allow_any`,
    /// or with `block_all` where the mesh's `outboundTrafficPolicy` is `REGISTRY_ONLY`.
    pub fn catch_all(&self) -> Option<&T> {
        self.target(istiod::ALLOW_ANY)
            .or_else(|| self.target(istiod::BLOCK_ALL))
    }

    /// All of them.
    pub fn targets(&self) -> impl Iterator<Item = &T> {
        self.targets.values()
    }

    /// Lets a virtual host lead to a target. Remove the host's former version first.
    pub fn insert(&mut self, host: &VirtualHost, target: T) {
        for domain in host.domains() {
            self.domains.insert(domain, Arc::clone(host.name()));
        }
        self.update(host, target);
    }

    /// Lets a virtual host that is there lead to another target.
    pub fn update(&mut self, host: &VirtualHost, target: T) {
        self.targets.insert(Arc::clone(host.name()), target);
    }

    /// Removes a virtual host.
    pub fn remove(&mut self, host: &VirtualHost) {
        self.targets.remove(host.name());
        for domain in host.domains() {
            self.domains.remove(domain);
        }
    }
}

/// A virtual host and all that its routes reach: the unit of completeness.
#[derive(Debug)]
pub struct Target {
    /// The host and its routes.
    pub host: Arc<VirtualHost>,
    /// The clusters, in the order of [`VirtualHost::clusters`]; `None` is a cluster that the control plane does not have.
    pub clusters: Box<[Option<Arc<Cluster>>]>,
    /// What is still missing for the first version of this target; calls wait meanwhile.
    pub waiting_for: Option<Arc<str>>,
}

impl Target {
    /// A cluster of one of its routes.
    pub fn cluster(&self, index: ClusterIndex) -> Option<&Arc<Cluster>> {
        self.clusters.get(index.0 as usize)?.as_ref()
    }
}
