//! What a `DestinationRule` says of connections, balancing and ejection, written into a `Cluster`.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::UInt64Value;

use crate::kinds::connection_pool::{ConnectionPool, H2Upgrade, Keepalive};
use crate::kinds::load_balancer::{Algorithm, LoadBalancer, Table, Warmup};
use crate::kinds::mesh_config::MeshConfig;
use crate::kinds::service_entry::Protocol;
use crate::kinds::tls_settings::{Files, Names};
use crate::kinds::traffic_policy::{Effective, OutlierDetection, RetryBudget};

use super::proto;

/// istiod's defaults of `retryBudget`.
const BUDGET_PERCENT: f64 = 20.0;
const BUDGET_CONCURRENCY: u32 = 3;

/// `HttpProtocolOptions` while they are put together; nothing where none are needed.
#[derive(Default)]
pub(super) struct HttpOptions {
    protocol: Option<UpstreamProtocolOptions>,
    common: Option<core::HttpProtocolOptions>,
    names: Option<core::UpstreamHttpProtocolOptions>,
}

use http::http_protocol_options::UpstreamProtocolOptions;
use http::http_protocol_options::explicit_http_config::ProtocolConfig;
use http::http_protocol_options::{ExplicitHttpConfig, UseDownstreamHttpConfig};

impl HttpOptions {
    /// By what is spoken on a port, and what pool and mesh make of it.
    pub(super) fn of(protocol: Protocol, pool: Option<&ConnectionPool>, mesh: &MeshConfig) -> Self {
        let settings = pool.map(|pool| &pool.http);
        let as_client = settings.is_some_and(|http| http.use_client_protocol);
        let upgrade = match settings.map(|http| http.h2_upgrade).unwrap_or_default() {
            H2Upgrade::Upgrade => true,
            H2Upgrade::DoNotUpgrade => false,
            H2Upgrade::Default => {
                let plain = matches!(protocol, Protocol::Http | Protocol::Http2);
                plain && mesh.h2_upgrade == H2Upgrade::Upgrade
            }
        };
        let streams = settings.map_or(0, |http| http.max_concurrent_streams);
        let chosen = if as_client || protocol == Protocol::Unset {
            Some(downstream())
        } else if upgrade || protocol == Protocol::Http2 {
            Some(explicit_http2(streams))
        } else {
            None
        };
        Self {
            protocol: chosen,
            common: pool.and_then(common),
            names: None,
        }
    }

    /// Without a name in the rule a server is asked for by the host of the request, and without names of its
    /// certificate it must prove that one (istiod's `auto_sni` and `auto_san_validation`).
    pub(super) fn name_by_host(&mut self, files: &Files) {
        let Names { sni, sans } = &files.names;
        self.names = sni.is_empty().then(|| core::UpstreamHttpProtocolOptions {
            auto_sni: true,
            auto_san_validation: sans.is_empty(),
            ..Default::default()
        });
    }

    /// Whether HTTP/2 is spoken whatever the caller speaks.
    pub(super) fn is_http2(&self) -> bool {
        let Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)) = &self.protocol else {
            return false;
        };
        matches!(
            config.protocol_config,
            Some(ProtocolConfig::Http2ProtocolOptions(_))
        )
    }

    pub(super) fn build(self) -> Option<http::HttpProtocolOptions> {
        if self.protocol.is_none() && self.common.is_none() && self.names.is_none() {
            return None;
        }
        // Envoy refuses options that say no protocol.
        let plain = || {
            let config = ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default());
            UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                protocol_config: Some(config),
            })
        };
        Some(http::HttpProtocolOptions {
            upstream_protocol_options: Some(self.protocol.unwrap_or_else(plain)),
            common_http_protocol_options: self.common,
            upstream_http_protocol_options: self.names,
            ..http::HttpProtocolOptions::default()
        })
    }
}

/// What the caller speaks.
pub(super) fn downstream() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http_protocol_options: Some(core::Http1ProtocolOptions::default()),
        http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
        ..UseDownstreamHttpConfig::default()
    })
}

fn explicit_http2(streams: u32) -> UpstreamProtocolOptions {
    // Without a word the limit is the server's business.
    let streams = Some(streams).filter(|limit| *limit > 0);
    let options = core::Http2ProtocolOptions {
        max_concurrent_streams: streams.map(proto::uint32),
        ..core::Http2ProtocolOptions::default()
    };
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
        protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(options)),
    })
}

