//! Random valid updates in any order never show a request a mixed configuration.
//!
//! Histories of consistent configurations reach the machine in random interleavings, with streams
//! that break. After every event each published host must be of one version: its routes, the
//! clusters that they name and the endpoints of each. At the end the newest version is there.
//! `MESH_XDS_SEED` sets the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::{
    RouteConfiguration, VirtualHost, route::Action, route_action::ClusterSpecifier,
};
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use mesh_core::snapshot::{Snapshot, Table, TableKey, Target};
use mesh_xds::ads::Machine;
use mesh_xds::{Dialect, ListenerName, MISSING_CLUSTER_GRACE, Node, ResourceType};
use plane::{Configuration, Plane, ROAMING, history, ip_of, targets};
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/plane.rs"]
mod plane;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const TABLE: TableKey = TableKey::Port(9080);
/// Over both tests of sidecars below, which run side by side.
const CASES: u64 = 10_000;

fn seed() -> u64 {
    let seed = std::env::var("MESH_XDS_SEED").map_or(0x6d65_7368, |text| {
        text.parse().expect("MESH_XDS_SEED is a number")
    });
    eprintln!("MESH_XDS_SEED={seed}");
    seed
}

/// The same in gRPC's dialect, every second of which is played.
const CASES_IN_GRPC: u64 = 2000;

/// One history, the machine that is told it, and what was seen of it.
struct Case {
    dialect: Dialect,
    history: Vec<Configuration>,
    plane: Plane,
    machine: Machine,
    naive: Naive,
    now: Instant,
    begun: Instant,
    rng: StdRng,
    snapshot: Snapshot,
    /// Hosts that have been served, and have not disappeared since.
    served: BTreeSet<String>,
    /// The version of the configuration from which the roaming domain was served last.
    roamed: usize,
    /// Whether it has been served.
    roams: bool,
    /// Written only when a case that has failed is played again.
    log: Option<Vec<String>>,
}

impl Case {
    fn new(seed: u64, dialect: Dialect) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let length = rng.random_range(2..=5);
        let history = history(length, &mut rng);
        let node = Node::sidecar("a", "default").with_dialect(dialect);
        let mut machine = Machine::new(node, "plane");
        match dialect {
            Dialect::Sidecar => drop(machine.want(TABLE)),
            Dialect::Grpc => targets().for_each(|target| {
                machine.want(target.parse::<ListenerName>().expect("host:port"));
            }),
        }
        machine.connected();
        let now = Instant::now();
        Self {
            dialect,
            plane: Plane::new(&history, dialect),
            history,
            machine,
            naive: Naive::default(),
            now,
            begun: now,
            rng,
            snapshot: Snapshot::default(),
            served: BTreeSet::new(),
            roamed: 0,
            roams: false,
            log: None,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        // The newest configuration arrives in part while others are on their way, then wholly.
        let mut left = self.rng.random_range(1..3);
        while left > 0 {
            match self.rng.random_range(0..100) {
                0..3 => self.reconnect(),
                3..10 if self.plane.knows_table() => {
                    if self.plane.advance() {
                        self.note(|| "advance".to_owned());
                    } else {
                        left -= 1;
                    }
                }
                10..30 => self.send(1),
                30..55 => drop(self.plane.read()),
                _ => {
                    if self.receive() {
                        self.look()?;
                    }
                }
            }
        }
        loop {
            self.send(usize::MAX);
            let (read, received) = (self.plane.read(), self.receive());
            if received {
                self.look()?;
            }
            if !read && !received {
                break;
            }
        }
        self.end()
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(text());
        }
    }

    fn send(&mut self, most: usize) {
        for _ in 0..most {
            let Some(request) = self.machine.request(self.now) else {
                return;
            };
            self.note(|| format!("{} {:?}", request.type_url, request.resource_names));
            self.plane.request(wire::read(&request));
        }
    }

    fn receive(&mut self) -> bool {
        let Some(response) = self.plane.take(&mut self.rng) else {
            return false;
        };
        let (version, count) = (&response.version_info, response.resources.len());
        self.note(|| format!("got {version}: {count} of {}", response.type_url));
        self.naive.take(&response);
        self.machine.received(response);
        true
    }

    fn reconnect(&mut self) {
        self.note(|| "reconnect".to_owned());
        self.plane.break_off();
        self.machine.disconnected("gone", self.now, &mut self.rng);
        self.machine.connected();
    }

    /// Publishes what has become complete, and looks at it as a request does.
    fn look(&mut self) -> Result<(), String> {
        // No host may be given up in this time.
        let spent = self.now - self.begun;
        if spent + Duration::from_millis(20) < MISSING_CLUSTER_GRACE {
            self.now += Duration::from_millis(self.rng.random_range(0..20));
        }
        let Some(assembled) = self.machine.assemble(self.now) else {
            return Ok(());
        };
        replayed(&self.snapshot, &assembled.snapshot, &assembled.changes)?;
        self.snapshot = assembled.snapshot;
        let Some(table) = self.snapshot.tables.get(&TABLE) else {
            return Ok(());
        };
        let mut present = BTreeSet::new();
        for target in table.targets() {
            present.insert(target.host.name().to_string());
            match &target.waiting_for {
                Some(what) if self.served.contains(&**target.host.name()) => {
                    return Err(format!(
                        "{} was served, and waits now for {what}",
                        target.host.name()
                    ));
                }
                Some(_) => {}
                None => {
                    whole(target)?;
                    self.served.insert(target.host.name().to_string());
                }
            }
        }
        self.served.retain(|name| present.contains(name));
        // In gRPC's dialect the other targets do not wait for it.
        self.roams |= self.dialect == Dialect::Sidecar || table.find(ROAMING).is_some();
        if self.roams {
            self.roamed = roaming(table, &self.history, self.roamed)?;
        }
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        let newest = self.history.last().ok_or("no history")?;
        let table = self.snapshot.tables.get(&TABLE).ok_or("no table")?;
        // In gRPC's dialect what roams is a target too.
        let roams = usize::from(self.dialect == Dialect::Grpc);
        if table.targets().count() != newest.hosts.len() + roams {
            return Err("there are other hosts than in the newest configuration".to_owned());
        }
        for (host, version) in &newest.hosts {
            let target = table.find(&format!("h{host}")).ok_or("a host is missing")?;
            if version_of(target)? != (*host, version.version) || target.waiting_for.is_some() {
                return Err(format!("h{host} is not at version {}", version.version));
            }
            for cluster in target.clusters.iter().flatten() {
                let Some(service) = newest.services.get(&*cluster.name) else {
                    continue;
                };
                if cluster
                    .endpoints
                    .iter()
                    .any(|e| e.address != service.address())
                {
                    return Err(format!("{} has old endpoints", cluster.name));
                }
            }
        }
        match (self.machine.wake_at(), &self.plane.nacks[..]) {
            (None, []) => Ok(()),
            (Some(_), _) => Err("something is still waited for".to_owned()),
            (_, nacks) => Err(format!("refused: {nacks:?}")),
        }
    }
}

