//! A history of configurations, and a control plane that sends it as the protocol allows: each type
//! in order, the types in any order to each other, load assignments only when they are new to the
//! stream or have changed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::protobuf::{Any, Duration};
use mesh_xds::{Dialect, ResourceType};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::wire::{self, CDS, EDS, LDS, RDS};

pub(crate) const TABLE_NAME: &str = "9080";
/// A domain that belongs to one host of each configuration, now this one and now that one.
pub(crate) const ROAMING: &str = "roaming";
const SHARED: &str = "shared";
const MOST_HOSTS: u8 = 4;

/// The listeners that there are in gRPC's dialect, one for each domain.
pub(crate) fn targets() -> impl Iterator<Item = String> {
    let hosts = (0..MOST_HOSTS).map(|host| format!("h{host}"));
    let domains = hosts.chain([ROAMING.to_owned()]);
    domains.map(|domain| format!("{domain}:{TABLE_NAME}"))
}

/// One configuration. What belongs together carries the same number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configuration {
    /// The hosts, with the version of each.
    pub(crate) hosts: BTreeMap<u8, HostVersion>,
    /// By service name, which address block it has and which revision it is at.
    pub(crate) services: BTreeMap<String, Service>,
    /// The service that the shared cluster uses.
    shared_service: String,
    connect_timeout: i64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct HostVersion {
    pub(crate) version: u8,
    own_clusters: u8,
    uses_shared: bool,
    pub(crate) roaming: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Service {
    block: [u8; 3],
    pub(crate) revision: u16,
}

impl Service {
    pub(crate) fn address(&self) -> SocketAddr {
        let [a, b, c] = self.block;
        (Ipv4Addr::new(10, a, b, c), 1000 + self.revision).into()
    }
}

/// `h1-v3-0`
pub(crate) fn own_cluster(host: u8, version: u8, at: u8) -> String {
    format!("h{host}-v{version}-{at}")
}

/// The ip address of every revision of a cluster's endpoints; `None` for the shared one.
pub(crate) fn ip_of(cluster: &str) -> Option<Ipv4Addr> {
    let mut parts = cluster
        .split('-')
        .map(|part| part.trim_start_matches(['h', 'v']).parse());
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(host)), Some(Ok(version)), Some(Ok(at))) => {
            Some(Ipv4Addr::new(10, host, version, at))
        }
        _ => None,
    }
}

impl HostVersion {
    fn clusters(&self, host: u8) -> Vec<String> {
        let own = (0..self.own_clusters).map(|at| own_cluster(host, self.version, at));
        own.chain(self.uses_shared.then(|| SHARED.to_owned()))
            .collect()
    }

    fn message(&self, host: u8) -> VirtualHost {
        let name = format!("h{host}");
        let mut domains = vec![&*name];
        if self.roaming {
            domains.push(ROAMING);
        }
        let clusters = self.clusters(host);
        let split: Vec<_> = clusters
            .iter()
            .map(|cluster| (&**cluster, 1 + u32::from(self.version)))
            .collect();
        let mut message = wire::host_message(&name, &domains, &split);
        message.routes[0].name = format!("h{host}-v{}", self.version);
        message
    }
}

/// `length` configurations, each a random step from the one before.
pub(crate) fn history(length: u8, rng: &mut StdRng) -> Vec<Configuration> {
    let mut all: Vec<Configuration> = Vec::new();
    let count = rng.random_range(2..=MOST_HOSTS);
    for index in 1..=length {
        let former = all.last().cloned().unwrap_or_default();
        all.push(step(&former, index, count, rng));
    }
    all
}

fn step(former: &Configuration, index: u8, count: u8, rng: &mut StdRng) -> Configuration {
    let mut next = Configuration {
        shared_service: format!("{SHARED} {}", rng.random_range(0..2)),
        connect_timeout: rng.random_range(1..3),
        ..Configuration::default()
    };
    let mut present: Vec<u8> = (0..count).filter(|_| rng.random_ratio(5, 6)).collect();
    if present.is_empty() {
        present.push(0);
    }
    let roams_to = present[rng.random_range(0..present.len())];
    for host in present {
        let roaming = host == roams_to;
        let same = former
            .hosts
            .get(&host)
            .filter(|same| same.roaming == roaming && rng.random_bool(0.5));
        let version = same.cloned().unwrap_or_else(|| HostVersion {
            version: index,
            own_clusters: rng.random_range(1..=3),
            uses_shared: rng.random_bool(0.4),
            roaming,
        });
        for at in 0..version.own_clusters {
            let name = own_cluster(host, version.version, at);
            let block = [host, version.version, at];
            next.serve(former, name, block, rng);
        }
        if version.uses_shared {
            next.serve(former, next.shared_service.clone(), [200, 0, 0], rng);
        }
        next.hosts.insert(host, version);
    }
    next
}

impl Configuration {
    fn serve(&mut self, former: &Self, name: String, block: [u8; 3], rng: &mut StdRng) {
        let before = former
            .services
            .get(&name)
            .map_or(0, |service| service.revision);
        let revision = before + u16::from(rng.random_bool(0.3));
        self.services
            .entry(name)
            .or_insert(Service { block, revision });
    }

