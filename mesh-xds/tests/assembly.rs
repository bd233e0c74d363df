//! From responses to snapshots: what is published, what is held back, and what never goes away.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::{Cluster, cluster::TransportSocketMatch};
use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration};
use mesh_core::cluster::Transport;
use mesh_core::snapshot::TableKey;
use mesh_xds::ads::Machine;
use mesh_xds::{Change, DOES_NOT_EXIST_AFTER, MISSING_CLUSTER_GRACE, Node, Resources};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rig::{Rig, TABLE, error};
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const MOMENT: Duration = Duration::from_millis(1);

fn table(hosts: Vec<VirtualHost>) -> Vec<Any> {
    vec![wire::routes("9080", hosts)]
}

fn to(cluster: &str) -> Vec<Any> {
    table(vec![wire::host("a", &[cluster]), wire::host("b", &["two"])])
}

fn waiting(rig: &Rig, authority: &str) -> Option<String> {
    let target = rig.target(authority).expect("a target");
    target.waiting_for.as_deref().map(str::to_owned)
}

fn fault(rig: &Rig, authority: &str) -> Option<String> {
    let target = rig.target(authority).expect("a target");
    let cluster = target.clusters[0].as_ref().expect("a cluster");
    cluster.fault.as_deref().map(str::to_owned)
}

#[test]
fn the_first_version_waits_and_says_for_what() {
    let mut rig = Rig::introduced();
    rig.deliver(RDS, "1", table(vec![wire::host("a", &["one"])]));
    assert_eq!(waiting(&rig, "a").as_deref(), Some("the clusters (CDS)"));
    rig.deliver(CDS, "1", wire::clusters(&["two"]));
    assert_eq!(waiting(&rig, "a").as_deref(), Some("cluster \"one\" (CDS)"));
    rig.deliver(CDS, "2", wire::clusters(&["one"]));
    assert_eq!(
        waiting(&rig, "a").as_deref(),
        Some("the endpoints \"one\" (EDS)")
    );
    rig.deliver(EDS, "1", vec![wire::endpoints("one", 1)]);
    assert_eq!(rig.ports("a"), [Some(1)]);
}

#[test]
fn a_first_version_that_is_replaced_waits_under_its_new_domains() {
    let mut rig = Rig::introduced();
    rig.deliver(RDS, "1", table(vec![wire::host("a", &["one"])]));
    let wider = wire::host_message("a", &["a", "also"], &[("one", 1)]);
    rig.deliver(RDS, "2", table(vec![wider]));
    assert!(waiting(&rig, "also").is_some());
}

#[test]
fn a_host_waits_for_every_cluster_of_its_split() {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", wire::clusters(&["one", "two"]));
    rig.deliver(RDS, "1", table(vec![wire::host("a", &["one", "two"])]));
    rig.deliver(EDS, "1", vec![wire::endpoints("two", 2)]);
    assert!(waiting(&rig, "a").is_some());
    rig.deliver(EDS, "2", vec![wire::endpoints("one", 1)]);
    assert_eq!(rig.ports("a"), [Some(1), Some(2)]);
}

#[test]
fn a_cluster_of_weight_0_is_not_waited_for() {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", wire::clusters(&["one"]));
    let split = wire::host_message("a", &["a"], &[("none", 0), ("one", 1)]);
    rig.deliver(RDS, "1", table(vec![split]));
    rig.deliver(EDS, "1", vec![wire::endpoints("one", 1)]);
    assert_eq!(rig.ports("a"), [Some(1)]);
}

#[test]
fn a_host_is_held_while_the_others_move() {
    let mut rig = Rig::configured();
    let hosts = vec![wire::host("a", &["new"]), wire::host("b", &["one"])];
    rig.deliver(RDS, "2", table(hosts));
    assert_eq!(
        rig.ports("a"),
        [Some(1)],
        "the former version, with its clusters"
    );
    assert_eq!(rig.ports("b"), [Some(1)], "moved");
    rig.deliver(CDS, "2", wire::clusters(&["one", "two", "new"]));
    assert_eq!(rig.ports("a"), [Some(1)], "the endpoints are missing");
    rig.deliver(EDS, "2", vec![wire::endpoints("new", 3)]);
    assert_eq!(rig.ports("a"), [Some(3)]);
    assert_eq!(rig.machine.wake_at(), None);
}

