//! What clusters and load assignments say about balancing, from the wire to the published cluster.

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster as ClusterMessage, LoadBalancingPolicy,
    cluster::common_lb_config::{
        LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
    },
    cluster::{CommonLbConfig, LbPolicy as LbPolicyMessage},
    load_balancing_policy::Policy as PolicyMessage,
};
use envoy_types::pb::envoy::config::core::v3::{
    HealthStatus, Locality as LocalityMessage, TypedExtensionConfig,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LocalityLbEndpoints, cluster_load_assignment::Policy,
};
use envoy_types::pb::envoy::extensions::load_balancing_policies::{
    common::v3::{LocalityLbConfig, locality_lb_config},
    round_robin::v3::RoundRobin,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use mesh_core::cluster::{Cluster, Health};
use mesh_core::lb::locality::Locality;
use mesh_core::lb::{InPanic, LbPolicy, Overprovisioning, Panic};
use prost::Message;
use rig::{Rig, error};
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// A group of endpoints on these ports.
fn group(
    priority: u32,
    zone: Option<&str>,
    weight: Option<u32>,
    ports: &[u16],
) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        locality: zone.map(|zone| LocalityMessage {
            zone: zone.to_owned(),
            ..LocalityMessage::default()
        }),
        load_balancing_weight: weight.and_then(number),
        lb_endpoints: ports
            .iter()
            .map(|port| wire::lb_endpoint(wire::addr(*port)))
            .collect(),
        priority,
        ..LocalityLbEndpoints::default()
    }
}

fn assignment(groups: Vec<LocalityLbEndpoints>) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        endpoints: groups,
        ..wire::assignment("one", &[])
    }
}

/// What is published for a cluster and its assignment.
fn published(cluster: &ClusterMessage, assignment: &ClusterLoadAssignment) -> Arc<Cluster> {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", vec![wire::any(CDS, cluster)]);
    let hosts = vec![wire::host("a", &["one"])];
    rig.deliver(RDS, "1", vec![wire::routes("9080", hosts)]);
    rig.deliver(EDS, "1", vec![wire::any(EDS, assignment)]);
    let target = rig.target("a").expect("a target");
    assert_eq!(target.waiting_for, None);
    Arc::clone(target.clusters[0].as_ref().expect("a cluster"))
}

fn with_common(config: CommonLbConfig) -> ClusterMessage {
    ClusterMessage {
        common_lb_config: Some(config),
        ..wire::cluster_message("one", "")
    }
}

fn locality_weighted() -> ClusterMessage {
    let specifier =
        LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig::default());
    with_common(CommonLbConfig {
        locality_config_specifier: Some(specifier),
        ..CommonLbConfig::default()
    })
}

fn zone(name: &str) -> Option<Arc<Locality>> {
    Some(Arc::new(Locality {
        zone: name.into(),
        ..Locality::default()
    }))
}

#[test]
fn without_a_word_on_it_envoys_defaults_hold() {
    let one = published(
        &wire::cluster_message("one", ""),
        &assignment(vec![group(0, None, None, &[1])]),
    );
    assert_eq!(one.lb, LbPolicy::RoundRobin.into());
    assert_eq!(
        one.lb.overprovisioning,
        Overprovisioning::Envoy { factor: 140 }
    );
    assert_eq!(
        (one.lb.panic.threshold, one.lb.panic.then),
        (50, InPanic::AllEndpoints)
    );
    assert_eq!(one.lb.locality_weights, None);
}

#[test]
fn the_overprovisioning_factor_is_the_assignments() {
    let mut sent = assignment(vec![group(0, None, None, &[1])]);
    sent.policy = Some(Policy {
        overprovisioning_factor: number(200),
        ..Policy::default()
    });
    let one = published(&wire::cluster_message("one", ""), &sent);
    assert_eq!(
        one.lb.overprovisioning,
        Overprovisioning::Envoy { factor: 200 }
    );
}

#[test]
fn the_panic_threshold_is_in_whole_percent() {
    for (sent, threshold) in [(0.0, 0), (0.9, 0), (29.0, 29), (57.3, 57), (100.0, 100)] {
        let cluster = with_common(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: sent }),
            ..CommonLbConfig::default()
        });
        let one = published(&cluster, &assignment(vec![group(0, None, None, &[1])]));
        assert_eq!(one.lb.panic.threshold, threshold, "{sent}");
    }
}

