//! Histories of configurations, told in both variants: they end in the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use envoy_types::pb::google::protobuf;
use mesh_core::snapshot::{Snapshot, TableKey};
use mesh_xds::ads::{Machine, Peer, Variant};
use mesh_xds::{Node, ResourceType};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};

use crate::model::{Model, Response, State};
use crate::wire::{self, CDS, EDS, RDS};

const TABLES: [&str; 3] = ["9080", "9081", "http.80"];

pub(crate) fn machine(variant: Variant) -> Machine {
    let peer = Peer {
        variant,
        ..Peer::from("plane:15010")
    };
    Machine::new(Node::sidecar("reviews", "default"), peer)
}

/// What both variants are told, in the same order.
#[derive(Debug, Clone)]
enum Step {
    Become(Box<State>),
    Want(TableKey),
    Break,
    /// Requests go out, and responses come in by type in this order.
    Round([ResourceType; 3]),
    /// Rounds until nothing moves and all clocks have run out.
    Settle,
}

/// No cluster is bad here: what a bad one leaves in force depends on whether the server repeats it while
/// nobody refers to it, and only a state-of-the-world server does.
fn state(rng: &mut impl Rng, bad: f64) -> State {
    let mut state = State::default();
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
        if rng.random_bool(0.8) {
            let mut message = wire::assignment(name, &[wire::addr(rng.random_range(1..5))]);
            if rng.random_bool(bad) {
                // An endpoint without an address is refused.
                message.endpoints[0].lb_endpoints.push(Default::default());
            }
            state[EDS as usize].insert(name.to_owned(), wire::any(EDS, &message));
        }
    }
    for name in TABLES {
        if rng.random_bool(0.8) {
            let hosts = (0..rng.random_range(0..4)).map(|at| host(at, rng));
            let any = wire::routes(name, hosts.collect());
            state[RDS as usize].insert(name.to_owned(), any);
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

fn script(rng: &mut impl Rng, bad: f64) -> Vec<Step> {
    let mut steps = vec![Step::Want(TableKey::Port(9080))];
    for _ in 0..rng.random_range(3..8) {
        steps.push(Step::Become(Box::new(state(rng, bad))));
        for _ in 0..rng.random_range(0..4) {
            steps.push(match rng.random_range(0..6) {
                0 => Step::Break,
                1 => {
                    let table = TABLES[rng.random_range(0..TABLES.len())];
                    Step::Want(table.parse().expect("a table"))
                }
                _ => {
                    let mut order = wire::SIDECAR;
                    order.shuffle(rng);
                    Step::Round(order)
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
    fn new(variant: Variant, hides_removals: bool) -> Self {
        let mut machine = machine(variant);
        machine.connected();
        let mut model = Model::default();
        model.hides_removals = hides_removals;
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

    fn round(&mut self, order: [ResourceType; 3]) -> Heard {
        self.write();
        let mut heard = Heard::default();
        for of in order {
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
        for name in TABLES {
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
    fn round(&mut self, order: [ResourceType; 3]) -> bool {
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
            while self.round(wire::SIDECAR) {}
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
            Step::Want(table) => {
                for side in &mut self.0 {
                    side.machine.want(*table);
                }
            }
            Step::Break => self.0.iter_mut().for_each(Side::break_off),
            Step::Round(order) => drop(self.round(*order)),
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

/// The first difference between the variants over one script, and how many resources were refused. `bad` is how many
/// load assignments are refused.
pub(crate) fn difference(
    rng: &mut impl Rng,
    hides_removals: bool,
    bad: f64,
) -> (Option<String>, usize) {
    let steps = script(rng, bad);
    let mut sides = Sides([
        Side::new(Variant::StateOfTheWorld, false),
        Side::new(Variant::Delta, hides_removals),
    ]);
    for (at, step) in steps.iter().enumerate() {
        if let Some(text) = sides.play(step) {
            return (Some(format!("at step {at}\n{text}")), 0);
        }
    }
    (None, sides.0[1].model.nacks)
}
