//! `envoy.config.cluster.v3.Cluster`.
#![allow(deprecated, reason = "the older forms are still sent")]

use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, Filter, LoadBalancingPolicy, OutlierDetection,
    circuit_breakers::{Thresholds, thresholds::RetryBudget},
    cluster::{
        ClusterDiscoveryType, CommonLbConfig, CustomClusterType, DiscoveryType, EdsClusterConfig,
        LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, OriginalDstLbConfig, RefreshRate,
        RingHashLbConfig, TransportSocketMatch,
        common_lb_config::{ConsistentHashingLbConfig, LocalityConfigSpecifier, ZoneAwareLbConfig},
    },
    load_balancing_policy::Policy,
};
use envoy_types::pb::envoy::config::core::v3::{
    ConfigSource, HealthCheck, TransportSocket, TypedExtensionConfig,
    config_source::ConfigSourceSpecifier, transport_socket::ConfigType,
};
use envoy_types::pb::envoy::config::endpoint::v3::LocalityLbEndpoints;
use envoy_types::pb::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions},
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value, UInt64Value};
use prost::Message;

use crate::{OnlyHere, OnlyThere, Refused, Taken, Unread, wire};

type Row = crate::Row<Cluster>;

const fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

const fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

const fn large(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

const fn of(kind: DiscoveryType) -> Option<ClusterDiscoveryType> {
    Some(ClusterDiscoveryType::Type(kind as i32))
}

/// One of an endpoint that is in it, so that Envoy needs no control plane to judge it.
pub(crate) fn good() -> Cluster {
    Cluster {
        cluster_discovery_type: of(DiscoveryType::Static),
        eds_cluster_config: None,
        load_assignment: Some(wire::assignment("one", &[wire::addr(1)])),
        ..wire::cluster_message("one", "")
    }
}

/// The same one as a control plane that is asked for it by name sends it.
pub(crate) fn by_name() -> Cluster {
    let eds = EdsClusterConfig {
        eds_config: wire::ads(),
        ..EdsClusterConfig::default()
    };
    Cluster {
        cluster_discovery_type: of(DiscoveryType::Eds),
        eds_cluster_config: Some(eds),
        ..good()
    }
}

fn outlier(cluster: &mut Cluster) -> &mut OutlierDetection {
    cluster.outlier_detection.get_or_insert_default()
}

fn threshold(cluster: &mut Cluster) -> &mut Thresholds {
    let breakers: &mut CircuitBreakers = cluster.circuit_breakers.get_or_insert_default();
    breakers.thresholds = vec![Thresholds::default()];
    &mut breakers.thresholds[0]
}

fn common(cluster: &mut Cluster) -> &mut CommonLbConfig {
    cluster.common_lb_config.get_or_insert_default()
}

fn eds_from(cluster: &mut Cluster, source: ConfigSourceSpecifier) {
    cluster.cluster_discovery_type = of(DiscoveryType::Eds);
    cluster.load_assignment = None;
    cluster.eds_cluster_config = Some(EdsClusterConfig {
        eds_config: Some(ConfigSource {
            config_source_specifier: Some(source),
            ..ConfigSource::default()
        }),
        ..EdsClusterConfig::default()
    });
}

fn dns(cluster: &mut Cluster, kind: DiscoveryType) {
    cluster.cluster_discovery_type = of(kind);
}

fn extension(cluster: &mut Cluster, configs: Vec<Any>) {
    let policies = configs.into_iter().map(|config| Policy {
        typed_extension_config: Some(TypedExtensionConfig {
            name: "policy".to_owned(),
            typed_config: Some(config),
        }),
    });
    cluster.load_balancing_policy = Some(LoadBalancingPolicy {
        policies: policies.collect(),
    });
}

fn typed(name: &str, value: Vec<u8>) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value,
    }
}

const LEAST_REQUEST: &str =
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn http_options(cluster: &mut Cluster, any: Any) {
    let options = &mut cluster.typed_extension_protocol_options;
    options.insert(HTTP_OPTIONS.to_owned(), any);
}

fn socket(name: &str, kind: &str) -> TransportSocket {
    TransportSocket {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(typed(kind, Vec::new()))),
    }
}

fn socket_match(cluster: &mut Cluster, name: &str, of: &str) {
    cluster.transport_socket_matches.push(TransportSocketMatch {
        name: name.to_owned(),
        transport_socket: Some(socket(of, RAW_BUFFER)),
        ..TransportSocketMatch::default()
    });
}

