//! Several control planes (gRPC A71), and what they say or do not say of a resource (A53, A57, A88):
//! events in, with their times, and no sockets.

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, ResourceError, ResourceName,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc;
use mesh_core::snapshot::{Missing, Snapshot, TableKey};
use mesh_xds::ads::{Features, Machine, Peer, Variant};
use mesh_xds::{DOES_NOT_EXIST_AFTER, Node, ResourceType};
use rand::SeedableRng;
use rand::rngs::StdRng;
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const TABLE: TableKey = TableKey::Port(9080);

struct Rig {
    machine: Machine,
    now: Instant,
    rng: StdRng,
    snapshot: Snapshot,
}

impl Rig {
    /// Control planes `a`, `b` and `c`, with a stream to the first.
    fn new() -> Self {
        let mut rig = Self::of(["a", "b", "c"].map(Peer::from).to_vec());
        rig.open(0);
        rig
    }

    fn of(mut peers: Vec<Peer>) -> Self {
        let first = peers.remove(0);
        let node = Node::sidecar("reviews", "default");
        let mut machine = Machine::with_fallback(node, first, peers);
        machine.want(TABLE);
        Self {
            machine,
            now: Instant::now(),
            rng: StdRng::seed_from_u64(1),
            snapshot: Snapshot::default(),
        }
    }

    /// One control plane with these features, on an open stream.
    fn with(features: Features) -> Self {
        let mut rig = Self::of(vec![Peer {
            features,
            ..Peer::from("a")
        }]);
        rig.open(0);
        rig
    }

    /// Opens a stream; returns what is asked on it.
    fn open(&mut self, server: usize) -> Vec<DiscoveryRequest> {
        self.machine.at(server).connected();
        self.sent(server)
    }

    fn sent(&mut self, server: usize) -> Vec<DiscoveryRequest> {
        let now = self.now;
        std::iter::from_fn(|| self.machine.at(server).request(now))
            .map(|request| wire::read(&request))
            .collect()
    }

    fn fail(&mut self, server: usize) {
        let mut link = self.machine.at(server);
        link.disconnected("refused", self.now, &mut self.rng);
    }

    fn take(&mut self, server: usize, response: DiscoveryResponse) -> Vec<DiscoveryRequest> {
        self.machine.at(server).received(response);
        self.assemble();
        self.sent(server)
    }

    fn answer(&mut self, server: usize, of: ResourceType, resources: Vec<Any>) {
        self.take(server, wire::response(of, "1", "n", resources));
    }

    /// Host `a` with cluster `one` on this port.
    fn configure(&mut self, server: usize, port: u16) {
        self.answer(server, CDS, wire::clusters(&["one"]));
        let table = wire::routes("9080", vec![wire::host("a", &["one"])]);
        self.answer(server, RDS, vec![table]);
        self.answer(server, EDS, vec![wire::endpoints("one", port)]);
        assert_eq!(self.port(), Some(port));
    }

    fn assemble(&mut self) {
        if let Some(assembled) = self.machine.assemble(self.now) {
            self.snapshot = assembled.snapshot;
        }
    }

    fn after(&mut self, time: Duration) {
        self.now += time;
        self.assemble();
    }

    /// The port of host `a`; 0 for a cluster without endpoints.
    fn port(&self) -> Option<u16> {
        let target = self.snapshot.tables.get(&TABLE)?.find("a")?;
        let cluster = target.clusters.first()?.as_ref()?;
        Some(cluster.endpoints.first().map_or(0, |e| e.address.port()))
    }

    fn missing(&self, table: &TableKey) -> Option<String> {
        match self.snapshot.tables.get(table)?.missing.clone()? {
            Missing::NotReceived(text) | Missing::NoSuch(text) => Some(text.to_string()),
        }
    }
}

#[test]
fn the_next_control_plane_is_used_while_something_is_wanted_that_is_not_cached() {
    let mut rig = Rig::new();
    assert_eq!(rig.machine.servers_in_use(), 1);
    rig.fail(0);
    assert_eq!(rig.machine.servers_in_use(), 2);
    assert_eq!(&*rig.machine.status().server, "b");
    assert_eq!(rig.machine.at(1).reconnect_at(), None, "at once");
    let sent = rig.open(1);
    assert!(sent[0].node.is_some());
    assert_eq!(sent[1].resource_names, ["9080"]);
    rig.fail(1);
    assert_eq!(rig.machine.servers_in_use(), 3);
    rig.open(2);
    rig.configure(2, 3);
    assert!(rig.machine.status().connected);
    rig.fail(2);
    assert_eq!(rig.machine.servers_in_use(), 3, "there is no other");
    assert_eq!(rig.port(), Some(3), "what is cached stays");
}