fn common(pool: &ConnectionPool) -> Option<core::HttpProtocolOptions> {
    let idle = pool.http.idle_timeout.or(pool.tcp.idle_timeout);
    let longest = pool.tcp.max_connection_duration;
    let requests = pool.http.max_requests_per_connection;
    // istiod says this block for a limit of streams alone too.
    let wanted =
        idle.is_some() || longest.is_some() || requests > 0 || pool.http.max_concurrent_streams > 0;
    wanted.then(|| core::HttpProtocolOptions {
        idle_timeout: idle.map(proto::duration),
        max_connection_duration: longest.map(proto::duration),
        max_requests_per_connection: Some(requests).filter(|n| *n > 0).map(proto::uint32),
        ..core::HttpProtocolOptions::default()
    })
}

/// Writes everything but the protocol into a cluster.
pub(super) fn apply(cluster: &mut pb::Cluster, policy: Effective<'_>, mesh: &MeshConfig) {
    let mut balancing = pb::cluster::CommonLbConfig::default();
    cluster.circuit_breakers = Some(breakers(policy.pool, policy.retry_budget));
    let tcp = policy.pool.map(|pool| &pool.tcp);
    if let Some(timeout) = tcp.and_then(|tcp| tcp.connect_timeout) {
        cluster.connect_timeout = Some(proto::duration(timeout));
    }
    cluster.upstream_connection_options = keepalive(mesh, tcp.and_then(|tcp| tcp.keepalive));
    if let Some(outlier) = policy.outlier {
        cluster.outlier_detection = Some(ejection(outlier));
        balancing.healthy_panic_threshold = Some(Percent {
            value: outlier.min_health_percent.into(),
        });
    }
    let setting = mesh.locality_for(policy.balancer);
    let fails_over = policy.outlier.is_some()
        && setting.is_some_and(|s| !s.failover.is_empty() || !s.priority.is_empty());
    if fails_over || setting.is_some_and(|s| !s.distribute.is_empty()) {
        balancing.locality_config_specifier = Some(
            pb::cluster::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(
                pb::cluster::common_lb_config::LocalityWeightedLbConfig {},
            ),
        );
    }
    cluster.common_lb_config = Some(balancing);
    if cluster.lb_policy() != pb::cluster::LbPolicy::ClusterProvided {
        let (lb_policy, config) = balancer(policy.balancer);
        cluster.lb_policy = lb_policy.into();
        cluster.lb_config = config;
    }
}

pub(super) fn breakers(
    pool: Option<&ConnectionPool>,
    budget: Option<RetryBudget>,
) -> pb::CircuitBreakers {
    let most = |limit: Option<u32>| {
        let limit = limit.filter(|limit| *limit > 0);
        Some(proto::uint32(limit.unwrap_or(u32::MAX)))
    };
    let budget = budget.map(|budget| {
        let concurrency = match budget.concurrency {
            0 => BUDGET_CONCURRENCY,
            given => given,
        };
        pb::circuit_breakers::thresholds::RetryBudget {
            budget_percent: Some(Percent {
                value: budget.percent.unwrap_or(BUDGET_PERCENT),
            }),
            min_retry_concurrency: Some(proto::uint32(concurrency)),
            budget_interval: budget.interval.map(proto::duration),
        }
    });
    let thresholds = pb::circuit_breakers::Thresholds {
        max_connections: most(pool.map(|pool| pool.tcp.max_connections)),
        max_pending_requests: most(pool.map(|pool| pool.http.max_pending)),
        max_requests: most(pool.map(|pool| pool.http.max_requests)),
        max_retries: most(pool.map(|pool| pool.http.max_retries)),
        retry_budget: budget,
        ..Default::default()
    };
    pb::CircuitBreakers {
        thresholds: vec![thresholds],
        ..Default::default()
    }
}

/// The mesh's settings with the rule's over them, field by field.
pub(super) fn keepalive(
    mesh: &MeshConfig,
    rule: Option<Keepalive>,
) -> Option<pb::UpstreamConnectionOptions> {
    if mesh.keepalive.is_none() && rule.is_none() {
        return None;
    }
    let (mesh, rule) = (mesh.keepalive.unwrap_or_default(), rule.unwrap_or_default());
    let seconds =
        |duration: Duration| proto::uint32(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX));
    let probes = [rule.probes, mesh.probes];
    let keepalive = core::TcpKeepalive {
        keepalive_probes: probes.into_iter().find(|n| *n > 0).map(proto::uint32),
        keepalive_time: rule.time.or(mesh.time).map(seconds),
        keepalive_interval: rule.interval.or(mesh.interval).map(seconds),
    };
    Some(pb::UpstreamConnectionOptions {
        tcp_keepalive: Some(keepalive),
        ..pb::UpstreamConnectionOptions::default()
    })
}

