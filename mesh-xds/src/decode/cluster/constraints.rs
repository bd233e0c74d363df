//! Envoy's constraints of the fields that have no effect here yet: a mistake in one is told today, and by both
//! of us.

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3::{HealthCheck, RoutingPriority};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Duration as PbDuration, UInt32Value, UInt64Value};
use pb::cluster::{LbConfig, RefreshRate, RingHashLbConfig, ring_hash_lb_config::HashFunction};

use super::Invalid;
use crate::decode::{Faults, duration};

/// `RingHashLbConfig`: the largest of both sizes.
const LARGEST_RING: u64 = 8 * 1024 * 1024;
/// `MaglevLbConfig.table_size`.
const LARGEST_TABLE: u64 = 5_000_011;

pub(super) fn check(cluster: &pb::Cluster) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    if let Some(outlier) = &cluster.outlier_detection {
        faults.take(outlier_detection(outlier).map_err(|e| e.within("outlier_detection")));
    }
    if let Some(breakers) = &cluster.circuit_breakers {
        faults.take(circuit_breakers(breakers).map_err(|e| e.within("circuit_breakers")));
    }
    faults.take(lb_config(cluster));
    if let Some(common) = &cluster.common_lb_config {
        faults.take(common_lb_config(common).map_err(|e| e.within("common_lb_config")));
    }
    for (at, check) in cluster.health_checks.iter().enumerate() {
        let within = |e: Invalid| e.within(format_args!("health_checks[{at}]"));
        faults.take(health_check(check).map_err(within));
    }
    for (at, filter) in cluster.filters.iter().enumerate() {
        faults.take(named(&filter.name).map_err(|e| e.within(format_args!("filters[{at}]"))));
    }
    faults.take(positive(
        "cleanup_interval",
        cluster.cleanup_interval.as_ref(),
    ));
    #[allow(deprecated, reason = "it is what is sent")]
    if let Some(rate) = &cluster.dns_failure_refresh_rate {
        faults.take(refresh_rate(rate).map_err(|e| e.within("dns_failure_refresh_rate")));
    }
    faults.or(Some(()))
}

fn outlier_detection(outlier: &pb::OutlierDetection) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    for (field, sent) in [
        ("interval", &outlier.interval),
        ("base_ejection_time", &outlier.base_ejection_time),
        ("max_ejection_time", &outlier.max_ejection_time),
    ] {
        faults.take(positive(field, sent.as_ref()));
    }
    if let Some(jitter) = &outlier.max_ejection_time_jitter {
        faults.take(valid("max_ejection_time_jitter", jitter));
    }
    for (field, sent) in [
        ("max_ejection_percent", outlier.max_ejection_percent),
        (
            "enforcing_consecutive_5xx",
            outlier.enforcing_consecutive_5xx,
        ),
        ("enforcing_success_rate", outlier.enforcing_success_rate),
        (
            "enforcing_consecutive_gateway_failure",
            outlier.enforcing_consecutive_gateway_failure,
        ),
        (
            "enforcing_consecutive_local_origin_failure",
            outlier.enforcing_consecutive_local_origin_failure,
        ),
        (
            "enforcing_local_origin_success_rate",
            outlier.enforcing_local_origin_success_rate,
        ),
        (
            "failure_percentage_threshold",
            outlier.failure_percentage_threshold,
        ),
        (
            "enforcing_failure_percentage",
            outlier.enforcing_failure_percentage,
        ),
        (
            "enforcing_failure_percentage_local_origin",
            outlier.enforcing_failure_percentage_local_origin,
        ),
    ] {
        faults.take(whole_percent(field, sent));
    }
    faults.or(Some(()))
}

fn circuit_breakers(breakers: &pb::CircuitBreakers) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    let lists = [
        ("thresholds", &breakers.thresholds),
        ("per_host_thresholds", &breakers.per_host_thresholds),
    ];
    for (field, list) in lists {
        for (at, threshold) in list.iter().enumerate() {
            if RoutingPriority::try_from(threshold.priority).is_err() {
                let reason = format_args!("{} is no priority", threshold.priority);
                faults.add(Invalid::new(format!("{field}[{at}].priority"), reason));
            }
            let budget = threshold.retry_budget.as_ref();
            let percent_sent = budget.and_then(|budget| budget.budget_percent);
            let within = |e: Invalid| e.within(format_args!("{field}[{at}].retry_budget"));
            faults.take(percent("budget_percent", percent_sent).map_err(within));
        }
    }
    faults.or(Some(()))
}

/// Whatever `lb_policy` is, as Envoy checks it.
fn lb_config(cluster: &pb::Cluster) -> Result<(), Invalid> {
    match &cluster.lb_config {
        Some(LbConfig::RingHashLbConfig(ring)) => {
            ring_hash(ring).map_err(|e| e.within("ring_hash_lb_config"))
        }
        Some(LbConfig::MaglevLbConfig(maglev)) => {
            at_most("table_size", maglev.table_size, LARGEST_TABLE)
                .map_err(|e| e.within("maglev_lb_config"))
        }
        Some(LbConfig::OriginalDstLbConfig(original)) => {
            let port = original.upstream_port_override;
            let port = port.map(|port| UInt64Value {
                value: port.value.into(),
            });
            at_most("upstream_port_override", port, u16::MAX.into())
                .map_err(|e| e.within("original_dst_lb_config"))
        }
        Some(LbConfig::LeastRequestLbConfig(config)) => super::lb::choices(config.choice_count)
            .map(drop)
            .map_err(|e| e.within("least_request_lb_config")),
        Some(LbConfig::RoundRobinLbConfig(_)) | None => Ok(()),
    }
}