/// Rows that can be wrong in one cluster together.
pub(crate) const TOGETHER: &[&str] = &[
    "connect_timeout > 0",
    "lb_policy defined",
    "OutlierDetection.interval > 0 (A50)",
    "OutlierDetection.max_ejection_percent <= 100 (A50)",
    "CircuitBreakers.Thresholds.priority defined",
    "LeastRequestLbConfig.choice_count >= 2 (A48)",
    "CommonLbConfig.healthy_panic_threshold <= 100",
    "cleanup_interval > 0",
    "HttpProtocolOptions of another type",
];

/// The same in gRPC's dialect.
pub(crate) const TOGETHER_IN_GRPC: &[&str] = &[
    "A27: eds_config ads or self",
    "A27: lb_policy RANDOM",
    "A27: lrs_server self",
    "OutlierDetection.max_ejection_percent <= 100 (A50)",
    "connect_timeout > 0",
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = of_discovery();
    rows.extend(of_balancing());
    rows.extend(of_outliers());
    rows.extend(of_the_rest());
    rows
}

fn of_discovery() -> Vec<Row> {
    vec![
        Row::new("type defined", Refused("type: 99 is no"), |c| {
            c.cluster_discovery_type = Some(ClusterDiscoveryType::Type(99));
        }),
        Row::new(
            "A27: type EDS, LOGICAL_DNS or aggregate",
            Taken("A27"),
            |c| {
                c.cluster_discovery_type = of(DiscoveryType::StrictDns);
            },
        )
        .grpc(Refused("type: STRICT_DNS is for Envoy")),
        Row::new(
            "cluster_type registered",
            OnlyThere("an aggregate cluster is one too; its calls fail with that reason"),
            |c| {
                c.cluster_discovery_type =
                    Some(ClusterDiscoveryType::ClusterType(CustomClusterType {
                        name: "no.such".to_owned(),
                        ..CustomClusterType::default()
                    }));
            },
        )
        .grpc(Refused("cluster_type.typed_config: \"no.such\" is not")),
        Row::new(
            "A27: eds_config ads or self",
            Taken("A27; its calls fail, with the reason"),
            |c| eds_from(c, ConfigSourceSpecifier::Path("/dev/null".to_owned())),
        )
        .grpc(Refused(
            "eds_cluster_config.eds_config: is neither ads nor self",
        )),
        Row::new(
            "A27: eds_config required",
            OnlyThere("it can only mean the stream by which the cluster came"),
            |c| {
                c.cluster_discovery_type = of(DiscoveryType::Eds);
                c.load_assignment = None;
                c.eds_cluster_config = Some(EdsClusterConfig::default());
            },
        )
        .grpc(Refused(
            "eds_cluster_config.eds_config: is neither ads nor self",
        )),
        Row::new(
            "eds_cluster_config required for EDS",
            OnlyThere("it can only mean the stream by which the cluster came"),
            |c| {
                c.cluster_discovery_type = of(DiscoveryType::Eds);
                c.load_assignment = None;
            },
        )
        .grpc(Taken("so does gRPC")),
        Row::new(
            "load_assignment.cluster_name not empty",
            Refused("load_assignment.cluster_name: is empty"),
            |c| {
                c.load_assignment = Some(wire::assignment("", &[wire::addr(1)]));
            },
        )
        .grpc(Taken("its endpoints come by EDS")),
        Row::new(
            "A37: LOGICAL_DNS of one endpoint",
            Refused("load_assignment.endpoints: 1 localities with 2"),
            |c| {
                dns(c, DiscoveryType::LogicalDns);
                c.load_assignment = Some(wire::assignment("one", &[wire::addr(1), wire::addr(2)]));
            },
        ),
        Row::new(
            "A37: LOGICAL_DNS of one locality",
            Refused("load_assignment.endpoints: 2 localities"),
            |c| {
                dns(c, DiscoveryType::LogicalDns);
                let sent = c.load_assignment.get_or_insert_default();
                sent.endpoints.push(LocalityLbEndpoints::default());
            },
        ),
        Row::new(
            "A37: LOGICAL_DNS without a resolver's name",
            Refused(
                "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.resolver_name",
            ),
            |c| {
                dns(c, DiscoveryType::LogicalDns);
                let sent = c.load_assignment.get_or_insert_default();
                super::endpoints::socket(&mut sent.endpoints[0].lb_endpoints[0]).resolver_name =
                    "mine".to_owned();
            },
        ),
        Row::new(
            "dns_refresh_rate >= 1 ms",
            Refused("dns_refresh_rate"),
            |c| {
                dns(c, DiscoveryType::StrictDns);
                c.dns_refresh_rate = seconds(0);
            },
        ),
        Row::new(
            "dns_failure_refresh_rate.base_interval required",
            Unread("dns_failure_refresh_rate.base_interval: is missing"),
            |c| c.dns_failure_refresh_rate = Some(RefreshRate::default()),
        ),
        Row::new(
            "dns_lookup_family defined",
            Refused("dns_lookup_family: 99"),
            |c| {
                dns(c, DiscoveryType::StrictDns);
                c.dns_lookup_family = 99;
            },
        ),
    ]
}