#[test]
fn a_held_host_is_published_without_its_cluster_after_the_grace() {
    let mut rig = Rig::configured();
    rig.deliver(RDS, "2", to("none"));
    assert_eq!(rig.machine.wake_at(), Some(rig.now + MISSING_CLUSTER_GRACE));
    assert!(rig.after(MISSING_CLUSTER_GRACE - MOMENT).is_none());
    assert_eq!(rig.ports("a"), [Some(1)]);
    rig.after(MOMENT).expect("a generation");
    assert_eq!(rig.ports("a"), [None]);
    assert_eq!(rig.machine.wake_at(), None);
    assert!(rig.after(MISSING_CLUSTER_GRACE).is_none());

    rig.deliver(CDS, "2", wire::clusters(&["two", "none"]));
    rig.deliver(EDS, "2", vec![wire::endpoints("none", 4)]);
    assert_eq!(rig.ports("a"), [Some(4)], "it heals");
}

#[test]
fn a_cluster_that_is_taken_away_is_kept_for_the_grace() {
    let mut rig = Rig::configured();
    rig.deliver(CDS, "2", wire::clusters(&["two"]));
    assert_eq!(rig.ports("a"), [Some(1)]);
    rig.after(MISSING_CLUSTER_GRACE).expect("a generation");
    assert_eq!(rig.ports("a"), [None]);
    assert_eq!(rig.ports("b"), [Some(2)]);
}

#[test]
fn losing_the_control_plane_gives_no_host_up() {
    let mut rig = Rig::configured();
    rig.deliver(RDS, "2", to("new"));
    rig.after(MISSING_CLUSTER_GRACE - MOMENT);
    rig.disconnect();
    assert_eq!(rig.machine.wake_at(), None);
    assert!(rig.after(Duration::from_secs(3600)).is_none());
    rig.machine.connected();
    rig.sent();
    assert!(
        rig.after(Duration::from_secs(10)).is_none(),
        "not heard from it yet"
    );
    assert_eq!(rig.ports("a"), [Some(1)], "the last good stays");
    rig.deliver(CDS, "1", wire::clusters(&["one", "two"]));
    assert_eq!(
        rig.machine.wake_at(),
        Some(rig.now + MISSING_CLUSTER_GRACE),
        "counted anew"
    );
    rig.after(MISSING_CLUSTER_GRACE).expect("a generation");
    assert_eq!(rig.ports("a"), [None]);
}

#[test]
fn endpoints_of_a_held_host_still_refresh() {
    let mut rig = Rig::configured();
    rig.deliver(RDS, "2", to("none"));
    rig.deliver(EDS, "2", vec![wire::endpoints("one", 11)]);
    assert_eq!(rig.ports("a"), [Some(11)]);
    let sent = rig.deliver(EDS, "3", Vec::new());
    assert!(
        sent[0].resource_names.contains(&"one".to_owned()),
        "still asked for"
    );
}

#[test]
fn endpoints_move_at_once() {
    let mut rig = Rig::configured();
    rig.receive(EDS, "2", vec![wire::endpoints("one", 11)]);
    let assembled = rig.assemble().expect("a generation");
    let [Change { table, old, new }] = &assembled.changes[..] else {
        panic!("{:?}", assembled.changes)
    };
    assert_eq!(*table, TABLE);
    let port = |target: &Option<Arc<mesh_core::snapshot::Target>>| {
        let target = target.as_ref().expect("a target");
        target.clusters[0].as_ref().expect("a cluster").endpoints[0]
            .address
            .port()
    };
    assert_eq!((port(old), port(new)), (1, 11));
    assert_eq!(assembled.tables, []);
}

#[test]
fn an_absent_load_assignment_is_not_a_deletion() {
    let mut rig = Rig::configured();
    rig.deliver(EDS, "2", vec![wire::endpoints("two", 22)]);
    assert_eq!(rig.ports("a"), [Some(1)]);
    rig.deliver(RDS, "2", Vec::new());
    assert_eq!(rig.ports("a"), [Some(1)], "nor is an absent table");
    rig.deliver(
        EDS,
        "3",
        vec![wire::any(EDS, &wire::assignment("one", &[]))],
    );
    assert_eq!(rig.ports("a"), [Some(0)], "an empty one is");
}

