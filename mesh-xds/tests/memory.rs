//! What a push of 50 MB costs in memory: at its peak, and what stays of it. Counted, not sampled.

use allocation_counter::measure;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::google::protobuf::{Any, Struct, Value, value::Kind};
use rig::Rig;
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const CLUSTERS: usize = 10_000;
/// Of each cluster, in bytes: 50 MB in all.
const SIZE: usize = 5_000;
const PUSH: i64 = (CLUSTERS * SIZE) as i64;

fn name(at: usize) -> String {
    format!("outbound|9080||service-{at}.default.svc.cluster.local")
}

/// A cluster whose metadata, which nothing here reads, makes it large; `version` makes it another one.
fn cluster(at: usize, version: usize, faulty: bool) -> Any {
    let filler = Value {
        kind: Some(Kind::StringValue(format!("{version:0>SIZE$}"))),
    };
    let fields = Struct {
        fields: [("filler".to_owned(), filler)].into(),
    };
    let metadata = Metadata {
        filter_metadata: [("istio".to_owned(), fields)].into(),
        ..Metadata::default()
    };
    let message = Cluster {
        metadata: Some(metadata),
        lb_policy: if faulty { 99 } else { 0 },
        ..wire::cluster_message(&name(at), "")
    };
    wire::any(CDS, &message)
}

fn push(version: usize, faulty: bool) -> Vec<Any> {
    (0..CLUSTERS)
        .map(|at| cluster(at, version, faulty))
        .collect()
}

/// A machine whose routes lead to every cluster, all of which it has.
fn configured() -> Rig {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "0", push(0, false));
    let hosts = (0..CLUSTERS).map(|at| wire::host(&format!("host-{at}"), &[&name(at)]));
    let hosts = hosts.collect();
    rig.deliver(RDS, "0", vec![wire::routes("9080", hosts)]);
    let endpoints = (0..CLUSTERS).map(|at| wire::endpoints(&name(at), 9080));
    rig.deliver(EDS, "0", endpoints.collect());
    assert_eq!(rig.ports(&format!("host-{}", CLUSTERS - 1)), [Some(9080)]);
    rig
}

/// What a push costs the machine beside itself: in bytes at its peak, and those that stay.
struct Cost {
    peak: u64,
    stays: i64,
}

fn cost(rig: &mut Rig, version: usize, faulty: bool) -> Cost {
    let mut resources = Vec::new();
    let built = measure(|| resources = push(version, faulty));
    assert!(built.bytes_current > PUSH, "it is no push of 50 MB");
    let mut sent = Vec::new();
    let taken = measure(|| sent = rig.deliver(CDS, &version.to_string(), resources));
    let of_clusters = |it: &&DiscoveryRequest| it.type_url == CDS.type_url();
    let answer = sent.iter().find(of_clusters).expect("an answer");
    assert_eq!(answer.error_detail.is_some(), faulty, "push {version}");
    let cost = Cost {
        peak: taken.bytes_max,
        stays: taken.bytes_current + built.bytes_current,
    };
    eprintln!(
        "push {version}: at most {} bytes beside itself, {} stay",
        cost.peak, cost.stays
    );
    cost
}

#[test]
fn a_push_of_50_mb_is_held_once() {
    let mut rig = None;
    let first = measure(|| rig = Some(configured()));
    let held = first.bytes_current;
    eprintln!("10,000 hosts, clusters and load assignments are held in {held} bytes");
    // The bytes of each cluster once, by which the next push is compared, and what was read from all three.
    assert!(held < PUSH * 5 / 2, "{held}");
    let mut rig = rig.expect("a machine");
    // The texts of refused ones are kept until the next good one.
    let mut kept = 0;
    for version in 1..7 {
        let cost = cost(&mut rig, version, version % 2 == 0);
        assert!(cost.peak < PUSH as u64 / 10, "push {version}");
        assert!(cost.stays < PUSH / 10, "push {version}");
        kept += cost.stays;
    }
    assert!(kept < PUSH / 10, "{kept} bytes of six pushes are kept");
    assert_eq!(rig.ports("host-0"), [Some(9080)]);
}
