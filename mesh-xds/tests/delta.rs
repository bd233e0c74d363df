//! The incremental protocol, request by request, without a runtime; and that a history ends in the same
//! configuration whichever variant tells it. `MESH_XDS_SEED` sets the seed.

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use histories::{Defect, Kind, Seen, compared, machine};
use mesh_core::cluster::Cluster;
use mesh_core::snapshot::{Missing, Snapshot, TableKey};
use mesh_xds::ads::{Machine, Variant};
use mesh_xds::{Dialect, ResourceType};
use rand::SeedableRng;
use rand::rngs::StdRng;
use wire::{CDS, EDS, RDS};

#[path = "support/histories.rs"]
mod histories;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/model.rs"]
mod model;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

/// A machine on an incremental stream that the test plays by hand.
struct Rig {
    machine: Machine,
    now: Instant,
    rng: StdRng,
    snapshot: Snapshot,
}

impl Rig {
    fn new() -> Self {
        let mut machine = machine(Variant::Delta, Dialect::Sidecar);
        machine.want(TableKey::Port(9080));
        machine.connected();
        Self {
            machine,
            now: Instant::now(),
            rng: StdRng::seed_from_u64(1),
            snapshot: Snapshot::default(),
        }
    }

    /// Host `a` with cluster `one` on port 1.
    fn configured() -> Self {
        let mut rig = Self::new();
        rig.sent();
        rig.deliver(CDS, &[("one", wire::cluster("one"))], &[]);
        rig.deliver(RDS, &[("9080", to_one())], &[]);
        rig.deliver(EDS, &[("one", wire::endpoints("one", 1))], &[]);
        assert_eq!(rig.port(), Some(1));
        rig
    }

    fn sent(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let now = self.now;
        std::iter::from_fn(|| self.machine.at(0).request_delta(now)).collect()
    }

    fn receive(&mut self, of: ResourceType, all: &[(&str, Any)], removed: &[&str]) {
        self.machine
            .at(0)
            .received_delta(response(of, all, removed));
        if let Some(assembled) = self.machine.assemble(self.now) {
            self.snapshot = assembled.snapshot;
        }
    }

    fn deliver(
        &mut self,
        of: ResourceType,
        all: &[(&str, Any)],
        removed: &[&str],
    ) -> Vec<DeltaDiscoveryRequest> {
        self.receive(of, all, removed);
        self.sent()
    }

    fn cluster(&self) -> Option<&Cluster> {
        let target = self.snapshot.tables.get(&TableKey::Port(9080))?.find("a")?;
        target.clusters.first()?.as_deref()
    }

    fn port(&self) -> Option<u16> {
        let first = self.cluster()?.endpoints.first();
        Some(first.map_or(0, |e| e.address.port()))
    }

    fn fault(&self) -> Option<String> {
        self.cluster()?.fault.as_ref().map(ToString::to_string)
    }
}

fn to_one() -> Any {
    wire::routes("9080", vec![wire::host("a", &["one"])])
}