#[test]
fn the_same_bytes_again_publish_nothing() {
    let mut rig = Rig::configured();
    let generation = rig.snapshot.generation;
    let hosts = || table(vec![wire::host("a", &["one"]), wire::host("b", &["two"])]);
    let endpoints = || vec![wire::endpoints("one", 1), wire::endpoints("two", 2)];
    for _ in 0..3 {
        rig.deliver(CDS, "1", wire::clusters(&["one", "two"]));
        rig.deliver(RDS, "1", hosts());
        rig.deliver(EDS, "1", endpoints());
        assert_eq!(rig.snapshot.generation, generation);
        rig.reconnect();
        rig.sent();
    }
    rig.deliver(CDS, "2", wire::clusters(&["one", "two"]));
    rig.deliver(EDS, "2", endpoints());
    assert_eq!(rig.snapshot.generation, generation);
    rig.receive(RDS, "2", hosts());
    let assembled = rig.assemble().expect("the table's version is shown");
    assert_eq!(assembled.changes.len(), 0, "no host is touched");
    assert_eq!(assembled.tables, [TABLE]);
}

#[test]
fn only_what_changed_is_published() {
    let mut rig = Rig::configured();
    let before = Arc::clone(rig.target("b").expect("a target"));
    rig.receive(RDS, "2", to("two"));
    let assembled = rig.assemble().expect("a generation");
    assert_eq!(assembled.changes.len(), 1);
    rig.snapshot = assembled.snapshot;
    assert!(Arc::ptr_eq(&before, rig.target("b").expect("a target")));
    assert_eq!(
        rig.snapshot.tables.get(&TABLE).map(|t| &*t.version),
        Some("2")
    );
}

#[test]
fn a_removed_host_disappears() {
    let mut rig = Rig::configured();
    rig.receive(RDS, "2", table(vec![wire::host("b", &["two"])]));
    let assembled = rig.assemble().expect("a generation");
    let [
        Change {
            old: Some(old),
            new: None,
            ..
        },
    ] = &assembled.changes[..]
    else {
        panic!("{:?}", assembled.changes)
    };
    assert_eq!(&**old.host.name(), "a");
    rig.snapshot = assembled.snapshot;
    assert!(rig.target("a").is_none());
    assert_eq!(rig.ports("b"), [Some(2)]);
    rig.deliver(RDS, "3", to("one"));
    rig.deliver(EDS, "2", vec![wire::endpoints("one", 1)]);
    assert_eq!(rig.ports("a"), [Some(1)], "and comes back");
}

#[test]
fn a_domain_moves_between_hosts() {
    let mut rig = Rig::configured();
    let owner = |name: &str| {
        let domains = |own: &'static str| {
            if own == name {
                vec![own, "shared"]
            } else {
                vec![own]
            }
        };
        table(vec![
            wire::host_message("a", &domains("a"), &[("one", 1)]),
            wire::host_message("b", &domains("b"), &[("two", 1)]),
        ])
    };
    for (round, (name, port)) in [("a", 1), ("b", 2), ("a", 1)].into_iter().enumerate() {
        rig.deliver(RDS, &format!("{}", round + 2), owner(name));
        assert_eq!(rig.ports("shared"), [Some(port)]);
        assert_eq!(
            (rig.ports("a"), rig.ports("b")),
            (vec![Some(1)], vec![Some(2)])
        );
    }
    rig.deliver(RDS, "9", to("one"));
    assert!(rig.target("shared").is_none());
}

