//! How much of the traffic each priority takes: tables worked out by hand from the rules.

use mesh_core::lb::priority::{Hosts, PriorityLoad, loads};
use mesh_core::lb::{Overprovisioning, Panic};

const ENVOY: Overprovisioning = Overprovisioning::Envoy { factor: 140 };

fn threshold(threshold: u8) -> Panic {
    Panic {
        threshold,
        ..Panic::default()
    }
}

/// Of 100 endpoints.
fn hosts(healthy: u32, degraded: u32) -> Hosts {
    Hosts {
        total: 100,
        healthy,
        degraded,
        draining: 0,
    }
}

fn healthy_loads(healthy: &[u32], overprovisioning: Overprovisioning) -> Vec<u32> {
    let hosts: Vec<Hosts> = healthy.iter().map(|healthy| hosts(*healthy, 0)).collect();
    let loads = loads(&hosts, overprovisioning, Panic::default());
    assert_eq!(
        loads.iter().map(|load| load.degraded).sum::<u32>(),
        0,
        "{loads:?}"
    );
    loads.iter().map(|load| load.healthy).collect()
}

#[test]
fn what_the_first_priority_cannot_take_spills_over() {
    for (healthy, expected) in [
        (100, [100, 0]),
        (72, [100, 0]),
        (71, [99, 1]),
        (50, [70, 30]),
        (25, [35, 65]),
        (1, [1, 99]),
        (0, [0, 100]),
    ] {
        assert_eq!(
            healthy_loads(&[healthy, 100], ENVOY),
            expected,
            "{healthy} %"
        );
    }
}

#[test]
fn the_factor_is_what_decides_how_much_spills() {
    let factor = |factor| healthy_loads(&[50, 100], Overprovisioning::Envoy { factor });
    assert_eq!(factor(100), [50, 50]);
    assert_eq!(factor(200), [100, 0]);
    assert_eq!(factor(1), [0, 100]);
    assert_eq!(factor(u32::MAX), [100, 0]);
    assert_eq!(factor(0), [100, 0], "nothing counts as available");
}

#[test]
fn three_priorities_share_in_order() {
    assert_eq!(healthy_loads(&[25, 25, 100], ENVOY), [35, 35, 30]);
    assert_eq!(healthy_loads(&[0, 50, 50], ENVOY), [0, 70, 30]);
    assert_eq!(healthy_loads(&[100, 100, 100], ENVOY), [100, 0, 0]);
}

#[test]
fn loads_are_scaled_up_when_all_together_are_short() {
    let calm = |healthy: &[u32]| -> Vec<u32> {
        let hosts: Vec<Hosts> = healthy.iter().map(|healthy| hosts(*healthy, 0)).collect();
        let loads = loads(&hosts, ENVOY, threshold(0));
        loads.iter().map(|load| load.healthy).collect()
    };
    assert_eq!(calm(&[20, 20]), [50, 50]);
    // 1.4 * 13 is 18, 1.4 * 20 is 28: of 74 they get 24, 37 and 37, and rounding leaves 2.
    assert_eq!(calm(&[13, 20, 20]), [26, 37, 37]);
    assert_eq!(
        calm(&[0, 13, 20, 20]),
        [0, 26, 37, 37],
        "the first with any"
    );
    assert_eq!(calm(&[20]), [100]);
}

fn load(healthy: u32, degraded: u32) -> PriorityLoad {
    PriorityLoad {
        healthy,
        degraded,
        panic: false,
    }
}

#[test]
fn the_degraded_take_what_the_healthy_leave() {
    let envoy = |hosts: &[Hosts]| loads(hosts, ENVOY, threshold(0));
    // 70 % for the healthy half; the degraded half could take 70 %, and 30 % are left.
    assert_eq!(envoy(&[hosts(50, 50)]), [load(70, 30)]);
    // The healthy of every priority come before the degraded of any.
    assert_eq!(
        envoy(&[hosts(50, 50), hosts(100, 0)]),
        [load(70, 0), load(30, 0)]
    );
    assert_eq!(
        envoy(&[hosts(0, 100), hosts(50, 0)]),
        [load(0, 30), load(70, 0)]
    );
    assert_eq!(
        envoy(&[hosts(0, 50), hosts(0, 100)]),
        [load(0, 70), load(0, 30)]
    );
    // 10, 20, 10 and 20, 10, 0 of 70: 14, 28, 14 and 28, 14, 0; 2 are left over by rounding.
    let short = [hosts(10, 20), hosts(20, 10), hosts(10, 0)];
    let short = loads(
        &short,
        Overprovisioning::Envoy { factor: 100 },
        threshold(0),
    );
    assert_eq!(short, [load(16, 28), load(28, 14), load(14, 0)]);
    // Without a healthy one, the first degraded one gets what is left: 1.4 * 13 is 18, of 46.
    assert_eq!(
        envoy(&[hosts(0, 13), hosts(0, 20)]),
        [load(0, 40), load(0, 60)]
    );
}

