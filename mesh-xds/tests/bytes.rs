//! Whatever bytes arrive in the place of resources: no panic, and what works stays.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier};
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryResponse, Resource};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::google::protobuf::{Any, Struct, UInt32Value, Value, value::Kind};
use mesh_xds::ResourceType;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rig::Rig;
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const SEED: u64 = 42;
const ROUNDS: usize = 10_000;

fn rng() -> StdRng {
    eprintln!("seed {SEED}");
    StdRng::seed_from_u64(SEED)
}

fn bytes(rng: &mut impl Rng, most: usize) -> Vec<u8> {
    let length = rng.random_range(0..=most);
    (0..length).map(|_| rng.random()).collect()
}

fn some_type(rng: &mut impl Rng) -> ResourceType {
    wire::SIDECAR[rng.random_range(0..3)]
}

/// The resources of [`Rig::configured`].
fn good(of: ResourceType) -> Vec<Any> {
    match of {
        ResourceType::Cluster => wire::clusters(&["one", "two"]),
        ResourceType::Endpoints => vec![wire::endpoints("one", 1), wire::endpoints("two", 2)],
        ResourceType::Route => {
            let hosts = vec![wire::host("a", &["one"]), wire::host("b", &["two"])];
            vec![wire::routes("9080", hosts)]
        }
        ResourceType::Listener => Vec::new(),
    }
}

/// Truncates, flips bits, overwrites, repeats or splices.
fn mutate(value: &mut Vec<u8>, other: &[u8], times: u32, rng: &mut impl Rng) {
    for _ in 0..times {
        if value.is_empty() {
            return;
        }
        let at = rng.random_range(0..value.len());
        match rng.random_range(0..6) {
            0 => value.truncate(at),
            1 => value[at] ^= 1 << rng.random_range(0..8),
            2 => value[at] = rng.random(),
            3 => drop(value.remove(at)),
            4 => value.extend_from_within(at..),
            _ => {
                value.truncate(at);
                value.extend(&other[rng.random_range(0..=other.len())..]);
            }
        }
    }
}

/// The rig is in its good state again, whatever has happened.
fn heals(rig: &mut Rig, version: usize) {
    for of in [CDS, RDS, EDS] {
        let answer = rig.answer(of, &version.to_string(), good(of));
        assert_eq!(answer.error_detail, None);
    }
    // A name that was dropped meanwhile has been asked for anew.
    rig.deliver(EDS, &version.to_string(), good(EDS));
    assert_eq!(rig.ports("a"), [Some(1)]);
    assert_eq!(rig.ports("b"), [Some(2)]);
    assert_eq!(rig.machine.wake_at(), None);
}

#[test]
fn arbitrary_bytes_are_refused_and_change_nothing() {
    let mut rng = rng();
    let mut rig = Rig::configured();
    let mut refused = 0;
    for round in 0..ROUNDS {
        let of = some_type(&mut rng);
        let count = rng.random_range(1..4);
        let resources = (0..count).map(|_| Any {
            type_url: of.type_url().to_owned(),
            value: bytes(&mut rng, 64),
        });
        let resources: Vec<Any> = resources.collect();
        let answer = rig.answer(of, &format!("bad {round}"), resources);
        refused += usize::from(answer.error_detail.is_some());
        assert_eq!(
            (rig.ports("a"), rig.ports("b")),
            (vec![Some(1)], vec![Some(2)]),
            "round {round}"
        );
    }
    assert!(refused > ROUNDS * 9 / 10, "{refused}");
    heals(&mut rig, 0);
}