/// `a` loses the domain and `b` gains it; one of the two is not complete.
#[test]
fn a_domain_never_belongs_to_nobody_while_it_moves() {
    for held in ["a", "b"] {
        let mut rig = Rig::configured();
        let with = |domains: &[&str], name: &str, cluster| {
            wire::host_message(name, domains, &[(cluster, 1)])
        };
        let before = vec![with(&["a", "shared"], "a", "one"), with(&["b"], "b", "two")];
        rig.deliver(RDS, "2", table(before));
        let cluster = |name, else_| if name == held { "new" } else { else_ };
        let after = vec![
            with(&["a"], "a", cluster("a", "two")),
            with(&["b", "shared"], "b", cluster("b", "one")),
        ];
        rig.deliver(RDS, "3", table(after));
        assert_eq!(
            rig.ports("shared"),
            [Some(1)],
            "{held} is held, so a still has it"
        );
        assert_eq!(rig.ports("b"), [Some(2)], "{held} is held, so both wait");
        rig.deliver(
            EDS,
            "2",
            vec![wire::endpoints("one", 11), wire::endpoints("two", 22)],
        );
        assert_eq!(
            (rig.ports("a"), rig.ports("shared")),
            (vec![Some(11)], vec![Some(11)])
        );
        rig.deliver(CDS, "2", wire::clusters(&["one", "two", "new"]));
        rig.deliver(EDS, "3", vec![wire::endpoints("new", 3)]);
        let (of_a, of_b) = if held == "a" { (3, 11) } else { (22, 3) };
        assert_eq!(rig.ports("a"), [Some(of_a)]);
        assert_eq!(rig.ports("b"), [Some(of_b)]);
        assert_eq!(rig.ports("shared"), [Some(of_b)]);
        // Neither version of the host that lost it may take it back.
        rig.deliver(EDS, "4", vec![wire::endpoints("two", 222)]);
        assert_eq!(rig.ports("shared"), [Some(of_b)]);
    }
}

#[test]
fn a_removed_host_serves_until_its_successor_is_complete() {
    let mut rig = Rig::configured();
    let renamed = wire::host_message("a2", &["a"], &[("new", 1)]);
    rig.deliver(
        RDS,
        "2",
        table(vec![renamed.clone(), wire::host("b", &["two"])]),
    );
    assert_eq!(rig.ports("a"), [Some(1)]);
    rig.deliver(EDS, "2", vec![wire::endpoints("one", 11)]);
    assert_eq!(rig.ports("a"), [Some(11)], "and its endpoints refresh");
    rig.after(MISSING_CLUSTER_GRACE).expect("a generation");
    assert_eq!(rig.ports("a"), [None], "no longer than the grace");
    let names: Vec<_> = rig
        .snapshot
        .tables
        .get(&TABLE)
        .expect("a table")
        .targets()
        .collect();
    assert_eq!(names.len(), 2);

    let mut rig = Rig::configured();
    rig.deliver(RDS, "2", table(vec![renamed, wire::host("b", &["two"])]));
    rig.deliver(RDS, "3", to("two"));
    assert_eq!(rig.ports("a"), [Some(2)], "it came back before that");
    assert_eq!(rig.machine.wake_at(), None);
    let sent = rig.deliver(EDS, "2", Vec::new());
    assert_eq!(sent[0].resource_names, ["two"]);
}

#[test]
fn a_cluster_is_decoded_when_a_route_names_it_and_its_fault_is_told_from_then_on() {
    let mut rig = Rig::configured();
    let resources = || {
        let mut all = wire::clusters(&["one", "two"]);
        all.push(wire::bad_cluster("bad"));
        all
    };
    let answer = rig.answer(CDS, "2", resources());
    assert_eq!(answer.error_detail, None, "nobody has looked at it");
    rig.deliver(RDS, "2", to("bad"));
    let expected = "cluster \"bad\" of version \"2\" rejected: lb_policy: 99 is no policy";
    assert_eq!(fault(&rig, "a").as_deref(), Some(expected));
    assert_eq!(rig.ports("b"), [Some(2)], "only its own calls see it");
    for version in ["3", "4"] {
        let answer = rig.answer(CDS, version, resources());
        assert_eq!(answer.version_info, "2");
        assert!(error(&answer).contains("lb_policy: 99 is no policy"));
        assert_eq!(rig.machine.status().rejected.len(), 1);
    }
    let mended = wire::clusters(&["one", "two", "bad"]);
    assert_eq!(rig.answer(CDS, "5", mended).error_detail, None);
    rig.deliver(EDS, "2", vec![wire::endpoints("bad", 5)]);
    assert_eq!(rig.ports("a"), [Some(5)]);
    assert_eq!(fault(&rig, "a"), None);
    assert_eq!(rig.machine.status().rejected.len(), 0);
}