/// The host and the version that a target's routes are of.
fn version_of(target: &Target) -> Result<(u8, u8), String> {
    let name = &target.host.routes()[0].name;
    let numbers = name.split_once('-').and_then(|(host, version)| {
        let host = host.strip_prefix('h')?.parse().ok()?;
        Some((host, version.strip_prefix('v')?.parse().ok()?))
    });
    numbers.ok_or_else(|| format!("a strange route {name}"))
}

/// Every cluster is there, is of the host's version, and has its own endpoints.
fn whole(target: &Target) -> Result<(), String> {
    let (host, version) = version_of(target)?;
    let prefix = format!("h{host}-v{version}-");
    if target.clusters.len() != target.host.clusters().len() || target.clusters.is_empty() {
        return Err(format!("{prefix}: clusters are missing"));
    }
    for (name, cluster) in target.host.clusters().iter().zip(&target.clusters) {
        let cluster = cluster
            .as_ref()
            .ok_or_else(|| format!("{prefix}: {name} is missing"))?;
        if cluster.name != *name || cluster.fault.is_some() {
            return Err(format!("{prefix}: {cluster:?} in place of {name}"));
        }
        let own = ip_of(name);
        if own.is_some() && !name.starts_with(&prefix) {
            return Err(format!("{prefix}: has {name}, which is of another version"));
        }
        let ip = IpAddr::V4(own.unwrap_or(Ipv4Addr::new(10, 200, 0, 0)));
        if cluster.endpoints.len() != 1 || cluster.endpoints[0].address.ip() != ip {
            return Err(format!("{prefix}: {name} has {:?}", cluster.endpoints));
        }
    }
    Ok(())
}

/// The domain that moves between hosts is always somebody's, and never goes back to an older host.
/// Returns the first configuration that it may be served from now.
fn roaming(
    table: &Table<Arc<Target>>,
    history: &[Configuration],
    since: usize,
) -> Result<usize, String> {
    let target = table
        .find(ROAMING)
        .ok_or("the roaming domain belongs to nobody")?;
    let (host, version) = version_of(target)?;
    let owns = |configuration: &Configuration| {
        let host = configuration.hosts.get(&host);
        host.is_some_and(|host| host.version == version && host.roaming)
    };
    let at = (since..history.len()).find(|at| owns(&history[*at]));
    at.ok_or_else(|| format!("h{host}-v{version} took the roaming domain back"))
}

