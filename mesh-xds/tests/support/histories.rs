//! Histories of configurations, told in both variants: they end in the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use envoy_types::pb::google::protobuf;
use mesh_core::snapshot::{Snapshot, TableKey, Unserved};
use mesh_xds::ads::{Machine, Peer, Variant};
use mesh_xds::{Dialect, ListenerName, Node, ResourceType, Wanted};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};

use crate::model::{Model, Response, State};
use crate::wire::{self, CDS, EDS, LDS, RDS};

const TABLES: [&str; 3] = ["9080", "9081", "http.80"];
/// The targets of gRPC's dialect. The routes of each are named anew in each configuration.
const TARGETS: [&str; 4] = ["h0:9080", "h1:9080", "h2:9080", "h1:80"];
const NAMED: [&str; 2] = ["r0", "r1"];

pub(crate) fn machine(variant: Variant, dialect: Dialect) -> Machine {
    let peer = Peer {
        variant,
        ..Peer::from("plane:15010")
    };
    let node = Node::sidecar("reviews", "default").with_dialect(dialect);
    Machine::new(node, peer)
}

/// The types of a dialect.
fn types(dialect: Dialect) -> Vec<ResourceType> {
    match dialect {
        Dialect::Sidecar => wire::SIDECAR.to_vec(),
        Dialect::Grpc => ResourceType::ALL.to_vec(),
    }
}

/// What is in a history.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Named resources are missing now and then, and so many of the load assignments are refused. Whoever holds the
    /// last good one keeps it, so both variants have to be told of each at the same time.
    Faulty(f64),
    /// Nothing named is missing or refused. Responses of some types stay on the wire while requests go out, which a
    /// state-of-the-world server then ignores: so one variant is told later than the other.
    Crossed,
}

/// What is wrong with a server: the control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// Of delta: it does not say what it has taken away.
    HidesRemovals,
    /// Of the state of the world: it does not read the request after one that was crossed.
    IsDeaf,
}

/// What was seen of a history.
pub(crate) struct Seen {
    /// The first difference between the variants.
    pub(crate) difference: Option<String>,
    /// How many responses were refused.
    pub(crate) nacks: usize,
    /// How many requests were crossed by a response.
    pub(crate) crossed: usize,
}

/// What both variants are told, in the same order.
#[derive(Debug, Clone)]
enum Step {
    Become(Box<State>),
    Want(Wanted),
    Break,
    /// Requests go out, and responses of these types come in, in this order.
    Round(Vec<ResourceType>),
    /// Rounds until nothing moves and all clocks have run out.
    Settle,
}

/// No cluster is bad here: what a bad one leaves in force depends on whether the server repeats it while
/// nobody refers to it, and only a state-of-the-world server does.
fn state(rng: &mut impl Rng, dialect: Dialect, kind: Kind) -> State {
    let mut state = State::default();
    let (present, bad) = match kind {
        Kind::Faulty(bad) => (0.8, bad),
        Kind::Crossed => (1.0, 0.0),
    };
    for at in 0..5 {
        let name = format!("c{at}");
        if rng.random_bool(0.7) {
            let service = match at < 2 {
                true => format!("s{}", rng.random_range(0..2)),
                false => name.clone(),
            };
            let mut message = wire::cluster_message(&name, &service);
            message.connect_timeout = Some(protobuf::Duration {
                seconds: rng.random_range(1..4),
                nanos: 0,
            });
            state[CDS as usize].insert(name, wire::any(CDS, &message));
        }
    }
    for name in ["c2", "c3", "c4", "s0", "s1"] {
        if rng.random_bool(present) {
            let mut message = wire::assignment(name, &[wire::addr(rng.random_range(1..5))]);
            if rng.random_bool(bad) {
                // An endpoint without an address is refused.
                message.endpoints[0].lb_endpoints.push(Default::default());
            }
            state[EDS as usize].insert(name.to_owned(), wire::any(EDS, &message));
        }
    }
    let tables = match dialect {
        Dialect::Sidecar => &TABLES[..],
        Dialect::Grpc => &NAMED,
    };
    for &name in tables {
        if rng.random_bool(present) {
            let hosts = (0..rng.random_range(0..4)).map(|at| host(at, rng));
            let any = wire::routes(name, hosts.collect());
            state[RDS as usize].insert(name.to_owned(), any);
        }
    }
    if dialect == Dialect::Grpc {
        for name in TARGETS {
            if rng.random_bool(present) {
                let any = wire::listener(name, NAMED[rng.random_range(0..NAMED.len())]);
                state[LDS as usize].insert(name.to_owned(), any);
            }
        }
    }
    state
}