#[test]
fn damaged_resources_lose_nothing_when_they_are_refused() {
    let mut rng = rng();
    let mut rig = Rig::configured();
    let (mut refused, mut taken) = (0, 0);
    for round in 0..ROUNDS {
        let of = some_type(&mut rng);
        let mut resources = good(of);
        // One of them is damaged, the others are as they were: a refusal must mean "no change".
        let at = rng.random_range(0..resources.len());
        let other = good(some_type(&mut rng)).swap_remove(0).value;
        let times = rng.random_range(1..4);
        mutate(&mut resources[at].value, &other, times, &mut rng);
        let generation = rig.snapshot.generation;
        let answer = rig.answer(of, &format!("damaged {round}"), resources);
        if answer.error_detail.is_some() {
            refused += 1;
            let same = rig.snapshot.generation == generation
                || of == CDS && rig.ports("a") == [Some(1)] && rig.ports("b") == [Some(2)];
            assert!(same, "round {round}: {:?}", answer.error_detail);
            if of == CDS {
                // A cluster may have got the name of another.
                heals(&mut rig, round);
            }
        } else {
            taken += 1;
            heals(&mut rig, round);
        }
    }
    assert!(
        refused > ROUNDS / 10 && taken > ROUNDS / 20,
        "{refused} refused, {taken} taken"
    );
    heals(&mut rig, 0);
}

#[test]
fn arbitrary_responses_are_survived() {
    let mut rng = rng();
    let mut rig = Rig::configured();
    let mut decoded = 0;
    for round in 0..ROUNDS {
        let of = some_type(&mut rng);
        let other = some_type(&mut rng);
        let mut wire = wire::response(of, "x", "n", good(other)).encode_to_vec();
        let spare = wire::response(other, "y", "m", good(of)).encode_to_vec();
        mutate(&mut wire, &spare, 1, &mut rng);
        if rng.random_ratio(1, 10) {
            wire = bytes(&mut rng, 256);
        }
        if let Ok(response) = DiscoveryResponse::decode(&*wire) {
            decoded += 1;
            rig.machine.received(response);
            rig.assemble();
            rig.sent();
        }
        if rng.random_ratio(1, 50) {
            heals(&mut rig, round);
        }
    }
    assert!(decoded > ROUNDS / 5, "{decoded}");
    heals(&mut rig, 0);
}

/// A struct in a value in a struct, deeper than any stack, inside a cluster's metadata.
fn deep_cluster() -> Any {
    let field = |tag: &[u8], value: &[u8]| {
        let mut bytes = tag.to_vec();
        prost::encoding::encode_varint(value.len() as u64, &mut bytes);
        bytes.extend(value);
        bytes
    };
    let entry = |value: &[u8]| {
        field(
            &[0x0a],
            &[field(&[0x0a], b"k"), field(&[0x12], value)].concat(),
        )
    };
    let value = (0..3000).fold(Vec::new(), |value, _| field(&[0x2a], &entry(&value)));
    let metadata = field(&[0xca, 0x01], &entry(&entry(&value)));
    let mut cluster = wire::cluster("one");
    cluster.value.extend(metadata);
    cluster
}

fn wrapped_200_times() -> Any {
    let wrap = |resource| Any {
        type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned(),
        value: Resource {
            resource: Some(resource),
            ..Resource::default()
        }
        .encode_to_vec(),
    };
    (0..200).fold(Any::default(), |nested, _| wrap(nested))
}

fn exploding_regex() -> Any {
    let regex = RegexMatcher {
        regex: "((((a{1,1000}){1,1000}){1,1000}){1,1000})".to_owned(),
        ..RegexMatcher::default()
    };
    let mut host = wire::host("a", &["one"]);
    host.routes[0].r#match = Some(RouteMatch {
        path_specifier: Some(PathSpecifier::SafeRegex(regex)),
        ..RouteMatch::default()
    });
    wire::routes("9080", vec![host])
}

fn heavy_endpoints() -> Any {
    let mut one = wire::assignment("one", &[wire::addr(1), wire::addr(2)]);
    one.endpoints[0].priority = 128;
    let weights = [u32::MAX, 1].map(|value| UInt32Value { value });
    for (endpoint, weight) in one.endpoints[0].lb_endpoints.iter_mut().zip(weights) {
        endpoint.load_balancing_weight = Some(weight);
    }
    wire::any(EDS, &one)
}

fn odd_metadata() -> Any {
    let mut one = wire::assignment("one", &[wire::addr(1)]);
    let number = Value {
        kind: Some(Kind::NumberValue(f64::NAN)),
    };
    let labels = Struct {
        fields: [("tlsMode".to_owned(), number)].into(),
    };
    one.endpoints[0].lb_endpoints[0].metadata = Some(Metadata {
        filter_metadata: [("envoy.transport_socket_match".to_owned(), labels)].into(),
        ..Metadata::default()
    });
    wire::any(EDS, &one)
}