#[test]
fn a_control_plane_that_has_answered_is_not_left_and_nothing_is_left_that_is_not_needed() {
    let mut rig = Rig::new();
    rig.answer(0, CDS, wire::clusters(&["one"]));
    rig.fail(0);
    assert_eq!(rig.machine.servers_in_use(), 1, "it ended after a response");
    rig.open(0);
    rig.configure(0, 1);
    rig.fail(0);
    for _ in 0..5 {
        rig.open(0);
        rig.fail(0);
    }
    assert_eq!(rig.machine.servers_in_use(), 1, "everything is cached");
    rig.machine.want(TableKey::Gateway(80));
    assert_eq!(rig.machine.servers_in_use(), 2, "a new wish is not");
    assert_eq!(rig.open(1)[2].resource_names, ["9080", "http.80"]);
}

#[test]
fn the_first_is_used_again_when_it_answers() {
    let mut rig = Rig::new();
    rig.configure(0, 1);
    rig.fail(0);
    rig.open(0);
    rig.fail(0);
    rig.machine.want(TableKey::Gateway(80));
    rig.open(1);
    rig.answer(1, CDS, wire::clusters(&["one", "two"]));
    rig.answer(1, EDS, vec![wire::endpoints("one", 2)]);
    assert_eq!(rig.port(), Some(2));

    let at = rig.machine.at(0).reconnect_at();
    assert!(at.is_some_and(|at| at > rig.now), "it is tried again");
    let sent = rig.open(0);
    for request in &sent {
        assert_eq!(request.version_info, "", "its answers are needed in full");
    }
    assert_eq!(rig.machine.servers_in_use(), 2, "it has not answered");
    rig.answer(0, CDS, wire::clusters(&["one"]));
    assert_eq!(rig.machine.servers_in_use(), 1);
    assert_eq!(&*rig.machine.status().server, "a");
    assert_eq!(
        rig.port(),
        Some(2),
        "what the second sent stays until replaced"
    );
    rig.answer(1, EDS, vec![wire::endpoints("one", 9)]);
    assert_eq!(rig.port(), Some(2), "the second is not heard any more");
    rig.answer(0, EDS, vec![wire::endpoints("one", 1)]);
    assert_eq!(rig.port(), Some(1));
    assert_eq!(rig.sent(1), []);
}

#[test]
fn only_the_control_plane_in_use_can_say_that_nothing_is_there() {
    let mut rig = Rig::new();
    rig.fail(0);
    rig.open(1);
    rig.after(Duration::from_secs(10));
    rig.open(0);
    rig.answer(0, CDS, Vec::new());
    rig.after(Duration::from_secs(10));
    assert_eq!(rig.missing(&TABLE), None, "the first has had 10 s");
    rig.after(Duration::from_secs(5));
    let text = rig.missing(&TABLE).expect("15 s");
    assert!(text.starts_with("a did not send"), "{text}");
}

#[test]
fn a_server_without_delta_is_spoken_to_in_the_other_variant() {
    let mut rig = Rig::of(vec![Peer {
        variant: Variant::Delta,
        ..Peer::from("a")
    }]);
    rig.machine.connected();
    assert_eq!(rig.machine.at(0).variant(), Variant::Delta);
    assert!(rig.machine.at(0).request_delta(rig.now).is_some());
    assert_eq!(rig.machine.request(rig.now), None);
    assert!(rig.machine.at(0).unimplemented());
    assert_eq!(rig.machine.at(0).variant(), Variant::StateOfTheWorld);
    assert_eq!(rig.machine.reconnect_at(), None, "at once");
    rig.open(0);
    let late = DeltaDiscoveryResponse {
        type_url: CDS.type_url().to_owned(),
        ..DeltaDiscoveryResponse::default()
    };
    rig.machine.at(0).received_delta(late);
    assert!(!rig.machine.status().connected, "of no stream of ours");
    rig.configure(0, 1);
    assert!(!rig.machine.at(0).unimplemented(), "there is no other");
}

/// A gateway that restarts in front of it answers 404, which is UNIMPLEMENTED to gRPC.
#[test]
fn a_server_that_has_answered_in_delta_speaks_it() {
    let mut rig = Rig::of(vec![Peer {
        variant: Variant::Delta,
        ..Peer::from("a")
    }]);
    rig.machine.connected();
    assert!(rig.machine.at(0).request_delta(rig.now).is_some());
    let answer = DeltaDiscoveryResponse {
        type_url: CDS.type_url().to_owned(),
        ..DeltaDiscoveryResponse::default()
    };
    rig.machine.at(0).received_delta(answer);
    assert!(rig.machine.status().connected);
    assert!(!rig.machine.at(0).unimplemented());
    assert_eq!(rig.machine.at(0).variant(), Variant::Delta);
    rig.fail(0);
    assert!(!rig.machine.status().connected);
    assert!(rig.machine.reconnect_at().is_some(), "not at once");
}