fn host(at: u8, rng: &mut impl Rng) -> VirtualHost {
    let clusters: BTreeSet<String> = (0..rng.random_range(1..4))
        .map(|_| format!("c{}", rng.random_range(0..5)))
        .collect();
    let clusters: Vec<&str> = clusters.iter().map(|name| &**name).collect();
    wire::host(&format!("h{at}"), &clusters)
}

fn wanted(dialect: Dialect, rng: &mut impl Rng) -> Wanted {
    match dialect {
        Dialect::Sidecar => {
            let table = TABLES[rng.random_range(0..TABLES.len())];
            table.parse::<TableKey>().expect("a table").into()
        }
        Dialect::Grpc => {
            let target = TARGETS[rng.random_range(0..TARGETS.len())];
            target.parse::<ListenerName>().expect("host:port").into()
        }
    }
}

fn script(rng: &mut impl Rng, dialect: Dialect, kind: Kind) -> Vec<Step> {
    let mut steps = vec![Step::Want(match dialect {
        Dialect::Sidecar => TableKey::Port(9080).into(),
        Dialect::Grpc => wanted(dialect, rng),
    })];
    for _ in 0..rng.random_range(3..8) {
        steps.push(Step::Become(Box::new(state(rng, dialect, kind))));
        for _ in 0..rng.random_range(0..4) {
            steps.push(match rng.random_range(0..6) {
                0 => Step::Break,
                1 => Step::Want(wanted(dialect, rng)),
                _ => {
                    let mut order = types(dialect);
                    order.shuffle(rng);
                    let count = match kind {
                        Kind::Faulty(_) => order.len(),
                        Kind::Crossed => rng.random_range(1..=order.len()),
                    };
                    Step::Round(order[..count].to_vec())
                }
            });
        }
        if rng.random_bool(0.6) {
            steps.push(Step::Settle);
        }
    }
    steps.push(Step::Settle);
    steps
}

/// What a round has brought.
#[derive(Default)]
struct Heard {
    anything: bool,
    /// That something does not exist.
    absence: bool,
}

/// One client and its server.
struct Side {
    variant: Variant,
    machine: Machine,
    model: Model,
    now: Instant,
    rng: StdRng,
    snapshot: Snapshot,
}

impl Side {
    fn new(variant: Variant, dialect: Dialect, defect: Defect) -> Self {
        let mut machine = machine(variant, dialect);
        machine.connected();
        let mut model = Model::new(dialect);
        model.hides_removals = defect == Defect::HidesRemovals;
        model.is_deaf = defect == Defect::IsDeaf;
        Self {
            variant,
            machine,
            model,
            now: Instant::now(),
            rng: StdRng::seed_from_u64(1),
            snapshot: Snapshot::default(),
        }
    }

    fn is_delta(&self) -> bool {
        self.variant == Variant::Delta
    }

    fn write(&mut self) {
        while let Some(request) = self.machine.request(self.now) {
            self.model.read(wire::read(&request));
        }
        while let Some(request) = self.machine.at(0).request_delta(self.now) {
            self.model.read_delta(request);
        }
        self.model.push(self.is_delta());
    }

    fn round(&mut self, order: &[ResourceType]) -> Heard {
        self.write();
        let mut heard = Heard::default();
        for &of in order {
            while let Some(response) = self.model.pending(of) {
                heard.anything = true;
                match response {
                    Response::StateOfTheWorld(response) => self.machine.received(response),
                    Response::Delta(response) => {
                        heard.absence |= !response.removed_resources.is_empty();
                        self.machine.at(0).received_delta(response);
                    }
                }
                self.assemble();
            }
        }
        heard
    }

    fn assemble(&mut self) {
        if let Some(assembled) = self.machine.assemble(self.now) {
            self.snapshot = assembled.snapshot;
        }
    }

    /// All clocks run out.
    fn pass(&mut self) {
        self.now += Duration::from_secs(20);
        self.assemble();
    }