    /// All resources of one type, by name.
    pub(crate) fn resources(&self, of: ResourceType) -> BTreeMap<String, Any> {
        match of {
            ResourceType::Cluster => {
                let names: BTreeSet<String> = self
                    .hosts
                    .iter()
                    .flat_map(|(host, version)| version.clusters(*host))
                    .collect();
                names
                    .into_iter()
                    .map(|name| (name.clone(), self.cluster(&name)))
                    .collect()
            }
            ResourceType::Endpoints => {
                let message = |(name, service): (&String, &Service)| {
                    let message = wire::assignment(name, &[service.address()]);
                    (name.clone(), wire::any(EDS, &message))
                };
                self.services.iter().map(message).collect()
            }
            ResourceType::Route => {
                let hosts = self
                    .hosts
                    .iter()
                    .map(|(host, version)| version.message(*host));
                let table = wire::routes(TABLE_NAME, hosts.collect());
                BTreeMap::from([(TABLE_NAME.to_owned(), table)])
            }
            // Each leads to the same routes, also where those have nothing for it.
            ResourceType::Listener => targets()
                .map(|name| (name.clone(), wire::listener(&name, TABLE_NAME)))
                .collect(),
        }
    }

    fn cluster(&self, name: &str) -> Any {
        let service = if name == SHARED {
            &*self.shared_service
        } else {
            ""
        };
        let mut message = wire::cluster_message(name, service);
        message.connect_timeout = Some(Duration {
            seconds: self.connect_timeout,
            nanos: 0,
        });
        wire::any(CDS, &message)
    }
}

/// What a stream has of one type.
#[derive(Debug, Default)]
struct Stream {
    /// `None` until the first request.
    names: Option<BTreeSet<String>>,
    /// Names and bytes that were sent.
    sent: BTreeMap<String, Vec<u8>>,
    in_flight: VecDeque<DiscoveryResponse>,
    /// Of the last response.
    nonce: String,
}

/// The control plane and the wire.
#[derive(Debug)]
pub(crate) struct Plane {
    dialect: Dialect,
    history: Vec<[BTreeMap<String, Any>; 4]>,
    pub(crate) current: usize,
    streams: [Stream; 4],
    requests: VecDeque<DiscoveryRequest>,
    nonces: u64,
    /// What the client refused.
    pub(crate) nacks: Vec<String>,
}

impl Plane {
    pub(crate) fn new(history: &[Configuration], dialect: Dialect) -> Self {
        let all = |configuration: &Configuration| {
            ResourceType::ALL.map(|resource_type| configuration.resources(resource_type))
        };
        Self {
            dialect,
            history: history.iter().map(all).collect(),
            current: 0,
            streams: Default::default(),
            requests: VecDeque::new(),
            nonces: 0,
            nacks: Vec::new(),
        }
    }

    /// The next configuration is in force.
    pub(crate) fn advance(&mut self) -> bool {
        if self.current + 1 == self.history.len() {
            return false;
        }
        self.current += 1;
        ResourceType::ALL
            .into_iter()
            .for_each(|resource_type| self.push(resource_type));
        true
    }

    /// Whether all is sent of a type, asked for or not.
    fn is_wildcard(&self, of: ResourceType) -> bool {
        of == CDS && self.dialect == Dialect::Sidecar
    }

    pub(crate) fn request(&mut self, request: DiscoveryRequest) {
        self.requests.push_back(request);
    }

    /// Reads one request.
    pub(crate) fn read(&mut self) -> bool {
        let Some(request) = self.requests.pop_front() else {
            return false;
        };
        if let Some(error) = request.error_detail {
            self.nacks.push(error.message);
        }
        let of = ResourceType::from_type_url(&request.type_url).expect("a known type");
        let is_wildcard = self.is_wildcard(of);
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        let stream = &mut self.streams[of as usize];
        // A response has crossed it: as istiod and go-control-plane do, which wait for the answer to that one.
        if request.response_nonce != stream.nonce {
            return true;
        }
        stream
            .sent
            .retain(|name, _| is_wildcard || names.contains(name));
        stream.names = Some(names);
        self.push(of);
        true
    }

    /// Sends what the stream does not have.
    fn push(&mut self, of: ResourceType) {
        let is_wildcard = self.is_wildcard(of);
        let is_whole = of == CDS || of == LDS;
        let all = &self.history[self.current][of as usize];
        let stream = &mut self.streams[of as usize];
        let Some(names) = &stream.names else { return };
        let differs = |(name, any): &(&String, &Any)| stream.sent.get(*name) != Some(&any.value);
        let asked = || {
            all.iter()
                .filter(|(name, _)| is_wildcard || names.contains(*name))
        };
        let is_news = asked().any(|entry| differs(&entry))
            || is_whole && stream.sent.keys().any(|name| !all.contains_key(name));
        if !is_news {
            return;
        }
        // CDS and LDS are the whole state; of the others what is new.
        let resources: Vec<(&String, &Any)> =
            asked().filter(|entry| is_whole || differs(entry)).collect();
        if is_whole {
            stream.sent.clear();
        }
        let sent = resources
            .iter()
            .map(|(name, any)| ((*name).clone(), any.value.clone()));
        stream.sent.extend(sent.collect::<Vec<_>>());
        self.nonces += 1;
        let resources = resources.into_iter().map(|(_, any)| any.clone()).collect();
        let version = self.current.to_string();
        stream.nonce = self.nonces.to_string();
        let response = wire::response(of, &version, &stream.nonce, resources);
        stream.in_flight.push_back(response);
    }

    /// Takes the oldest response of one type off the wire.
    pub(crate) fn take(&mut self, rng: &mut impl Rng) -> Option<DiscoveryResponse> {
        let types: Vec<usize> = (0..self.streams.len())
            .filter(|at| !self.streams[*at].in_flight.is_empty())
            .collect();
        let at = *types.get(rng.random_range(0..types.len().max(1)))?;
        self.streams[at].in_flight.pop_front()
    }

    /// The stream broke: what was on the wire is lost.
    pub(crate) fn break_off(&mut self) {
        self.streams = Default::default();
        self.requests.clear();
    }

    /// Whether a table was asked for.
    pub(crate) fn knows_table(&self) -> bool {
        self.streams[RDS as usize].names.is_some()
    }
}