/// The changes alone, applied to the former generation, must lead to the new one: this is what a
/// data plane does that keeps state of its own with each host.
fn replayed(
    before: &Snapshot,
    after: &Snapshot,
    changes: &[mesh_xds::Change],
) -> Result<(), String> {
    let Some(published) = after.tables.get(&TABLE) else {
        return Ok(());
    };
    let empty = || Table::new("".into(), true);
    let mut table = before.tables.get(&TABLE).cloned().unwrap_or_else(empty);
    for old in changes.iter().filter_map(|change| change.old.as_ref()) {
        let there = table.target(old.host.name());
        if !there.is_some_and(|there| Arc::ptr_eq(there, old)) {
            return Err(format!(
                "{} is said to replace what was not there",
                old.host.name()
            ));
        }
        table.remove(&old.host);
    }
    for new in changes.iter().filter_map(|change| change.new.as_ref()) {
        if table.target(new.host.name()).is_some() {
            return Err(format!("{} is there twice", new.host.name()));
        }
        table.insert(&new.host, Arc::clone(new));
    }
    let same = |a: Option<&Arc<Target>>, b: Option<&Arc<Target>>| match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    let domains = (0..5)
        .map(|host| format!("h{host}"))
        .chain([ROAMING.to_owned()]);
    for domain in domains {
        if !same(table.find(&domain), published.find(&domain)) {
            return Err(format!(
                "the changes lead {domain} elsewhere than the snapshot"
            ));
        }
    }
    Ok(())
}

/// What an assembler would be that publishes whatever is there: the control of this test.
#[derive(Default)]
struct Naive {
    clusters: Option<BTreeSet<String>>,
    services: BTreeMap<String, String>,
    endpoints: BTreeSet<String>,
    hosts: Option<Vec<VirtualHost>>,
    was_whole: bool,
    violations: usize,
}

impl Naive {
    fn take(&mut self, response: &DiscoveryResponse) {
        if response.type_url == ResourceType::Endpoints.type_url() {
            let all = response.resources.iter();
            let assignments = all.filter_map(|any| ClusterLoadAssignment::decode(&*any.value).ok());
            self.endpoints
                .extend(assignments.map(|assignment| assignment.cluster_name));
        }
        let all = || response.resources.iter();
        if response.type_url == ResourceType::Cluster.type_url() {
            let clusters = all().filter_map(|any| Cluster::decode(&*any.value).ok());
            let service = |cluster: Cluster| {
                let service = cluster.eds_cluster_config.map(|eds| eds.service_name);
                let service = service.filter(|name| !name.is_empty());
                (cluster.name.clone(), service.unwrap_or(cluster.name))
            };
            self.services = clusters.map(service).collect();
            self.clusters = Some(self.services.keys().cloned().collect());
        }
        if response.type_url == ResourceType::Route.type_url() {
            let table = all().find_map(|any| RouteConfiguration::decode(&*any.value).ok());
            self.hosts = table.map(|table| table.virtual_hosts);
        }
        match self.is_whole() {
            // Before the first time everything is missing for everybody.
            false if self.was_whole => self.violations += 1,
            whole => self.was_whole |= whole,
        }
    }

    fn is_whole(&self) -> bool {
        let (Some(clusters), Some(hosts)) = (&self.clusters, &self.hosts) else {
            return false;
        };
        let mut names = hosts
            .iter()
            .flat_map(|host| &host.routes)
            .flat_map(|route| {
                let Some(Action::Route(action)) = &route.action else {
                    return Vec::new();
                };
                match &action.cluster_specifier {
                    Some(ClusterSpecifier::WeightedClusters(all)) => all
                        .clusters
                        .iter()
                        .map(|entry| entry.name.clone())
                        .collect(),
                    _ => Vec::new(),
                }
            });
        names.all(|name| {
            let service = self.services.get(&name);
            clusters.contains(&name) && service.is_some_and(|s| self.endpoints.contains(s))
        })
    }
}

/// Plays every second case, so that two threads share them. Returns how many the naive assembler fails.
fn play_half(half: u64, cases: u64, dialect: Dialect) -> (u64, u64) {
    let seed = seed();
    let all = (half..cases).step_by(2);
    let (mut cases, mut naive) = (0, 0);
    for index in all {
        let seed = seed.wrapping_add(index);
        let mut case = Case::new(seed, dialect);
        if let Err(error) = case.play() {
            let mut again = Case::new(seed, dialect);
            again.log = Some(Vec::new());
            assert_eq!(
                again.play().as_ref(),
                Err(&error),
                "a case replays by its seed"
            );
            panic!(
                "MESH_XDS_SEED={seed}: {error}\n{:#?}\n{:#?}",
                again.log, case.history
            );
        }
        cases += 1;
        naive += u64::from(case.naive.violations > 0);
    }
    (cases, naive)
}

#[test]
fn no_request_sees_a_mixed_configuration() {
    let (cases, _) = play_half(0, CASES, Dialect::Sidecar);
    assert_eq!(cases, CASES / 2);
}

#[test]
fn no_request_sees_a_mixed_configuration_where_a_naive_assembler_shows_one() {
    let (cases, naive) = play_half(1, CASES, Dialect::Sidecar);
    eprintln!("a naive assembler fails {naive} of {cases}");
    assert!(
        naive * 2 > cases,
        "the histories are too tame: {naive} of {cases}"
    );
}

/// There fewer clusters are asked for, so fewer are missing.
#[test]
fn nor_does_one_in_the_dialect_of_grpc() {
    let (cases, naive) = play_half(0, CASES_IN_GRPC, Dialect::Grpc);
    assert_eq!(cases, CASES_IN_GRPC / 2);
    eprintln!("a naive assembler fails {naive} of {cases}");
    assert!(
        naive * 3 > cases,
        "the histories are too tame: {naive} of {cases}"
    );
}