#[test]
fn traffic_may_be_failed_in_panic() {
    let zones = ZoneAwareLbConfig {
        fail_traffic_on_panic: true,
        ..ZoneAwareLbConfig::default()
    };
    let cluster = with_common(CommonLbConfig {
        locality_config_specifier: Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)),
        ..CommonLbConfig::default()
    });
    let mut sent = assignment(vec![group(0, None, None, &[1])]);
    sent.endpoints[0].lb_endpoints[0].health_status = HealthStatus::Unhealthy.into();
    let one = published(&cluster, &sent);
    assert_eq!(one.lb.panic.then, InPanic::NoEndpoint);
    assert_eq!(one.balancer.eligible(), 0);
    // Without it the only endpoint is better than none.
    let one = published(&wire::cluster_message("one", ""), &sent);
    assert_eq!(one.balancer.eligible(), 1);
}

#[test]
fn health_has_four_kinds() {
    let statuses = [
        (HealthStatus::Unknown as i32, Health::Healthy),
        (HealthStatus::Healthy as i32, Health::Healthy),
        (HealthStatus::Unhealthy as i32, Health::Unhealthy),
        (HealthStatus::Draining as i32, Health::Draining),
        (HealthStatus::Timeout as i32, Health::Unhealthy),
        (HealthStatus::Degraded as i32, Health::Degraded),
        (77, Health::Healthy),
    ];
    let ports: Vec<u16> = (1..).take(statuses.len()).collect();
    let mut sent = assignment(vec![group(0, None, None, &ports)]);
    for (endpoint, (status, _)) in sent.endpoints[0].lb_endpoints.iter_mut().zip(statuses) {
        endpoint.health_status = status;
    }
    let one = published(&wire::cluster_message("one", ""), &sent);
    let decoded: Vec<Health> = one.endpoints.iter().map(|e| e.health).collect();
    assert_eq!(decoded, statuses.map(|(_, health)| health));
}

#[test]
fn localities_have_weights_by_priority() {
    let sent = assignment(vec![
        group(0, Some("a"), Some(3), &[1, 2]),
        group(0, Some("b"), None, &[3]),
        group(5, Some("a"), Some(7), &[4]),
        // The locality without a name has a weight if it is said to be one.
        group(0, Some(""), Some(2), &[5]),
        group(1, None, Some(9), &[6]),
    ]);
    let one = published(&locality_weighted(), &sent);
    let weights = one.lb.locality_weights.as_ref().expect("weights count");
    for (priority, place, weight) in [
        (0, zone("a"), 3),
        (0, zone("b"), 0),
        (5, zone("a"), 7),
        (5, zone("b"), 0),
        (0, None, 2),
        (1, None, 0),
    ] {
        assert_eq!(weights.of(priority, &place), weight, "{priority} {place:?}");
    }
    let places: Vec<_> = one
        .endpoints
        .iter()
        .map(|e| (e.address.port(), e.priority, e.locality.clone()))
        .collect();
    let expected = [
        (1, 0, zone("a")),
        (2, 0, zone("a")),
        (3, 0, zone("b")),
        (4, 5, zone("a")),
        (5, 0, None),
        (6, 1, None),
    ];
    assert_eq!(places, expected);
    // Locality b has no weight; the other priorities are not needed.
    assert_eq!(one.balancer.eligible(), 3);
    let plain = published(&wire::cluster_message("one", ""), &sent);
    assert_eq!(plain.lb.locality_weights, None, "the cluster did not ask");
    assert_eq!(plain.balancer.eligible(), 4);
}