#[test]
fn hostile_shapes_are_survived() {
    let groups = |of: ResourceType| Any {
        type_url: of.type_url().to_owned(),
        value: vec![0x0b; 100_000],
    };
    let many = (0..10_000).map(|at| wire::host(&format!("h{at}"), &["one"]));
    let responses = [
        (RDS, vec![groups(RDS)]),
        (CDS, vec![groups(CDS)]),
        (EDS, vec![groups(EDS)]),
        (CDS, vec![deep_cluster(), wire::cluster("two")]),
        (RDS, vec![wrapped_200_times()]),
        (RDS, vec![wire::routes("9080", many.collect())]),
        (RDS, vec![exploding_regex()]),
        (EDS, vec![heavy_endpoints()]),
        (EDS, vec![odd_metadata()]),
        (CDS, vec![Any::default(); 10_000]),
    ];
    let mut rig = Rig::configured();
    for (version, (of, resources)) in responses.into_iter().enumerate() {
        rig.answer(of, &version.to_string(), resources);
        heals(&mut rig, version);
    }
}

/// A push of 50 MB and 10,000 clusters, of which one cannot be read: the others are there, and the NACK is short.
#[test]
fn one_bad_cluster_among_ten_thousand_spoils_no_other() {
    let mut rig = Rig::introduced();
    let wide = |name: String| {
        let message = Cluster {
            alt_stat_name: "x".repeat(5000),
            ..wire::cluster_message(&name, "")
        };
        wire::any(CDS, &message)
    };
    let mut all: Vec<Any> = (0..9_998).map(|at| wide(format!("c{at}"))).collect();
    all.extend(wire::clusters(&["one", "two"]));
    let size: usize = all.iter().map(|any| any.value.len()).sum();
    assert!(size > 49_000_000, "{size}");
    all[5000].value = vec![0xff; 40];
    let text = rig::error(&rig.answer(CDS, "1", all)).to_owned();
    assert!(
        text.len() < 300 && text.matches("rejected:").count() == 1,
        "{text}"
    );
    assert_eq!(rig.machine.status().rejected.len(), 1);
    let known = rig.machine.client_config(false).generic_xds_configs;
    let known = known
        .iter()
        .filter(|config| config.type_url == CDS.type_url());
    assert_eq!(known.count(), 9_999);
    heals(&mut rig, 2);
}

/// As many load assignments of one response; those that nobody asked for are not kept.
#[test]
fn one_bad_load_assignment_among_ten_thousand_spoils_no_other() {
    let mut rig = Rig::configured();
    let mut all: Vec<Any> = (0..9_998)
        .map(|at| wire::endpoints(&format!("c{at}"), 7))
        .collect();
    all.extend([wire::endpoints("one", 8), wire::endpoints("two", 9)]);
    all[5000].value.truncate(9);
    let text = rig::error(&rig.answer(EDS, "2", all)).to_owned();
    assert_eq!(text.matches("rejected:").count(), 1, "{text}");
    assert_eq!(
        (rig.ports("a"), rig.ports("b")),
        (vec![Some(8)], vec![Some(9)])
    );
    let known = rig.machine.client_config(false).generic_xds_configs;
    let known = known
        .iter()
        .filter(|config| config.type_url == EDS.type_url());
    assert!(known.count() <= 3, "what nobody asks for is not kept");
}

#[test]
fn a_push_that_is_cut_anywhere_is_survived() {
    let mut rig = Rig::configured();
    let mut read = 0;
    for of in ResourceType::ALL {
        let whole = wire::response(of, "2", "n", good(of)).encode_to_vec();
        for end in 0..whole.len() {
            if let Ok(response) = DiscoveryResponse::decode(&whole[..end]) {
                read += 1;
                rig.machine.received(response);
                rig.assemble();
                rig.sent();
            }
        }
        // The same inside of each resource: the response is whole, and one thing in it is not.
        for (at, any) in good(of).iter().enumerate() {
            for end in 0..any.value.len() {
                let mut resources = good(of);
                resources[at].value.truncate(end);
                rig.answer(of, "3", resources);
            }
        }
        heals(&mut rig, of as usize);
    }
    assert!(read > 5, "{read}");
}