#[test]
fn a_cluster_that_works_stays_when_its_new_version_is_bad() {
    let mut rig = Rig::configured();
    let generation = rig.snapshot.generation;
    let bad = || vec![wire::bad_cluster("one"), wire::cluster("two")];
    for version in ["2", "3"] {
        let answer = rig.answer(CDS, version, bad());
        assert_eq!(answer.version_info, "1");
        assert!(error(&answer).contains("cluster \"one\""));
    }
    assert_eq!(rig.snapshot.generation, generation, "the last good stays");
    rig.deliver(EDS, "2", vec![wire::endpoints("one", 11)]);
    assert_eq!((rig.ports("a"), fault(&rig, "a")), (vec![Some(11)], None));
    rig.answer(CDS, "4", wire::clusters(&["one", "two"]));
    rig.deliver(CDS, "5", wire::clusters(&["two"]));
    rig.after(MISSING_CLUSTER_GRACE).expect("a generation");
    assert_eq!(rig.ports("a"), [None], "taking it away is no fault");
}

#[test]
fn clusters_stay_when_one_of_them_cannot_be_read() {
    let mut rig = Rig::configured();
    let unreadable = Any {
        value: vec![0xff],
        ..wire::cluster("one")
    };
    let answer = rig.answer(CDS, "2", vec![unreadable, wire::cluster("three")]);
    assert!(error(&answer).contains("cluster \"\" of version \"2\" rejected: not valid protobuf"));
    assert!(rig.after(DOES_NOT_EXIST_AFTER).is_none());
    assert_eq!(
        (rig.ports("a"), rig.ports("b")),
        (vec![Some(1)], vec![Some(2)])
    );
    rig.deliver(RDS, "2", to("three"));
    rig.deliver(EDS, "2", vec![wire::endpoints("three", 3)]);
    assert_eq!(
        rig.ports("a"),
        [Some(3)],
        "the good one of that response is there"
    );
}

#[test]
fn a_cluster_type_that_is_not_served_is_accepted_and_fails_its_own_calls() {
    use envoy_types::pb::envoy::config::cluster::v3::cluster::{
        ClusterDiscoveryType, CustomClusterType,
    };
    let mut rig = Rig::configured();
    let custom = CustomClusterType {
        name: "envoy.clusters.redis".to_owned(),
        ..CustomClusterType::default()
    };
    let redis = Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(custom)),
        ..wire::cluster_message("redis", "")
    };
    let all = vec![
        wire::any(CDS, &redis),
        wire::cluster("one"),
        wire::cluster("two"),
    ];
    assert_eq!(rig.answer(CDS, "2", all).error_detail, None);
    rig.deliver(RDS, "2", to("redis"));
    assert!(fault(&rig, "a").is_some_and(|text| text.contains("envoy.clusters.redis")));
    assert_eq!(rig.ports("b"), [Some(2)]);
}

#[test]
fn a_broken_route_configuration_changes_nothing() {
    let twice = |domains: [&str; 2]| {
        let host = |at: usize| wire::host_message(&format!("h{at}"), &[domains[at]], &[("two", 1)]);
        table(vec![host(0), host(1)])
    };
    let weights = wire::host_message("a", &["a"], &[("one", u32::MAX), ("two", 1)]);
    let rows = [
        (
            twice(["x", "X"]),
            "virtual_hosts[1].domains[0]: \"X\" is there twice",
        ),
        (
            table(vec![wire::host("", &["one"])]),
            "virtual_hosts[0].name: is empty",
        ),
        (
            table(vec![wire::host_message("a", &[], &[("one", 1)])]),
            "virtual_hosts[0].domains: is empty",
        ),
        (
            table(vec![wire::host_message("a", &["a\nb"], &[])]),
            "virtual_hosts[0].domains[0]",
        ),
        (
            table(vec![wire::host("a", &[])]),
            "virtual_hosts[0].routes[0].route.weighted_clusters",
        ),
        (
            table(vec![wire::host("a", &[""])]),
            "weighted_clusters.clusters[0].name: is empty",
        ),
        (table(vec![weights]), "more than 4294967295"),
    ];
    let mut rig = Rig::configured();
    let generation = rig.snapshot.generation;
    for (resources, expected) in rows {
        let answer = rig.answer(RDS, "2", resources);
        let text = error(&answer);
        assert!(
            text.starts_with("route configuration \"9080\" of version \"2\" rejected:"),
            "{text}"
        );
        assert!(text.contains(expected), "{expected:?} is not in {text:?}");
        assert_eq!(rig.snapshot.generation, generation);
    }
}