fn of_balancing() -> Vec<Row> {
    vec![
        Row::new(
            "lb_policy defined",
            Refused("lb_policy: 99 is no policy"),
            |c| {
                c.lb_policy = 99;
            },
        ),
        Row::new("A27: lb_policy RANDOM", Taken("A27"), |c| {
            c.lb_policy = LbPolicy::Random.into();
        })
        .grpc(Refused("lb_policy: RANDOM is for Envoy")),
        Row::new("A27: lb_policy MAGLEV", Taken("A27"), |c| {
            c.lb_policy = LbPolicy::Maglev.into();
        })
        .grpc(OnlyThere(
            "istiod sends it for consistentHash.maglev, and the service would be out of reach",
        )),
        Row::new("A48: lb_policy LEAST_REQUEST", Taken("A48"), |c| {
            c.lb_policy = LbPolicy::LeastRequest.into();
        })
        .grpc(OnlyThere("A48, which the C core does not have")),
        Row::new(
            "lb_policy LOAD_BALANCING_POLICY_CONFIG without one (A52)",
            Refused("load_balancing_policy: is missing"),
            |c| c.lb_policy = LbPolicy::LoadBalancingPolicyConfig.into(),
        ),
        Row::new(
            "load_balancing_policy without a known one (A52)",
            Refused("load_balancing_policy.policies: none is known here: [\"no.Such\"]"),
            |c| extension(c, vec![typed("no.Such", Vec::new())]),
        ),
        Row::new(
            "load_balancing_policy: a known one with a bad configuration (A52)",
            OnlyHere(
                "load_balancing_policy.policies[0].typed_extension_config.typed_config.choice_count",
                "A52 and the field's own constraint, which Envoy does not look at in an extension",
            ),
            |c| {
                let config = LeastRequest {
                    choice_count: number(1),
                    ..LeastRequest::default()
                };
                extension(c, vec![typed(LEAST_REQUEST, config.encode_to_vec())]);
            },
        )
        .grpc(Refused(
            "load_balancing_policy.policies[0].typed_extension_config.typed_config.choice_count",
        )),
        Row::new(
            "load_balancing_policy: a known one of bad bytes",
            Refused("load_balancing_policy.policies[0].typed_extension_config.typed_config: not"),
            |c| extension(c, vec![typed(LEAST_REQUEST, vec![0xff])]),
        ),
        Row::new(
            "LeastRequestLbConfig.choice_count >= 2 (A48)",
            Unread("least_request_lb_config.choice_count: must be at least 2"),
            |c| {
                c.lb_config = Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    choice_count: number(1),
                    ..LeastRequestLbConfig::default()
                }));
            },
        ),
        Row::new(
            "RingHashLbConfig.minimum_ring_size <= 8388608 (A42)",
            Refused("ring_hash_lb_config.minimum_ring_size: 8388609 is above"),
            |c| ring(c, large(8_388_609), None, 0),
        ),
        Row::new(
            "RingHashLbConfig.maximum_ring_size <= 8388608 (A42)",
            Refused("ring_hash_lb_config.maximum_ring_size: 8388609 is above"),
            |c| ring(c, None, large(8_388_609), 0),
        ),
        Row::new(
            "RingHashLbConfig: minimum <= maximum (A42)",
            Refused("ring_hash_lb_config.minimum_ring_size: 20 is above maximum_ring_size 10"),
            |c| ring(c, large(20), large(10), 0),
        ),
        Row::new(
            "RingHashLbConfig.hash_function defined",
            Refused("ring_hash_lb_config.hash_function: 9 is no"),
            |c| ring(c, None, None, 9),
        ),
        Row::new("A42: hash_function XX_HASH", Taken("A42"), |c| {
            ring(c, None, None, 1);
        })
        .grpc(Refused("ring_hash_lb_config.hash_function: MURMUR_HASH_2")),
        Row::new(
            "MaglevLbConfig.table_size <= 5000011",
            Unread("maglev_lb_config.table_size: 5000012 is above"),
            |c| {
                c.lb_config = Some(LbConfig::MaglevLbConfig(MaglevLbConfig {
                    table_size: large(5_000_012),
                }));
            },
        ),
        Row::new(
            "OriginalDstLbConfig.upstream_port_override <= 65535",
            Unread("original_dst_lb_config.upstream_port_override: 65536 is above"),
            |c| {
                c.lb_config = Some(LbConfig::OriginalDstLbConfig(OriginalDstLbConfig {
                    upstream_port_override: number(65536),
                    ..OriginalDstLbConfig::default()
                }));
            },
        ),
        Row::new(
            "CommonLbConfig.healthy_panic_threshold <= 100",
            Unread("common_lb_config.healthy_panic_threshold: 101 is not"),
            |c| common(c).healthy_panic_threshold = Some(Percent { value: 101.0 }),
        ),
        Row::new(
            "ZoneAwareLbConfig.routing_enabled <= 100",
            Unread("common_lb_config.zone_aware_lb_config.routing_enabled: -1 is not"),
            |c| {
                common(c).locality_config_specifier = Some(
                    LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
                        routing_enabled: Some(Percent { value: -1.0 }),
                        ..ZoneAwareLbConfig::default()
                    }),
                );
            },
        ),
        Row::new(
            "ConsistentHashingLbConfig.hash_balance_factor >= 100",
            Unread("common_lb_config.consistent_hashing_lb_config.hash_balance_factor: 99"),
            |c| {
                common(c).consistent_hashing_lb_config = Some(ConsistentHashingLbConfig {
                    hash_balance_factor: number(99),
                    ..ConsistentHashingLbConfig::default()
                });
            },
        ),
    ]
}