/// What is passed over is counted and told: types that nobody asked for, and fields that have no effect.
#[test]
fn what_is_ignored_is_counted_and_told() {
    let mut rig = Rig::configured();
    for _ in 0..3 {
        let response = DiscoveryResponse {
            type_url: "type.googleapis.com/no.Such".to_owned(),
            ..DiscoveryResponse::default()
        };
        rig.machine.received(response);
    }
    let breaking = |name| Cluster {
        circuit_breakers: Some(Default::default()),
        ..wire::cluster_message(name, "")
    };
    let mut newer = wire::any(CDS, &breaking("two"));
    // Field 15,000 of a protocol to come.
    newer.value.extend([0xc0, 0xa9, 0x07, 0x01]);
    rig.deliver(CDS, "2", vec![wire::any(CDS, &breaking("one")), newer]);
    let mut dropping = wire::assignment("one", &[wire::addr(1)]);
    dropping
        .policy
        .get_or_insert_default()
        .weighted_priority_health = true;
    rig.deliver(EDS, "2", vec![wire::any(EDS, &dropping)]);
    let told = |rig: &Rig| {
        rig.machine
            .status()
            .ignored
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&rig),
        [
            "cluster \"one\" and 1 other clusters: circuit_breakers has no effect yet",
            "cluster \"two\": fields that this version does not know have no effect",
            "endpoints \"one\": weighted_priority_health has no effect yet",
            "responses of type \"type.googleapis.com/no.Such\", which was not asked for: 3",
        ]
    );
    heals(&mut rig, 3);
    assert_eq!(told(&rig).len(), 1, "the rest is mended: {:?}", told(&rig));
}

/// A server that never tires of new types fills no memory.
#[test]
fn unknown_types_do_not_pile_up() {
    let mut rig = Rig::configured();
    for at in 0..1000 {
        let response = DiscoveryResponse {
            type_url: format!("type.googleapis.com/no.Such{at}{}", "x".repeat(10_000)),
            ..DiscoveryResponse::default()
        };
        rig.machine.received(response);
    }
    let ignored = &rig.machine.status().ignored;
    assert_eq!(ignored.len(), 17);
    assert!(ignored.iter().all(|text| text.len() < 400), "{ignored:?}");
    assert!(ignored[16].ends_with(": 984"), "{}", ignored[16]);
}

/// Nothing that is refused may stay in memory, and a text must not grow with every response.
#[test]
fn errors_do_not_pile_up() {
    let mut rig = Rig::configured();
    let mut lengths = Vec::new();
    for round in 1000..1100 {
        let bad = Any {
            type_url: EDS.type_url().to_owned(),
            value: vec![0xff],
        };
        // A name that came back is left out of the first answer, and the second asks for it again.
        let sent = rig.deliver(EDS, &round.to_string(), vec![bad; 3]);
        let answer = sent
            .iter()
            .find(|request| request.type_url == EDS.type_url());
        lengths.push(rig::error(answer.expect("an answer")).len());
        assert_eq!(rig.machine.status().rejected.len(), 3);
        // A faulty cluster that routes name, let go and name again, with no CDS in between.
        let to = |cluster| vec![wire::routes("9080", vec![wire::host("a", &[cluster])])];
        if round == 1000 {
            rig.deliver(
                CDS,
                "1",
                vec![wire::cluster("one"), wire::bad_cluster("bad")],
            );
        }
        rig.deliver(RDS, &format!("{round} a"), to("bad"));
        rig.deliver(RDS, &format!("{round} b"), to("one"));
    }
    assert!(
        lengths.iter().all(|length| *length == lengths[0]),
        "{lengths:?}"
    );
    let answer = rig.answer(
        CDS,
        "2",
        vec![wire::cluster("one"), wire::bad_cluster("bad")],
    );
    assert_eq!(rig::error(&answer).matches("rejected:").count(), 1);
}