/// A57: a stream that ends is an error of the moment, and after it only what is not cached is waited for.
#[test]
fn what_is_cached_is_not_given_up_after_a_reconnect() {
    let mut rig = Rig::new();
    rig.configure(0, 1);
    rig.machine.want(TableKey::Gateway(80));
    rig.sent(0);
    rig.after(Duration::from_secs(14));
    rig.fail(0);
    rig.after(Duration::from_secs(60));
    assert_eq!(rig.missing(&TableKey::Gateway(80)), None);
    rig.open(0);
    rig.after(DOES_NOT_EXIST_AFTER - Duration::from_secs(1));
    assert_eq!(rig.missing(&TableKey::Gateway(80)), None, "counted anew");
    rig.after(Duration::from_secs(1));
    assert!(rig.missing(&TableKey::Gateway(80)).is_some());
    assert_eq!(rig.port(), Some(1));
}

/// A53: with the feature a cluster that is no longer listed stays; without it, it is missing.
#[test]
fn a_deletion_can_be_ignored() {
    for ignore in [true, false] {
        let mut rig = Rig::with(Features {
            ignore_resource_deletion: ignore,
            ..Features::default()
        });
        rig.configure(0, 1);
        rig.answer(0, CDS, wire::clusters(&["two"]));
        rig.after(Duration::from_secs(60));
        assert_eq!(rig.port(), ignore.then_some(1));
        rig.answer(0, CDS, wire::clusters(&["one", "two"]));
        rig.answer(0, EDS, vec![wire::endpoints("one", 2)]);
        assert_eq!(rig.port(), Some(2), "and comes back");
    }
}

/// A88: a slow control plane gets 30 s.
#[test]
fn a_timer_can_be_longer() {
    let mut rig = Rig::with(Features {
        resource_timer_is_transient_error: true,
        ..Features::default()
    });
    rig.after(Duration::from_secs(29));
    assert_eq!(rig.missing(&TABLE), None);
    rig.after(Duration::from_secs(1));
    let text = rig.missing(&TABLE).expect("30 s");
    assert!(text.ends_with("in 30 s"), "{text}");
}

fn refusal(of: ResourceType, name: &str, code: i32) -> DiscoveryResponse {
    DiscoveryResponse {
        resource_errors: vec![ResourceError {
            resource_name: Some(ResourceName {
                name: name.to_owned(),
                ..ResourceName::default()
            }),
            error_detail: Some(rpc::Status {
                code,
                message: "no rights".to_owned(),
                details: Vec::new(),
            }),
        }],
        ..wire::response(of, "2", "errors", Vec::new())
    }
}

/// A88: an error in a resource's place ends the waiting, tells why, and takes nothing away.
#[test]
fn an_error_in_a_resource_s_place_ends_the_waiting() {
    let mut rig = Rig::with(Features::default());
    let sent = rig.take(0, refusal(RDS, "9080", 7));
    assert_eq!(sent[0].error_detail, None, "the response itself is good");
    let text = rig.missing(&TABLE).expect("no waiting");
    let expected = "route configuration \"9080\": the control plane answers with code 7: no rights";
    assert_eq!(text, expected);
    assert_eq!(rig.machine.wake_at(), None);
    rig.answer(0, CDS, wire::clusters(&["one"]));
    let table = wire::routes("9080", vec![wire::host("a", &["one"])]);
    rig.answer(0, RDS, vec![table]);
    rig.take(0, refusal(EDS, "one", 14));
    assert_eq!(rig.port(), Some(0), "told, without endpoints");
    rig.answer(0, EDS, vec![wire::endpoints("one", 4)]);
    for of in wire::SIDECAR {
        let name = if of == RDS { "9080" } else { "one" };
        rig.take(0, refusal(of, name, 5));
        let told = rig.machine.status().rejected.iter();
        assert_eq!(told.filter(|text| text.contains("no rights")).count(), 1);
        let back = match of {
            ResourceType::Cluster => wire::clusters(&["one"]),
            _ => Vec::new(),
        };
        rig.answer(0, of, back);
    }
    assert_eq!(rig.port(), Some(4), "what is cached stays");
}