fn ring(cluster: &mut Cluster, least: Option<UInt64Value>, most: Option<UInt64Value>, hash: i32) {
    cluster.lb_policy = LbPolicy::RingHash.into();
    cluster.lb_config = Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
        minimum_ring_size: least,
        maximum_ring_size: most,
        hash_function: hash,
    }));
}

fn of_outliers() -> Vec<Row> {
    vec![
        Row::new(
            "OutlierDetection.interval > 0 (A50)",
            Unread("outlier_detection.interval: must be positive"),
            |c| outlier(c).interval = seconds(0),
        ),
        Row::new(
            "OutlierDetection.interval in range (A50)",
            Refused("outlier_detection.interval: must be positive"),
            |c| outlier(c).interval = seconds(-1),
        ),
        Row::new(
            "OutlierDetection.base_ejection_time > 0 (A50)",
            Unread("outlier_detection.base_ejection_time"),
            |c| outlier(c).base_ejection_time = seconds(0),
        ),
        Row::new(
            "OutlierDetection.max_ejection_time > 0 (A50)",
            Unread("outlier_detection.max_ejection_time:"),
            |c| outlier(c).max_ejection_time = seconds(0),
        ),
        Row::new(
            "OutlierDetection.max_ejection_time_jitter in range",
            Unread("outlier_detection.max_ejection_time_jitter"),
            |c| outlier(c).max_ejection_time_jitter = seconds(-1),
        ),
        Row::new(
            "OutlierDetection.max_ejection_percent <= 100 (A50)",
            Refused("outlier_detection.max_ejection_percent: 101 is above 100"),
            |c| outlier(c).max_ejection_percent = number(101),
        ),
        Row::new(
            "OutlierDetection.enforcing_consecutive_5xx <= 100",
            Unread("outlier_detection.enforcing_consecutive_5xx: 101"),
            |c| outlier(c).enforcing_consecutive_5xx = number(101),
        ),
        Row::new(
            "OutlierDetection.enforcing_success_rate <= 100 (A50)",
            Refused("outlier_detection.enforcing_success_rate: 101"),
            |c| outlier(c).enforcing_success_rate = number(101),
        ),
        Row::new(
            "OutlierDetection.enforcing_consecutive_gateway_failure <= 100",
            Unread("outlier_detection.enforcing_consecutive_gateway_failure: 101"),
            |c| outlier(c).enforcing_consecutive_gateway_failure = number(101),
        ),
        Row::new(
            "OutlierDetection.enforcing_consecutive_local_origin_failure <= 100",
            Unread("outlier_detection.enforcing_consecutive_local_origin_failure: 101"),
            |c| outlier(c).enforcing_consecutive_local_origin_failure = number(101),
        ),
        Row::new(
            "OutlierDetection.enforcing_local_origin_success_rate <= 100",
            Unread("outlier_detection.enforcing_local_origin_success_rate: 101"),
            |c| outlier(c).enforcing_local_origin_success_rate = number(101),
        ),
        Row::new(
            "OutlierDetection.failure_percentage_threshold <= 100 (A50)",
            Unread("outlier_detection.failure_percentage_threshold: 101"),
            |c| outlier(c).failure_percentage_threshold = number(101),
        ),
        Row::new(
            "OutlierDetection.enforcing_failure_percentage <= 100 (A50)",
            Refused("outlier_detection.enforcing_failure_percentage: 101"),
            |c| outlier(c).enforcing_failure_percentage = number(101),
        ),
        Row::new(
            "OutlierDetection.enforcing_failure_percentage_local_origin <= 100",
            Unread("outlier_detection.enforcing_failure_percentage_local_origin: 101"),
            |c| outlier(c).enforcing_failure_percentage_local_origin = number(101),
        ),
    ]
}