fn ring_hash(ring: &RingHashLbConfig) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    faults.take(at_most(
        "minimum_ring_size",
        ring.minimum_ring_size,
        LARGEST_RING,
    ));
    faults.take(at_most(
        "maximum_ring_size",
        ring.maximum_ring_size,
        LARGEST_RING,
    ));
    if HashFunction::try_from(ring.hash_function).is_err() {
        let reason = format_args!("{} is no hash function", ring.hash_function);
        faults.add(Invalid::new("hash_function", reason));
    }
    // Envoy's defaults, gRPC A42 has the same.
    let least = ring.minimum_ring_size.map_or(1024, |size| size.value);
    let most = ring
        .maximum_ring_size
        .map_or(LARGEST_RING, |size| size.value);
    if least > most {
        let reason = format_args!("{least} is above maximum_ring_size {most}");
        faults.add(Invalid::new("minimum_ring_size", reason));
    }
    faults.or(Some(()))
}

fn common_lb_config(common: &pb::cluster::CommonLbConfig) -> Result<(), Invalid> {
    use pb::cluster::common_lb_config::LocalityConfigSpecifier;
    let mut faults = Faults::default();
    if let Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)) =
        &common.locality_config_specifier
    {
        let enabled = percent("routing_enabled", zones.routing_enabled);
        faults.take(enabled.map_err(|e| e.within("zone_aware_lb_config")));
    }
    let hashing = common.consistent_hashing_lb_config;
    if let Some(factor) = hashing.and_then(|hashing| hashing.hash_balance_factor)
        && factor.value < 100
    {
        let reason = format_args!("{} is under 100", factor.value);
        let path = "consistent_hashing_lb_config.hash_balance_factor";
        faults.add(Invalid::new(path, reason));
    }
    faults.or(Some(()))
}

fn health_check(check: &HealthCheck) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    for (field, sent) in [("timeout", &check.timeout), ("interval", &check.interval)] {
        match sent {
            None => faults.add(Invalid::new(field, "is missing")),
            Some(sent) => drop(faults.take(positive(field, Some(sent)))),
        }
    }
    for (field, sent) in [
        ("unhealthy_threshold", check.unhealthy_threshold),
        ("healthy_threshold", check.healthy_threshold),
    ] {
        if sent.is_none() {
            faults.add(Invalid::new(field, "is missing"));
        }
    }
    if check.health_checker.is_none() {
        faults.add(Invalid::new("health_checker", "is missing"));
    }
    faults.or(Some(()))
}

fn refresh_rate(rate: &RefreshRate) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    match &rate.base_interval {
        None => faults.add(Invalid::new("base_interval", "is missing")),
        Some(base) => drop(faults.take(super::dns::interval("base_interval", base))),
    }
    if let Some(most) = &rate.max_interval {
        faults.take(super::dns::interval("max_interval", most));
    }
    faults.or(Some(()))
}

pub(super) fn named(name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::new("name", "is empty"));
    }
    Ok(())
}

fn valid(field: &'static str, wire: &PbDuration) -> Result<(), Invalid> {
    match duration(wire) {
        Some(_) => Ok(()),
        None => Err(Invalid::new(
            field,
            "must not be negative, and at most 315576000000 s",
        )),
    }
}

fn positive(field: &'static str, wire: Option<&PbDuration>) -> Result<(), Invalid> {
    match wire.map(duration) {
        None => Ok(()),
        Some(Some(time)) if !time.is_zero() => Ok(()),
        Some(_) => Err(Invalid::new(
            field,
            "must be positive, and at most 315576000000 s",
        )),
    }
}

fn whole_percent(field: &'static str, sent: Option<UInt32Value>) -> Result<(), Invalid> {
    let sent = sent.map(|sent| UInt64Value {
        value: sent.value.into(),
    });
    at_most(field, sent, 100)
}

fn at_most(field: &'static str, sent: Option<UInt64Value>, most: u64) -> Result<(), Invalid> {
    match sent {
        Some(sent) if sent.value > most => Err(Invalid::new(
            field,
            format_args!("{} is above {most}", sent.value),
        )),
        _ => Ok(()),
    }
}

pub(super) fn percent(field: &'static str, sent: Option<Percent>) -> Result<Option<f64>, Invalid> {
    match sent {
        None => Ok(None),
        Some(sent) if (0.0..=100.0).contains(&sent.value) => Ok(Some(sent.value)),
        Some(sent) => Err(Invalid::new(
            field,
            format_args!("{} is not between 0 and 100", sent.value),
        )),
    }
}