#[test]
fn endpoints_lead_to_the_transport_that_their_cluster_demands() {
    let socket = |name: &str, type_url: Option<&str>| TransportSocket {
        name: name.to_owned(),
        config_type: type_url.map(|type_url| {
            ConfigType::TypedConfig(Any {
                type_url: type_url.to_owned(),
                value: Vec::new(),
            })
        }),
    };
    let raw = "envoy.transport_sockets.raw_buffer";
    let raw_type = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    let tls_type =
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let rows = [
        (None, true),
        (Some(socket(raw, None)), true),
        (Some(socket(raw, Some(raw_type))), true),
        (Some(socket(raw, Some(tls_type))), false),
        (
            Some(socket("envoy.transport_sockets.tls", Some(tls_type))),
            false,
        ),
        (Some(socket("tls", Some(raw_type))), false),
    ];
    for (socket, plaintext) in rows {
        let own = Cluster {
            transport_socket: socket.clone(),
            ..wire::cluster_message("one", "")
        };
        let matched = Cluster {
            transport_socket_matches: vec![TransportSocketMatch {
                name: "m".to_owned(),
                transport_socket: socket.clone(),
                ..TransportSocketMatch::default()
            }],
            ..wire::cluster_message("one", "")
        };
        for cluster in [own, matched] {
            let mut rig = Rig::configured();
            rig.deliver(
                CDS,
                "2",
                vec![wire::any(CDS, &cluster), wire::cluster("two")],
            );
            let cluster = rig.target("a").expect("a target").clusters[0].clone();
            let transport = cluster.expect("a cluster").endpoints[0].transport.clone();
            assert_eq!(
                transport == Transport::Plaintext,
                plaintext,
                "{socket:?}: {transport:?}"
            );
        }
    }
}

#[test]
fn a_bad_connect_timeout_is_a_fault() {
    let seconds = |seconds, nanos| Some(PbDuration { seconds, nanos });
    for timeout in [
        seconds(0, 0),
        seconds(-1, 0),
        seconds(1, -1),
        seconds(1, i32::MAX),
        seconds(315_576_000_001, 0),
        seconds(i64::MAX, 0),
    ] {
        let mut rig = Rig::configured();
        let one = Cluster {
            connect_timeout: timeout,
            ..wire::cluster_message("one", "")
        };
        let answer = rig.answer(CDS, "2", vec![wire::any(CDS, &one), wire::cluster("two")]);
        assert!(
            error(&answer).contains("connect_timeout: must be positive"),
            "{timeout:?}"
        );
    }
}

/// A cluster that goes and comes back between two requests was never unsubscribed: the control plane
/// will not send its endpoints again.
#[test]
fn endpoints_are_kept_as_long_as_they_are_asked_for() {
    let mut rig = Rig::configured();
    rig.receive(CDS, "2", wire::clusters(&["two"]));
    rig.assemble();
    rig.receive(EDS, "2", vec![wire::endpoints("one", 11)]);
    rig.assemble();
    rig.receive(CDS, "3", wire::clusters(&["one", "two"]));
    rig.assemble();
    assert_eq!(rig.ports("a"), [Some(11)]);
    assert!(rig.after(DOES_NOT_EXIST_AFTER).is_none());

    rig.receive(RDS, "2", to("two"));
    rig.assemble();
    rig.receive(RDS, "3", to("one"));
    rig.assemble();
    assert_eq!(
        rig.ports("a"),
        [Some(11)],
        "the same for a route that goes and comes back"
    );
}