/// istiod enforces what is counted, always or never, and no success rates.
fn ejection(outlier: &OutlierDetection) -> pb::OutlierDetection {
    let enforce = |count: Option<u32>| count.map(|n| proto::uint32(if n > 0 { 100 } else { 0 }));
    let local = outlier.local_origin;
    let most = Some(outlier.max_ejection_percent).filter(|percent| *percent > 0);
    pb::OutlierDetection {
        enforcing_success_rate: Some(proto::uint32(0)),
        consecutive_5xx: outlier.consecutive_5xx.map(proto::uint32),
        enforcing_consecutive_5xx: enforce(outlier.consecutive_5xx),
        consecutive_gateway_failure: outlier.consecutive_gateway.map(proto::uint32),
        enforcing_consecutive_gateway_failure: enforce(outlier.consecutive_gateway),
        interval: outlier.interval.map(proto::duration),
        base_ejection_time: outlier.base_ejection_time.map(proto::duration),
        max_ejection_percent: most.map(proto::uint32),
        split_external_local_origin_errors: local.is_some(),
        consecutive_local_origin_failure: local.flatten().map(proto::uint32),
        enforcing_consecutive_local_origin_failure: enforce(local.flatten()),
        enforcing_local_origin_success_rate: local.map(|_| proto::uint32(0)),
        ..pb::OutlierDetection::default()
    }
}

fn balancer(
    settings: Option<&LoadBalancer>,
) -> (pb::cluster::LbPolicy, Option<pb::cluster::LbConfig>) {
    use pb::cluster::{LbConfig, LbPolicy};
    let Some(settings) = settings else {
        return (LbPolicy::LeastRequest, None);
    };
    let slow_start = settings.warmup.map(slow_start);
    match &settings.algorithm {
        Algorithm::Unspecified | Algorithm::LeastRequest | Algorithm::LeastConn => {
            let config = slow_start.map(|slow_start| pb::cluster::LeastRequestLbConfig {
                slow_start_config: Some(slow_start),
                ..Default::default()
            });
            (
                LbPolicy::LeastRequest,
                config.map(LbConfig::LeastRequestLbConfig),
            )
        }
        Algorithm::RoundRobin => {
            let config = slow_start.map(|slow_start| pb::cluster::RoundRobinLbConfig {
                slow_start_config: Some(slow_start),
            });
            (
                LbPolicy::RoundRobin,
                config.map(LbConfig::RoundRobinLbConfig),
            )
        }
        Algorithm::Random => (LbPolicy::Random, None),
        Algorithm::Passthrough => (LbPolicy::ClusterProvided, None),
        Algorithm::Hash(hash) => hashed(hash.table),
    }
}

/// The balancer of a consistent hash; a size of 0 is Envoy's own.
pub(super) fn hashed(table: Table) -> (pb::cluster::LbPolicy, Option<pb::cluster::LbConfig>) {
    use pb::cluster::{LbConfig, LbPolicy};
    let size = |size: u64| Some(size).filter(|size| *size > 0);
    match table {
        Table::Maglev { size: table } => {
            let config = size(table).map(|value| pb::cluster::MaglevLbConfig {
                table_size: Some(UInt64Value { value }),
            });
            (LbPolicy::Maglev, config.map(LbConfig::MaglevLbConfig))
        }
        Table::Ring { minimum } => {
            let config = size(minimum).map(|value| pb::cluster::RingHashLbConfig {
                minimum_ring_size: Some(UInt64Value { value }),
                ..Default::default()
            });
            (LbPolicy::RingHash, config.map(LbConfig::RingHashLbConfig))
        }
    }
}

fn slow_start(warmup: Warmup) -> pb::cluster::SlowStartConfig {
    let (aggression, minimum) = warmup.ramp.unzip();
    pb::cluster::SlowStartConfig {
        slow_start_window: Some(proto::duration(warmup.window)),
        aggression: aggression.map(|default_value| core::RuntimeDouble {
            default_value,
            // istiod's stand-in for a key that nobody sets; Envoy demands one.
            runtime_key: "(".to_owned(),
        }),
        min_weight_percent: minimum.map(|value| Percent { value }),
    }
}