fn of_the_rest() -> Vec<Row> {
    vec![
        Row::new(
            "connect_timeout > 0",
            Unread("connect_timeout: must be positive"),
            |c| {
                c.connect_timeout = seconds(0);
            },
        ),
        Row::new(
            "CircuitBreakers.Thresholds.priority defined",
            Unread("circuit_breakers.thresholds[0].priority: 9 is no priority"),
            |c| threshold(c).priority = 9,
        ),
        Row::new(
            "RetryBudget.budget_percent <= 100",
            Unread("circuit_breakers.thresholds[0].retry_budget.budget_percent: 200 is not"),
            |c| {
                threshold(c).retry_budget = Some(RetryBudget {
                    budget_percent: Some(Percent { value: 200.0 }),
                    ..RetryBudget::default()
                });
            },
        ),
        Row::new(
            "A105: per_host_thresholds of 0 connections",
            Taken("A105"),
            |c| {
                c.circuit_breakers = Some(CircuitBreakers {
                    per_host_thresholds: vec![Thresholds {
                        max_connections: number(0),
                        ..Thresholds::default()
                    }],
                    ..CircuitBreakers::default()
                });
            },
        ),
        Row::new(
            "HealthCheck required fields",
            Unread("health_checks[0].timeout: is missing"),
            |c| {
                c.health_checks.push(HealthCheck::default());
            },
        ),
        Row::new(
            "Filter.name not empty",
            Unread("filters[0].name: is empty"),
            |c| {
                c.filters.push(Filter::default());
            },
        ),
        Row::new(
            "cleanup_interval > 0",
            Unread("cleanup_interval: must be positive"),
            |c| {
                c.cleanup_interval = seconds(0);
            },
        ),
        Row::new(
            "TransportSocket.name not empty",
            Refused("transport_socket.name: is empty"),
            |c| {
                c.transport_socket = Some(TransportSocket::default());
            },
        ),
        Row::new(
            "TransportSocketMatch.name not empty",
            Unread("transport_socket_matches[0].name: is empty"),
            |c| socket_match(c, "", "envoy.transport_sockets.raw_buffer"),
        ),
        Row::new("A29: transport_socket of a raw buffer", Taken("A29"), |c| {
            c.transport_socket = Some(socket("envoy.transport_sockets.raw_buffer", RAW_BUFFER));
        })
        .grpc(OnlyThere("it is plaintext, as without any")),
        Row::new(
            "A29: transport_socket registered",
            OnlyThere(
                "its calls fail; refused, it would leave the former version in use, which may secure nothing",
            ),
            |c| c.transport_socket = Some(socket("no.such", "no.Such")),
        ),
        Row::new(
            "transport_socket_matches (gRPC-Go)",
            Taken("gRPC-Go"),
            |c| {
                socket_match(c, "plain", "envoy.transport_sockets.raw_buffer");
            },
        ),
        Row::new("A27: lrs_server self", Taken("A27"), |c| {
            c.lrs_server = Some(ConfigSource {
                config_source_specifier: Some(ConfigSourceSpecifier::Path("x".to_owned())),
                ..ConfigSource::default()
            });
        })
        .grpc(Refused("lrs_server: is not self")),
        Row::new(
            "HttpProtocolOptions of another type",
            Unread(
                "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].type_url",
            ),
            |c| http_options(c, typed("no.Such", Vec::new())),
        ),
        Row::new(
            "HttpProtocolOptions.upstream_protocol_options required",
            Unread(
                "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].upstream_protocol_options: is missing",
            ),
            |c| http_options(c, typed(HTTP_OPTIONS, Vec::new())),
        ),
        Row::new(
            "ExplicitHttpConfig.protocol_config required",
            Unread(
                "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].explicit_http_config.protocol_config: is missing",
            ),
            |c| {
                let options = HttpProtocolOptions {
                    upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
                        ExplicitHttpConfig::default(),
                    )),
                    ..HttpProtocolOptions::default()
                };
                http_options(c, typed(HTTP_OPTIONS, options.encode_to_vec()));
            },
        ),
    ]
}