    fn break_off(&mut self) {
        self.model.break_off();
        self.machine.disconnected("gone", self.now, &mut self.rng);
        self.machine.connected();
    }

    /// What is published and what is subscribed, but for texts and versions.
    fn described(&self) -> String {
        let mut text = format!("{:?}\n", self.model.names());
        for name in TABLES.into_iter().chain(["80"]) {
            let key: TableKey = name.parse().expect("a table");
            let Some(table) = self.snapshot.tables.get(&key) else {
                continue;
            };
            text.push_str(&format!("{name} missing {}\n", table.missing.is_some()));
            let mut hosts: Vec<String> = table
                .targets()
                .map(|target| {
                    let cluster = |cluster: &Option<Arc<mesh_core::cluster::Cluster>>| {
                        cluster.as_ref().map(|cluster| {
                            let ports = cluster.endpoints.iter().map(|e| e.address.port());
                            let fault = cluster.fault.is_some();
                            let timeout = cluster.connect_timeout;
                            (
                                Arc::clone(&cluster.name),
                                fault,
                                timeout,
                                ports.collect::<Vec<_>>(),
                            )
                        })
                    };
                    let clusters: Vec<_> = target.clusters.iter().map(cluster).collect();
                    let name = target.host.name();
                    format!("  {name} waits {:?}: {clusters:?}\n", target.waiting_for)
                })
                .collect();
            // It is said why, which differs: one variant says at once what does not exist.
            let unserved = table.unserved.iter().map(|(host, why)| {
                let waits = matches!(why, Unserved::Waiting(_));
                format!("  {host} unserved, waits: {waits}\n")
            });
            hosts.extend(unserved);
            hosts.sort();
            text.extend(hosts);
        }
        text
    }
}

/// Both variants, which are told the same at the same time.
struct Sides([Side; 2]);

impl Sides {
    /// Returns whether anything arrived.
    fn round(&mut self, order: &[ResourceType]) -> bool {
        let heard = self.0.each_mut().map(|side| side.round(order));
        // One variant says at once what does not exist, and in the other only time tells it. A host that was let go
        // meanwhile has let go of its endpoints, which may be the last good ones.
        if heard.iter().any(|heard| heard.absence) {
            self.0.iter_mut().for_each(Side::pass);
        }
        self.0.iter_mut().for_each(Side::write);
        heard.iter().any(|heard| heard.anything)
    }

    fn settle(&mut self) {
        // Several times: what the clocks let go of may need something new.
        for _ in 0..3 {
            while self.round(&ResourceType::ALL) {}
            self.0.iter_mut().for_each(Side::pass);
        }
        let has_unanswered = |side: &Side| side.model.has_unanswered();
        assert!(
            !self.0.iter().any(has_unanswered),
            "each response is answered"
        );
    }

    /// Returns in what they differ, where they must not.
    fn play(&mut self, step: &Step) -> Option<String> {
        match step {
            Step::Become(state) => {
                for side in &mut self.0 {
                    side.model.state = (**state).clone();
                }
            }
            Step::Want(wanted) => {
                for side in &mut self.0 {
                    side.machine.want(wanted.clone());
                }
            }
            Step::Break => self.0.iter_mut().for_each(Side::break_off),
            Step::Round(order) => drop(self.round(order)),
            Step::Settle => {
                self.settle();
                let [world, delta] = self.0.each_ref().map(Side::described);
                return (world != delta)
                    .then(|| format!("state of the world: {world}\ndelta: {delta}"));
            }
        }
        None
    }
}

/// Plays one script in both variants.
pub(crate) fn compared(rng: &mut impl Rng, dialect: Dialect, kind: Kind, defect: Defect) -> Seen {
    let steps = script(rng, dialect, kind);
    let variants = [Variant::StateOfTheWorld, Variant::Delta];
    let mut sides = Sides(variants.map(|variant| Side::new(variant, dialect, defect)));
    let mut steps = steps.iter().enumerate();
    let difference = steps.find_map(|(at, step)| {
        let text = sides.play(step)?;
        Some(format!("at step {at}\n{text}"))
    });
    let [world, delta] = &sides.0;
    Seen {
        difference,
        nacks: delta.model.nacks,
        crossed: world.model.crossed,
    }
}