/// A response whose version, system version and nonce are all those of the content.
fn response(of: ResourceType, all: &[(&str, Any)], removed: &[&str]) -> DeltaDiscoveryResponse {
    let resource = |(name, any): &(&str, Any)| Resource {
        name: (*name).to_owned(),
        version: format!("{name} v1"),
        resource: Some(any.clone()),
        ..Resource::default()
    };
    DeltaDiscoveryResponse {
        system_version_info: "system".to_owned(),
        type_url: of.type_url().to_owned(),
        resources: all.iter().map(resource).collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        nonce: format!("nonce of {of} {all:?}").chars().take(24).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn of(requests: &[DeltaDiscoveryRequest], of: ResourceType) -> Vec<&DeltaDiscoveryRequest> {
    let mine = requests.iter().filter(|r| r.type_url == of.type_url());
    mine.collect()
}

#[test]
fn the_first_request_is_a_wildcard_cds_and_only_it_carries_the_node() {
    let mut rig = Rig::new();
    let sent = rig.sent();
    let [cds, rds] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(cds.type_url, CDS.type_url());
    assert!(cds.resource_names_subscribe.is_empty() && cds.node.is_some());
    assert_eq!(rds.resource_names_subscribe, ["9080"]);
    assert_eq!((&rds.node, &*rds.response_nonce), (&None, ""));
    assert_eq!(rig.sent(), []);
}

#[test]
fn each_response_is_answered_by_its_nonce_and_subscriptions_are_differences() {
    let mut rig = Rig::new();
    rig.sent();
    let clusters = [("one", wire::cluster("one")), ("two", wire::cluster("two"))];
    let sent = rig.deliver(CDS, &clusters, &[]);
    assert_eq!(sent[0].response_nonce, response(CDS, &clusters, &[]).nonce);
    assert_eq!(sent[0].error_detail, None);
    let sent = rig.deliver(RDS, &[("9080", to_one())], &[]);
    assert_eq!(of(&sent, EDS)[0].resource_names_subscribe, ["one"]);
    let other = wire::routes("9080", vec![wire::host("b", &["two"])]);
    let sent = rig.deliver(RDS, &[("9080", other)], &[]);
    assert_eq!(of(&sent, EDS)[0].resource_names_subscribe, ["two"]);
    assert_eq!(of(&sent, EDS)[0].resource_names_unsubscribe, ["one"]);
    assert_eq!(of(&sent, EDS)[0].response_nonce, "");

    // Two that were read before an answer went out.
    rig.receive(CDS, &clusters[..1], &[]);
    rig.receive(CDS, &[("two", wire::bad_cluster("two"))], &[]);
    let sent = rig.sent();
    let errors: Vec<bool> = of(&sent, CDS)
        .iter()
        .map(|request| request.error_detail.is_some())
        .collect();
    assert_eq!(errors, [false, true], "the good one is not blamed");
}

#[test]
fn a_server_that_never_reads_makes_nothing_grow() {
    let mut rig = Rig::configured();
    for _ in 0..1000 {
        rig.receive(EDS, &[("one", wire::endpoints("one", 2))], &[]);
    }
    assert_eq!(rig.sent().len(), 64);
}

#[test]
fn a_new_stream_says_what_it_has() {
    let mut rig = Rig::configured();
    let bad = wire::routes(
        "9080",
        vec![wire::host_message("a", &["a\nb"], &[("one", 1)])],
    );
    rig.deliver(RDS, &[("9080", bad)], &[]);
    rig.machine.disconnected("gone", rig.now, &mut rig.rng);
    rig.machine.connected();
    let sent = rig.sent();
    for (of_type, name) in [(CDS, "one"), (EDS, "one"), (RDS, "9080")] {
        let request = of(&sent, of_type)[0];
        let expected = [(name.to_owned(), format!("{name} v1"))].into();
        assert_eq!(request.initial_resource_versions, expected);
        assert_eq!(request.response_nonce, "");
        let names: &[&str] = if of_type == CDS { &[] } else { &[name] };
        assert_eq!(request.resource_names_subscribe, names);
    }
    let sent = rig.deliver(CDS, &[("two", wire::cluster("two"))], &[]);
    assert!(sent[0].initial_resource_versions.is_empty(), "said once");
    assert_eq!(rig.port(), Some(1));
}

#[test]
fn what_is_removed_while_it_is_waited_for_is_not_waited_for() {
    let mut rig = Rig::new();
    rig.sent();
    rig.deliver(CDS, &[("one", wire::cluster("one"))], &[]);
    rig.deliver(RDS, &[("9080", to_one())], &[]);
    assert!(rig.machine.wake_at().is_some());
    rig.deliver(EDS, &[], &["one"]);
    assert_eq!(rig.port(), Some(0), "a cluster without endpoints");
    assert_eq!(rig.machine.wake_at(), None);
    rig.deliver(EDS, &[("one", wire::endpoints("one", 5))], &[]);
    assert_eq!(rig.port(), Some(5));

    rig.machine.want(TableKey::Gateway(80));
    rig.sent();
    rig.deliver(RDS, &[], &["http.80"]);
    let table = rig.snapshot.tables.get(&TableKey::Gateway(80));
    let missing = table.and_then(|table| table.missing.clone());
    let Some(Missing::NotReceived(text)) = missing else {
        panic!("{missing:?}")
    };
    assert!(text.contains("\"http.80\" does not exist"), "{text}");
}

#[test]
fn a_cluster_that_is_removed_is_gone_and_named_resources_stay_while_they_are_referred_to() {
    let mut rig = Rig::configured();
    rig.deliver(EDS, &[], &["one"]);
    rig.deliver(RDS, &[], &["9080"]);
    assert_eq!(rig.port(), Some(1));
    rig.deliver(CDS, &[], &["one"]);
    rig.now += Duration::from_secs(3);
    rig.snapshot = rig
        .machine
        .assemble(rig.now)
        .expect("a generation")
        .snapshot;
    assert_eq!(rig.port(), None, "the cluster is missing");
}

#[test]
fn a_resource_under_another_name_or_without_content_is_refused() {
    let mut rig = Rig::configured();
    let sent = rig.deliver(EDS, &[("one", wire::endpoints("two", 9))], &[]);
    let text = &sent[0].error_detail.as_ref().expect("a NACK").message;
    assert_eq!(
        text,
        "endpoints \"one\" of version \"one v1\" rejected: name: the resource in it is called \"two\""
    );
    let sent = rig.deliver(CDS, &[("one", Any::default())], &[]);
    let text = &sent[0].error_detail.as_ref().expect("a NACK").message;
    assert!(text.starts_with("cluster \"one\" of version"), "{text}");
    assert_eq!(rig.port(), Some(1));
}

/// A server may first say that there is none, and then send one that cannot be used: calls are told why. What it
/// said before decides nothing, as a state-of-the-world server says nothing of what does not exist.
#[test]
fn an_assignment_is_refused_though_it_did_not_exist_before_and_the_last_fault_is_told() {
    let mut rig = Rig::new();
    rig.sent();
    rig.deliver(CDS, &[("one", wire::cluster("one"))], &[]);
    rig.deliver(RDS, &[("9080", to_one())], &[]);
    rig.deliver(EDS, &[], &["one"]);
    assert_eq!((rig.port(), rig.fault()), (Some(0), None));
    let bad = |priority| {
        let mut message = wire::assignment("one", &[wire::addr(1)]);
        message.endpoints[0].priority = priority;
        [("one", wire::any(EDS, &message))]
    };
    rig.deliver(EDS, &bad(129), &[]);
    let first = rig.fault().expect("a fault");
    assert!(first.contains("129"), "{first}");
    rig.deliver(EDS, &bad(130), &[]);
    let last = rig.fault().expect("a fault");
    assert!(last.contains("130"), "{last}");
    // It is answered, by what is worth more than that there is none.
    rig.deliver(EDS, &[], &["one"]);
    assert_eq!(rig.fault(), Some(last));
    rig.deliver(EDS, &[("one", wire::endpoints("one", 5))], &[]);
    assert_eq!((rig.port(), rig.fault()), (Some(5), None));
    rig.deliver(EDS, &bad(131), &[]);
    assert_eq!((rig.port(), rig.fault()), (Some(5), None));
}

fn seed() -> u64 {
    let seed = std::env::var("MESH_XDS_SEED").map_or(0x6465_6c74, |text| {
        text.parse().expect("MESH_XDS_SEED is a number")
    });
    eprintln!("MESH_XDS_SEED={seed}");
    seed
}

fn of_seed(seed: u64, dialect: Dialect, kind: Kind, defect: Defect) -> Seen {
    compared(&mut StdRng::seed_from_u64(seed), dialect, kind, defect)
}

const CASES: u64 = 400;
const FAULTY: Kind = Kind::Faulty(0.2);

/// All histories of a kind, which must end alike.
fn equal(dialect: Dialect, kind: Kind) -> Vec<Seen> {
    let first = seed();
    let play = |seed| {
        let seen = of_seed(seed, dialect, kind, Defect::None);
        if let Some(text) = &seen.difference {
            panic!("MESH_XDS_SEED={seed}: {text}");
        }
        seen
    };
    (first..first + CASES).map(play).collect()
}

/// How many of 200 histories show a defect.
fn found(dialect: Dialect, kind: Kind, defect: Defect) -> usize {
    let first = seed();
    let seen = (first..first + 200)
        .filter(|seed| of_seed(*seed, dialect, kind, defect).difference.is_some());
    seen.count()
}

#[test]
fn state_of_the_world_and_delta_are_equal() {
    let refused = equal(Dialect::Sidecar, FAULTY)
        .iter()
        .filter(|seen| seen.nacks > 0)
        .count();
    assert!(refused > 40, "the histories are too tame: {refused}");
}

#[test]
fn they_are_equal_though_a_server_ignores_what_its_responses_have_crossed() {
    let crossed = equal(Dialect::Sidecar, Kind::Crossed);
    let crossed = crossed.iter().filter(|seen| seen.crossed > 0).count();
    assert!(crossed > 40, "the histories are too tame: {crossed}");
}

/// The control: a server that does not say what it has removed is told apart.
#[test]
fn a_delta_server_that_hides_removals_is_seen() {
    let seen = found(Dialect::Sidecar, FAULTY, Defect::HidesRemovals);
    assert!(seen > 100, "{seen} of 200");
}

/// The control: one that misses a request for good is told apart.
#[test]
fn a_server_that_never_reads_what_was_crossed_is_seen() {
    let seen = found(Dialect::Sidecar, Kind::Crossed, Defect::IsDeaf);
    assert!(seen > 10, "{seen} of 200");
}

#[test]
fn they_are_equal_in_the_dialect_of_grpc() {
    let refused = equal(Dialect::Grpc, FAULTY);
    let refused = refused.iter().filter(|seen| seen.nacks > 0).count();
    assert!(refused > 40, "the histories are too tame: {refused}");
    let crossed = equal(Dialect::Grpc, Kind::Crossed);
    let crossed = crossed.iter().filter(|seen| seen.crossed > 0).count();
    assert!(crossed > 40, "the histories are too tame: {crossed}");
}

#[test]
fn the_defects_of_servers_are_seen_in_the_dialect_of_grpc() {
    let hidden = found(Dialect::Grpc, FAULTY, Defect::HidesRemovals);
    assert!(hidden > 40, "{hidden} of 200");
    let deaf = found(Dialect::Grpc, Kind::Crossed, Defect::IsDeaf);
    assert!(deaf > 20, "{deaf} of 200");
}
