//! The state-of-the-world protocol, request by request, without a runtime: what is sent, when, with
//! which version and nonce (Envoy's xDS protocol, gRPC A27, A46, A57).

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{
    DiscoveryRequest, DiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use mesh_core::snapshot::{Missing, TableKey};
use mesh_xds::ads::Machine;
use mesh_xds::{DOES_NOT_EXIST_AFTER, Node, ResourceType};
use prost::Message;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rig::{Rig, TABLE, error};
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const SECOND: Duration = Duration::from_secs(1);

fn of(requests: &[DiscoveryRequest], resource_type: ResourceType) -> Vec<&DiscoveryRequest> {
    let url = resource_type.type_url();
    requests.iter().filter(|r| r.type_url == url).collect()
}

#[test]
fn the_first_request_is_a_wildcard_cds_and_only_it_carries_the_node() {
    let mut rig = Rig::new();
    let sent = rig.sent();
    let [cds, rds] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(cds.type_url, CDS.type_url());
    assert_eq!(cds.resource_names, Vec::<String>::new());
    assert_eq!((&*cds.version_info, &*cds.response_nonce), ("", ""));
    let node = cds.node.as_ref().expect("a node");
    assert_eq!(node, &Node::sidecar("reviews", "default").to_proto());
    assert_eq!(rds.type_url, RDS.type_url());
    assert_eq!(rds.resource_names, ["9080"]);
    assert_eq!(rds.node, None);
    assert_eq!(rig.sent(), []);
    let later = rig.deliver(CDS, "1", wire::clusters(&["one"]));
    assert!(later.iter().all(|request| request.node.is_none()));
}

#[test]
fn nothing_is_sent_without_a_stream() {
    let mut machine = Machine::new(Node::sidecar("reviews", "default"), "plane");
    machine.want(TABLE);
    let now = std::time::Instant::now();
    assert_eq!(machine.request(now), None);
    machine.connected();
    assert!(machine.request(now).is_some());
    machine.disconnected("gone", now, &mut StdRng::seed_from_u64(1));
    assert_eq!(machine.request(now), None);
}

#[test]
fn a_table_that_is_wanted_later_extends_the_subscription() {
    let mut rig = Rig::configured();
    assert!(rig.machine.want(TableKey::Gateway(8080)));
    assert!(!rig.machine.want(TableKey::Gateway(8080)), "is not new");
    let sent = rig.sent();
    let [request] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(request.type_url, RDS.type_url());
    assert_eq!(request.resource_names, ["9080", "http.8080"]);
    assert_eq!(
        (&*request.version_info, &*request.response_nonce),
        ("1", "nonce 2")
    );
    assert_eq!(request.error_detail, None);
}

#[test]
fn endpoints_are_asked_for_as_routes_name_their_clusters() {
    let mut rig = Rig::introduced();
    let sent = rig.deliver(CDS, "1", wire::clusters(&["one", "two", "unused"]));
    assert_eq!(
        of(&sent, EDS),
        Vec::<&DiscoveryRequest>::new(),
        "no empty first list"
    );
    let both = vec![wire::host("a", &["one"]), wire::host("b", &["two"])];
    let sent = rig.deliver(RDS, "1", vec![wire::routes("9080", both)]);
    assert_eq!(of(&sent, EDS)[0].resource_names, ["one", "two"]);
    rig.deliver(
        EDS,
        "1",
        vec![wire::endpoints("one", 1), wire::endpoints("two", 2)],
    );

    let only = vec![wire::host("b", &["two"])];
    let sent = rig.deliver(RDS, "2", vec![wire::routes("9080", only)]);
    assert_eq!(of(&sent, EDS)[0].resource_names, ["two"]);

    let sent = rig.deliver(RDS, "3", vec![wire::routes("9080", Vec::new())]);
    let last = of(&sent, EDS)[0];
    assert_eq!(
        last.resource_names,
        Vec::<String>::new(),
        "the last name goes as an empty list"
    );
    assert_eq!(
        (&*last.version_info, &*last.response_nonce),
        ("1", "nonce 3")
    );
}

/// Stale nonces of the xDS protocol: the server has not read that the name was let go, so it would not send it again.
#[test]
fn a_name_that_returns_before_the_server_read_that_it_left_is_left_out_once() {
    let mut rig = Rig::configured();
    let only = vec![wire::host("b", &["two"])];
    rig.deliver(RDS, "2", vec![wire::routes("9080", only)]);
    // It crosses the request for "two" alone, which the server ignores.
    rig.receive(EDS, "2", vec![wire::endpoints("one", 11)]);
    let both = vec![wire::host("a", &["one"]), wire::host("b", &["two"])];
    let sent = rig.deliver(RDS, "3", vec![wire::routes("9080", both)]);
    let [without, with] = &of(&sent, EDS)[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(without.resource_names, ["two"]);
    assert_eq!(with.resource_names, ["one", "two"]);
    assert_eq!(without.response_nonce, with.response_nonce);

    // These were crossed as well: once more, and not for ever.
    for left_out in [true, false, false] {
        let sent = rig.deliver(EDS, "3", vec![wire::endpoints("two", 12)]);
        let names: Vec<_> = of(&sent, EDS)
            .iter()
            .map(|request| &request.resource_names[..])
            .collect();
        match left_out {
            true => assert_eq!(names, [&["two"][..], &["one", "two"]]),
            false => assert_eq!(names, [&["one", "two"]]),
        }
    }
    rig.deliver(EDS, "4", vec![wire::endpoints("one", 21)]);
    assert_eq!(rig.ports("a"), [Some(21)]);
}

#[test]
fn endpoints_are_asked_for_by_service_name() {
    let mut rig = Rig::introduced();
    let named = wire::any(CDS, &wire::cluster_message("one", "service of one"));
    rig.deliver(CDS, "1", vec![named]);
    let sent = rig.deliver(
        RDS,
        "1",
        vec![wire::routes("9080", vec![wire::host("a", &["one"])])],
    );
    assert_eq!(of(&sent, EDS)[0].resource_names, ["service of one"]);
    rig.deliver(EDS, "1", vec![wire::endpoints("service of one", 7)]);
    assert_eq!(rig.ports("a"), [Some(7)]);
}

#[test]
fn routes_before_clusters_lead_to_one_request_for_all_endpoints() {
    let mut rig = Rig::introduced();
    let hosts = vec![wire::host("a", &["one"]), wire::host("b", &["two"])];
    let sent = rig.deliver(RDS, "1", vec![wire::routes("9080", hosts)]);
    assert_eq!(of(&sent, EDS).len(), 0);
    let sent = rig.deliver(CDS, "1", wire::clusters(&["one", "two"]));
    let eds = of(&sent, EDS);
    assert_eq!(eds.len(), 1);
    assert_eq!(eds[0].resource_names, ["one", "two"]);
}

/// Each row: what arrives, and the version of the answer. The nonce is checked by `answer`.
#[test]
fn an_answer_has_the_last_good_version_and_the_newest_nonce() {
    let mut rig = Rig::introduced();
    let good = || vec![wire::routes("9080", vec![wire::host("a", &["one"])])];
    let bad = || {
        vec![wire::routes(
            "9080",
            vec![wire::host_message("a", &["a\nb"], &[("one", 1)])],
        )]
    };
    let rows = [
        ("1", good(), "1", true),
        ("2", bad(), "1", false),
        ("3", bad(), "1", false),
        ("4", good(), "4", true),
        ("4", good(), "4", true),
        ("3", good(), "3", true),
    ];
    for (version, resources, answered, accepted) in rows {
        let answer = rig.answer(RDS, version, resources);
        assert_eq!(answer.version_info, answered);
        assert_eq!(answer.error_detail.is_none(), accepted, "{version}");
        assert_eq!(answer.resource_names, ["9080"]);
        assert_eq!(rig.sent(), [], "exactly one answer");
    }
}

#[test]
fn a_first_response_that_is_bad_is_answered_without_a_version() {
    let mut rig = Rig::introduced();
    let answer = rig.answer(RDS, "1", vec![wire::routes("", Vec::new())]);
    assert_eq!(answer.version_info, "");
    assert_eq!(
        error(&answer),
        "route configuration \"\" of version \"1\" rejected: name: is empty"
    );
}

#[test]
fn types_are_answered_independently() {
    let mut rig = Rig::introduced();
    rig.receive(CDS, "c1", wire::clusters(&["one"]));
    rig.receive(RDS, "r1", vec![wire::routes("9080", Vec::new())]);
    let answers: Vec<_> = rig
        .sent()
        .into_iter()
        .map(|r| (r.type_url, r.version_info, r.response_nonce))
        .collect();
    let expected = [(CDS, "c1", "nonce 1"), (RDS, "r1", "nonce 2")].map(|(of, version, nonce)| {
        (
            of.type_url().to_owned(),
            version.to_owned(),
            nonce.to_owned(),
        )
    });
    assert_eq!(answers, expected);
}

#[test]
fn two_responses_before_an_answer_are_answered_by_the_newer_nonce() {
    let mut rig = Rig::introduced();
    rig.receive(CDS, "1", wire::clusters(&["one"]));
    rig.receive(CDS, "2", wire::clusters(&["two"]));
    let sent = rig.sent();
    let [answer] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (&*answer.version_info, &*answer.response_nonce),
        ("2", "nonce 2")
    );
}

#[test]
fn a_nack_lists_every_error_and_the_good_resources_are_used() {
    let mut rig = Rig::configured();
    let bad_port = {
        let mut bad = wire::assignment("one", &[wire::addr(9)]);
        bad.endpoints[0].lb_endpoints.push(Default::default());
        wire::any(EDS, &bad)
    };
    let nameless = wire::any(EDS, &wire::assignment("", &[]));
    let foreign = wire::cluster("one");
    let broken = Any {
        type_url: EDS.type_url().to_owned(),
        value: vec![0x0a, 0xff],
    };
    let resources = vec![
        bad_port,
        nameless,
        foreign,
        wire::endpoints("two", 22),
        broken,
    ];
    let answer = rig.answer(EDS, "2", resources);
    assert_eq!(answer.version_info, "1");
    let text = error(&answer);
    let expected = [
        "endpoints \"one\" of version \"2\" rejected: endpoints[0].lb_endpoints[1].endpoint: is missing",
        "endpoints \"\" of version \"2\" rejected: cluster_name: is empty",
        "type_url: \"type.googleapis.com/envoy.config.cluster.v3.Cluster\" in a response of",
        "not valid protobuf",
    ];
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(text.matches("rejected:").count(), 4, "{text}");
    assert_eq!(rig.ports("a"), [Some(1)], "the last good stays");
    assert_eq!(rig.ports("b"), [Some(22)], "the good one is used");
    assert_eq!(rig.machine.status().rejected.len(), 4);
    let answer = rig.answer(EDS, "3", vec![wire::endpoints("one", 11)]);
    assert_eq!((answer.error_detail, &*answer.version_info), (None, "3"));
    assert_eq!(
        rig.machine.status().rejected.len(),
        0,
        "told while it lasts"
    );
}

#[test]
fn a_resource_that_appears_twice_is_an_error() {
    let mut rig = Rig::introduced();
    let answer = rig.answer(CDS, "1", wire::clusters(&["one", "two", "one"]));
    assert!(error(&answer).contains("cluster \"one\" of version \"1\" rejected: appears twice"));
}

#[test]
fn the_resource_wrapper_is_taken_off() {
    let wrap = |resource: Option<Any>| {
        let wrapper = Resource {
            name: "one".to_owned(),
            resource,
            ..Resource::default()
        };
        Any {
            type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned(),
            value: wrapper.encode_to_vec(),
        }
    };
    let mut rig = Rig::configured();
    let answer = rig.answer(EDS, "2", vec![wrap(Some(wire::endpoints("one", 5)))]);
    assert_eq!(answer.error_detail, None);
    assert_eq!(rig.ports("a"), [Some(5)]);
    let answer = rig.answer(EDS, "3", vec![wrap(None), wrap(Some(wire::cluster("one")))]);
    assert!(error(&answer).contains("the wrapper is empty"));
    assert!(error(&answer).contains("envoy.config.cluster.v3.Cluster"));
    assert_eq!(rig.ports("a"), [Some(5)]);
}

#[test]
fn types_and_resources_that_were_not_asked_for_are_ignored() {
    let mut rig = Rig::introduced();
    let unknown = DiscoveryResponse {
        type_url: "type.googleapis.com/envoy.config.listener.v3.Listener".to_owned(),
        version_info: "7".to_owned(),
        nonce: "n".to_owned(),
        resources: vec![Any::default()],
        ..DiscoveryResponse::default()
    };
    rig.machine.received(unknown);
    assert_eq!(rig.sent(), [], "an unknown type is not answered");
    assert!(!rig.machine.status().connected);
    rig.receive(EDS, "7", vec![wire::endpoints("one", 1), Any::default()]);
    assert_eq!(rig.sent(), [], "nor is one that was not subscribed");
    assert!(rig.assemble().is_none());

    rig.deliver(CDS, "1", wire::clusters(&["one"]));
    let hosts = || vec![wire::host("a", &["one"])];
    let tables = ["9080", "9081", "http.9080", "inbound|80||"];
    let answer = rig.answer(
        RDS,
        "1",
        tables.map(|name| wire::routes(name, hosts())).to_vec(),
    );
    assert_eq!(answer.error_detail, None);
    let resources = vec![wire::endpoints("one", 1), wire::endpoints("other", 2)];
    let sent = rig.deliver(EDS, "1", resources);
    assert_eq!(sent[0].error_detail, None);
    assert_eq!(sent[0].resource_names, ["one"]);
    assert_eq!(rig.snapshot.tables.len(), 1);
    assert_eq!(rig.ports("a"), [Some(1)]);
}

#[test]
fn an_early_response_leaves_no_version_or_nonce_behind() {
    let mut rig = Rig::introduced();
    rig.receive(EDS, "7", Vec::new());
    rig.deliver(CDS, "1", wire::clusters(&["one"]));
    let sent = rig.deliver(
        RDS,
        "1",
        vec![wire::routes("9080", vec![wire::host("a", &["one"])])],
    );
    let eds = of(&sent, EDS)[0];
    assert_eq!((&*eds.version_info, &*eds.response_nonce), ("", ""));
}

#[test]
fn a_new_stream_begins_with_versions_but_without_nonces() {
    let mut rig = Rig::configured();
    // An answer that was never sent must not go out on the next stream.
    rig.receive(CDS, "2", wire::clusters(&["one", "two"]));
    rig.reconnect();
    let sent = rig.sent();
    let seen: Vec<_> = sent
        .iter()
        .map(|r| {
            (
                &*r.type_url,
                &*r.version_info,
                &*r.response_nonce,
                r.node.is_some(),
            )
        })
        .collect();
    let expected = [
        (CDS.type_url(), "2", "", true),
        (EDS.type_url(), "1", "", false),
        (RDS.type_url(), "1", "", false),
    ];
    assert_eq!(seen, expected);
    assert_eq!(sent[1].resource_names, ["one", "two"]);
    assert_eq!(sent[2].resource_names, ["9080"]);
    assert!(sent.iter().all(|request| request.error_detail.is_none()));
    assert!(rig.assemble().is_none(), "what is cached stays");
}

#[test]
fn a_new_stream_keeps_the_last_good_version_after_a_nack() {
    let mut rig = Rig::configured();
    rig.deliver(RDS, "2", vec![wire::routes("", Vec::new())]);
    rig.reconnect();
    let sent = rig.sent();
    assert_eq!(of(&sent, RDS)[0].version_info, "1");
}

#[test]
fn pauses_grow_by_1_6_up_to_5_s_and_begin_anew_after_a_response() {
    let mut rig = Rig::introduced();
    for round in 0..3 {
        let mut expected = 0.1_f64;
        let mut jitters = Vec::new();
        for attempt in 0..20 {
            rig.disconnect();
            let at = rig.machine.reconnect_at().expect("a time to come back");
            let factor = (at - rig.now).as_secs_f64() / expected;
            assert!(
                (0.8..=1.2).contains(&factor),
                "attempt {attempt}: {factor} of {expected}"
            );
            jitters.push(factor);
            expected = (expected * 1.6).min(5.0);
            rig.now = at;
            rig.machine.connected();
            assert_eq!(rig.machine.reconnect_at(), None);
        }
        let spread = jitters.iter().fold(0.0_f64, |a, f| a.max((f - 1.0).abs()));
        assert!(spread > 0.1, "there is jitter: {jitters:?}");
        assert!(expected > 4.9, "the cap was reached");
        // Only the response makes the next round begin at 100 ms.
        rig.sent();
        rig.deliver(CDS, &round.to_string(), Vec::new());
    }
}

#[test]
fn a_stream_that_brings_only_foreign_types_does_not_reset_the_pause() {
    let mut rig = Rig::introduced();
    for _ in 0..10 {
        rig.reconnect();
        rig.machine.received(DiscoveryResponse::default());
    }
    rig.disconnect();
    let pause = rig.machine.reconnect_at().expect("a time") - rig.now;
    assert!(pause > 3 * SECOND, "{pause:?}");
}

#[test]
fn the_status_says_how_the_link_stands() {
    let mut rig = Rig::introduced();
    let status = rig.machine.status();
    assert_eq!(&*status.server, "plane:15010");
    assert_eq!(
        &*status.node,
        "sidecar~127.0.0.1~reviews.default~default.svc.cluster.local"
    );
    assert!(!status.connected, "no response yet");
    rig.deliver(CDS, "1", Vec::new());
    assert!(rig.machine.status().connected);
    rig.machine
        .disconnected("connection reset", rig.now, &mut rig.rng);
    assert!(!rig.machine.status().connected);
    assert_eq!(
        rig.machine.status().last_error.as_deref(),
        Some("connection reset")
    );
}

#[test]
fn a_table_that_is_not_sent_in_15_s_does_not_exist() {
    let mut rig = Rig::introduced();
    assert_eq!(rig.machine.wake_at(), Some(rig.now + DOES_NOT_EXIST_AFTER));
    rig.deliver(CDS, "1", Vec::new());
    assert!(
        rig.after(DOES_NOT_EXIST_AFTER - Duration::from_millis(1))
            .is_none()
    );
    rig.after(Duration::from_millis(1)).expect("a generation");
    let missing = rig
        .snapshot
        .tables
        .get(&TABLE)
        .expect("a table")
        .missing
        .clone();
    let Some(Missing::NotReceived(text)) = missing else {
        panic!("{missing:?}");
    };
    for part in [
        "9080",
        "plane:15010",
        "sidecar~127.0.0.1~reviews.default",
        "15 s",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(rig.machine.wake_at(), None);

    rig.deliver(
        RDS,
        "1",
        vec![wire::routes(
            "9080",
            vec![wire::host_message("a", &["a"], &[])],
        )],
    );
    assert!(
        rig.snapshot
            .tables
            .get(&TABLE)
            .expect("a table")
            .missing
            .is_some(),
        "it was bad"
    );
    rig.deliver(RDS, "2", vec![wire::routes("9080", Vec::new())]);
    let table = rig.snapshot.tables.get(&TABLE).expect("a table");
    assert_eq!(table.missing, None, "a later arrival revives it");
}

#[test]
fn a_load_assignment_that_is_not_sent_in_15_s_is_empty() {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", wire::clusters(&["one"]));
    rig.deliver(
        RDS,
        "1",
        vec![wire::routes("9080", vec![wire::host("a", &["one"])])],
    );
    let target = rig.target("a").expect("a target");
    assert_eq!(
        target.waiting_for.as_deref(),
        Some("the endpoints \"one\" (EDS)")
    );
    rig.after(DOES_NOT_EXIST_AFTER).expect("a generation");
    assert_eq!(rig.ports("a"), [Some(0)]);
    rig.deliver(EDS, "1", vec![wire::endpoints("one", 3)]);
    assert_eq!(rig.ports("a"), [Some(3)], "a later arrival revives it");
}

#[test]
fn the_timer_counts_only_what_a_live_stream_was_asked_for() {
    let mut rig = Rig::introduced();
    rig.after(14 * SECOND);
    rig.disconnect();
    assert_eq!(rig.machine.wake_at(), None);
    assert!(
        rig.after(60 * SECOND).is_none(),
        "nothing can arrive, so nothing is missing"
    );
    rig.machine.connected();
    assert_eq!(rig.machine.wake_at(), None, "nothing was sent yet");
    rig.sent();
    assert_eq!(rig.machine.wake_at(), Some(rig.now + DOES_NOT_EXIST_AFTER));
}

#[test]
fn the_timer_does_not_start_for_what_is_cached() {
    let mut rig = Rig::configured();
    rig.reconnect();
    rig.sent();
    assert_eq!(rig.machine.wake_at(), None);
    assert!(rig.after(60 * SECOND).is_none());
    assert_eq!(rig.ports("a"), [Some(1)]);
}

#[test]
fn the_timer_of_a_name_that_is_no_longer_asked_for_stops() {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", wire::clusters(&["one", "two"]));
    let to = |cluster| vec![wire::routes("9080", vec![wire::host("a", &[cluster])])];
    rig.deliver(RDS, "1", to("one"));
    rig.after(10 * SECOND);
    rig.deliver(RDS, "2", to("two"));
    rig.deliver(EDS, "1", vec![wire::endpoints("two", 2)]);
    rig.after(SECOND);
    rig.deliver(RDS, "3", to("one"));
    assert_eq!(
        rig.machine.wake_at(),
        Some(rig.now + DOES_NOT_EXIST_AFTER),
        "counted from now"
    );
    rig.after(14 * SECOND);
    assert_eq!(rig.ports("a"), [Some(2)], "held meanwhile");
}