#[test]
fn an_extension_says_itself_whether_localities_count() {
    let extension = |localities: Option<locality_lb_config::LocalityConfigSpecifier>| {
        let config = RoundRobin {
            locality_lb_config: localities.map(|specifier| LocalityLbConfig {
                locality_config_specifier: Some(specifier),
            }),
            ..RoundRobin::default()
        };
        let typed = TypedExtensionConfig {
            name: "round robin".to_owned(),
            typed_config: Some(Any {
                type_url: "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin".to_owned(),
                value: config.encode_to_vec(),
            }),
        };
        ClusterMessage {
            lb_policy: LbPolicyMessage::Random.into(),
            load_balancing_policy: Some(LoadBalancingPolicy {
                policies: vec![PolicyMessage {
                    typed_extension_config: Some(typed),
                }],
            }),
            ..locality_weighted()
        }
    };
    let sent = assignment(vec![group(0, Some("a"), Some(3), &[1])]);
    use locality_lb_config::LocalityConfigSpecifier::{
        LocalityWeightedLbConfig as Weighted, ZoneAwareLbConfig as Zones,
    };
    let weighted = published(&extension(Some(Weighted(Default::default()))), &sent);
    assert_eq!(weighted.lb.policy, LbPolicy::RoundRobin);
    assert!(weighted.lb.locality_weights.is_some());
    let silent = published(&extension(None), &sent);
    assert_eq!(
        silent.lb.locality_weights, None,
        "common_lb_config is not asked"
    );
    let zones = locality_lb_config::ZoneAwareLbConfig {
        fail_traffic_on_panic: true,
        ..Default::default()
    };
    let zones = published(&extension(Some(Zones(zones))), &sent);
    assert_eq!(zones.lb.panic.then, InPanic::NoEndpoint);
}

#[test]
fn what_envoy_takes_is_taken() {
    // Gaps between priorities, the same locality twice, the same address twice, no endpoints.
    let sent = assignment(vec![
        group(3, Some("a"), Some(1), &[1, 1]),
        group(128, Some("a"), Some(1), &[2]),
        group(3, Some("a"), Some(8), &[3, 2]),
        group(0, Some("b"), Some(u32::MAX), &[]),
        group(0, Some("c"), Some(u32::MAX), &[]),
    ]);
    let one = published(&locality_weighted(), &sent);
    let ports: Vec<u16> = one.endpoints.iter().map(|e| e.address.port()).collect();
    assert_eq!(ports, [1, 2, 3]);
    let weights = one.lb.locality_weights.as_ref().expect("weights count");
    assert_eq!(weights.of(3, &zone("a")), 8, "the last word");
}

#[test]
fn what_envoy_refuses_is_refused_and_the_former_stays() {
    let with_policy = |factor| ClusterLoadAssignment {
        policy: Some(Policy {
            overprovisioning_factor: number(factor),
            ..Policy::default()
        }),
        ..assignment(vec![group(0, None, None, &[9])])
    };
    let mut light = assignment(vec![group(0, None, None, &[8, 9])]);
    light.endpoints[0].lb_endpoints[1].load_balancing_weight = number(0);
    let cases = [
        (
            with_policy(0),
            "policy.overprovisioning_factor: must be at least 1",
        ),
        (
            assignment(vec![
                group(0, None, None, &[9]),
                group(0, Some("a"), Some(0), &[9]),
            ]),
            "endpoints[1].load_balancing_weight: must be at least 1",
        ),
        (
            assignment(vec![group(129, None, None, &[9])]),
            "endpoints[0].priority: 129 is above 128",
        ),
        (
            light,
            "endpoints[0].lb_endpoints[1].load_balancing_weight: must be at least 1",
        ),
    ];
    for (sent, expected) in cases {
        let mut rig = Rig::configured();
        let answer = rig.answer(EDS, "2", vec![wire::any(EDS, &sent)]);
        assert!(error(&answer).contains(expected), "{}", error(&answer));
        assert_eq!(rig.ports("a"), [Some(1)]);
    }
    let mut rig = Rig::configured();
    let good = wire::any(EDS, &with_policy(1));
    rig.deliver(EDS, "2", vec![good, wire::endpoints("two", 2)]);
    assert_eq!(rig.ports("a"), [Some(9)], "the same without the fault");
}

#[test]
fn a_threshold_that_is_no_percentage_is_refused() {
    for value in [-0.1, 100.5, f64::NAN, f64::INFINITY] {
        let cluster = with_common(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value }),
            ..CommonLbConfig::default()
        });
        let one = published(&cluster, &assignment(vec![group(0, None, None, &[1])]));
        let fault = one.fault.as_deref().expect("a fault");
        let place = "common_lb_config.healthy_panic_threshold";
        assert!(fault.contains(place), "{fault}");
    }
    assert_eq!(Panic::default().threshold, 50);
}