#[test]
fn endpoints_are_forgotten_when_they_are_no_longer_asked_for() {
    let mut rig = Rig::configured();
    let sent = rig.deliver(RDS, "2", to("two"));
    assert!(sent.iter().any(|r| r.resource_names == ["two"]));
    rig.deliver(EDS, "2", vec![wire::endpoints("one", 99)]);
    rig.deliver(RDS, "3", to("one"));
    assert_eq!(rig.ports("a"), [Some(2)], "what came unasked is not used");
    rig.deliver(EDS, "3", vec![wire::endpoints("one", 1)]);
    assert_eq!(rig.ports("a"), [Some(1)]);
}

#[test]
fn subscriptions_follow_the_routes_over_1000_random_updates() {
    let seed = 7;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rig = Rig::introduced();
    let mut names: Vec<String> = Vec::new();
    for round in 0..1000_u32 {
        let version = round.to_string();
        let clusters: Vec<String> = (0..8).map(|at| format!("{round}-{at}")).collect();
        let named: Vec<&str> = clusters.iter().map(String::as_str).collect();
        let used = rng.random_range(0..8);
        let hosts: Vec<_> = (0..used)
            .map(|at| {
                wire::host(
                    &format!("host {}", rng.random_range(0..u32::MAX)),
                    &[named[at]],
                )
            })
            .collect();
        let mut updates = [
            (CDS, wire::clusters(&named)),
            (RDS, table(hosts)),
            (
                EDS,
                named.iter().map(|name| wire::endpoints(name, 1)).collect(),
            ),
        ];
        updates.swap(0, rng.random_range(0..3));
        for (of, resources) in updates {
            for request in rig.deliver(of, &version, resources) {
                if request.type_url == EDS.type_url() {
                    names = request.resource_names;
                }
            }
        }
        // Between the two, hosts that are held keep what they had.
        rig.after(MISSING_CLUSTER_GRACE);
        for request in rig.sent() {
            names = request.resource_names;
        }
        assert_eq!(names, named[..used], "seed {seed}, round {round}");
        let published = rig
            .snapshot
            .tables
            .get(&TABLE)
            .map_or(0, |t| t.targets().count());
        assert_eq!(published, used, "seed {seed}, round {round}");
    }
}

#[test]
fn a_folder_hands_over_everything_at_once() {
    let mut machine = Machine::new(Node::sidecar("reviews", "default"), "mesh/");
    machine.want(TABLE);
    machine.want(TableKey::Port(80));
    let now = std::time::Instant::now();
    let mut resources = Resources::default();
    resources
        .clusters
        .insert("one".to_owned(), wire::cluster("one"));
    resources
        .clusters
        .insert("empty".to_owned(), wire::cluster("empty"));
    resources
        .endpoints
        .insert("one".to_owned(), wire::endpoints("one", 1));
    let hosts = vec![
        wire::host("a", &["one"]),
        wire::host("b", &["empty"]),
        wire::host("c", &["none"]),
    ];
    resources
        .routes
        .insert("9080".to_owned(), wire::routes("9080", hosts));
    machine.replaced(&"1".into(), &resources);
    let snapshot = machine.assemble(now).expect("a generation").snapshot;
    let table = snapshot.tables.get(&TABLE).expect("a table");
    let ports = |host: &str| -> Vec<Option<usize>> {
        let target = table.find(host).expect("a target");
        assert_eq!(target.waiting_for, None, "nothing waits");
        target
            .clusters
            .iter()
            .map(|c| c.as_ref().map(|c| c.endpoints.len()))
            .collect()
    };
    assert_eq!(
        (ports("a"), ports("b"), ports("c")),
        (vec![Some(1)], vec![Some(0)], vec![None])
    );
    assert!(
        snapshot
            .tables
            .get(&TableKey::Port(80))
            .is_some_and(|t| t.missing.is_some())
    );
    assert_eq!(machine.wake_at(), None);
    machine.replaced(&"1".into(), &resources);
    assert!(
        machine.assemble(now).is_none(),
        "the same again publishes nothing"
    );

    resources.routes.clear();
    machine.replaced(&"2".into(), &resources);
    let snapshot = machine.assemble(now).expect("a generation").snapshot;
    let table = snapshot.tables.get(&TABLE).expect("a table");
    assert!(
        table.missing.is_some() && table.find("a").is_none(),
        "a folder takes away"
    );
}