fn panics(hosts: &[Hosts], threshold_: u8) -> Vec<bool> {
    let loads = loads(hosts, ENVOY, threshold(threshold_));
    loads.iter().map(|load| load.panic).collect()
}

#[test]
fn a_priority_panics_below_the_threshold() {
    // One priority of 60 % takes 84 %; with 40 % it takes 56 %, and panics.
    assert_eq!(panics(&[hosts(60, 0)], 50), [false]);
    assert_eq!(panics(&[hosts(50, 0)], 50), [false], "not below");
    assert_eq!(panics(&[hosts(49, 0)], 50), [true]);
    assert_eq!(
        panics(&[hosts(29, 20)], 50),
        [true],
        "degraded ones count as available"
    );
    assert_eq!(panics(&[hosts(30, 20)], 50), [false]);
    assert_eq!(panics(&[hosts(60, 0)], 61), [true]);
    assert_eq!(
        panics(&[hosts(0, 0)], 0),
        [false],
        "a threshold of 0 is none"
    );
    assert_eq!(
        panics(&[hosts(5, 0), hosts(65, 0)], 50),
        [true, false],
        "each by itself: 7 % and 91 % are 98 %"
    );
}

#[test]
fn nobody_panics_while_all_traffic_can_be_taken() {
    assert_eq!(panics(&[hosts(5, 0), hosts(67, 0)], 50), [false, false]);
    assert_eq!(panics(&[hosts(72, 0)], 100), [false]);
    assert_eq!(panics(&[hosts(71, 0)], 100), [true]);
}

#[test]
fn if_all_panic_the_number_of_endpoints_decides() {
    let of = |total| Hosts {
        total,
        ..Hosts::default()
    };
    let all = |totals: &[u32]| {
        let hosts: Vec<Hosts> = totals.iter().map(|total| of(*total)).collect();
        let loads = loads(&hosts, ENVOY, Panic::default());
        assert!(loads.iter().all(|load| load.panic && load.degraded == 0));
        loads.iter().map(|load| load.healthy).collect::<Vec<_>>()
    };
    assert_eq!(all(&[3, 1]), [75, 25]);
    // 53.8, 23.1 and 23.1: the first gets what rounding leaves.
    assert_eq!(all(&[7, 3, 3]), [54, 23, 23]);
    assert_eq!(all(&[0, 7, 3, 3]), [0, 54, 23, 23]);
    assert_eq!(all(&[u32::MAX, u32::MAX]), [50, 50]);
    assert_eq!(all(&[0]), [100]);
}

#[test]
fn with_nothing_available_and_no_panic_the_first_takes_all() {
    assert_eq!(
        loads(&[hosts(0, 0), hosts(0, 0)], ENVOY, threshold(0)),
        [load(100, 0), load(0, 0)]
    );
    // Available by the threshold, but the factor makes it less than one percent.
    let tiny = Overprovisioning::Envoy { factor: 1 };
    let loads = loads(&[hosts(10, 0), hosts(60, 0)], tiny, Panic::default());
    let expected = [
        PriorityLoad {
            panic: true,
            ..load(0, 0)
        },
        load(100, 0),
    ];
    assert_eq!(loads, expected);
}

#[test]
fn those_that_drain_are_not_missed() {
    let draining = Hosts {
        draining: 50,
        ..hosts(50, 0)
    };
    assert_eq!(
        loads(&[draining, hosts(100, 0)], ENVOY, Panic::default()),
        [load(100, 0), load(0, 0)]
    );
    let all = Hosts {
        draining: 100,
        ..hosts(0, 0)
    };
    assert_eq!(panics(&[all], 50), [true]);
    assert_eq!(panics(&[all], 0), [false]);
}

#[test]
fn strictly_the_first_with_a_healthy_endpoint_takes_all() {
    let strict = |hosts: &[Hosts]| loads(hosts, Overprovisioning::Strict, Panic::default());
    assert_eq!(
        strict(&[hosts(1, 99), hosts(100, 0)]),
        [load(100, 0), load(0, 0)]
    );
    assert_eq!(
        strict(&[hosts(0, 100), hosts(1, 0)]),
        [load(0, 0), load(100, 0)]
    );
    assert_eq!(strict(&[hosts(0, 100)]), [load(0, 0)]);
    assert_eq!(strict(&[]), []);
}
