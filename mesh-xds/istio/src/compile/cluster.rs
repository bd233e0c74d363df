//! `envoy.config.cluster.v3.Cluster`, as istiod builds it from services and `DestinationRule`s.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use envoy_types::pb::google::protobuf::Any;
use mesh_xds::ResourceType;
use prost::Message;

use crate::decode::Labels;
use crate::kinds::destination_rule::{Balancer, DestinationRule};
use crate::kinds::service_entry::{Protocol, Resolution};
use crate::registry::{Named, Service, ServicePort};

use super::endpoints;
use super::proto::{self, OrderedKind, OrderedList, OrderedStruct};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The default of `MeshConfig.dnsRefreshRate`.
const DNS_REFRESH: Duration = Duration::from_secs(60);
/// istiod's `PILOT_DNS_JITTER_DURATION`.
const DNS_JITTER: Duration = Duration::from_millis(100);
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// istiod's limit for connections that nobody uses, where no rule can give one.
const PASSTHROUGH_IDLE: Duration = Duration::from_secs(300);
/// Where requests for hosts outside of the mesh go.
pub(super) const PASSTHROUGH: &str = "PassthroughCluster";

/// One cluster of a service's port.
pub(super) fn outbound(
    name: &str,
    service: &Service,
    port: &ServicePort,
    (subset, labels): (&str, Option<&Labels>),
    rules: &[&Named<DestinationRule>],
) -> Any {
    let lb_policy = match balancer(port.number, subset, rules).unwrap_or_default() {
        _ if service.resolution == Resolution::None => pb::cluster::LbPolicy::ClusterProvided,
        Balancer::LeastRequest => pb::cluster::LbPolicy::LeastRequest,
        Balancer::RoundRobin => pb::cluster::LbPolicy::RoundRobin,
        Balancer::Random => pb::cluster::LbPolicy::Random,
    };
    let cluster = match service.resolution {
        Resolution::Static => discovered(name),
        Resolution::Dns => named(name, pb::cluster::DiscoveryType::StrictDns, port, labels),
        Resolution::DnsRoundRobin => {
            named(name, pb::cluster::DiscoveryType::LogicalDns, port, labels)
        }
        Resolution::None | Resolution::DynamicDns => {
            base(name, pb::cluster::DiscoveryType::OriginalDst)
        }
    };
    let cluster = pb::Cluster {
        lb_policy: lb_policy.into(),
        typed_extension_protocol_options: match port.protocol {
            Protocol::Http2 => {
                HashMap::from([(HTTP_OPTIONS.to_owned(), proto::any(&explicit_http2()))])
            }
            _ => HashMap::new(),
        },
        common_lb_config: Some(pb::cluster::CommonLbConfig::default()),
        ..cluster
    };
    let mut packed = proto::pack(ResourceType::Cluster, &cluster);
    // A message may be written in parts: the bytes of its fields one after the other.
    packed
        .value
        .extend(metadata(service, subset, rules).encode_to_vec());
    packed
}

/// A cluster whose endpoints the control plane names.
fn discovered(name: &str) -> pb::Cluster {
    let ads =
        core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource::default());
    pb::Cluster {
        eds_cluster_config: Some(pb::cluster::EdsClusterConfig {
            eds_config: Some(core::ConfigSource {
                initial_fetch_timeout: Some(proto::duration(Duration::ZERO)),
                resource_api_version: core::ApiVersion::V3.into(),
                config_source_specifier: Some(ads),
                ..core::ConfigSource::default()
            }),
            service_name: name.to_owned(),
        }),
        ..base(name, pb::cluster::DiscoveryType::Eds)
    }
}

/// A cluster whose callers look its names up.
fn named(
    name: &str,
    discovery: pb::cluster::DiscoveryType,
    port: &ServicePort,
    labels: Option<&Labels>,
) -> pb::Cluster {
    #[allow(deprecated, reason = "it is what istiod sends")]
    pb::Cluster {
        load_assignment: Some(endpoints::assignment(name, port, labels)),
        dns_refresh_rate: Some(proto::duration(DNS_REFRESH)),
        dns_lookup_family: pb::cluster::DnsLookupFamily::V4Only.into(),
        dns_jitter: Some(proto::duration(DNS_JITTER)),
        respect_dns_ttl: true,
        ..base(name, discovery)
    }
}

/// The cluster that answers nothing.
pub(super) fn black_hole() -> pb::Cluster {
    pb::Cluster {
        circuit_breakers: None,
        ..base("BlackHoleCluster", pb::cluster::DiscoveryType::Static)
    }
}

/// The cluster of what is outside of the mesh: the address that the caller asked for.
pub(super) fn passthrough() -> pb::Cluster {
    let options = http::http_protocol_options::UseDownstreamHttpConfig {
        http_protocol_options: Some(core::Http1ProtocolOptions::default()),
        http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
        ..Default::default()
    };
    let specifier =
        http::http_protocol_options::UpstreamProtocolOptions::UseDownstreamProtocolConfig(options);
    let options = http::HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(proto::duration(PASSTHROUGH_IDLE)),
            ..Default::default()
        }),
        upstream_protocol_options: Some(specifier),
        ..Default::default()
    };
    pb::Cluster {
        lb_policy: pb::cluster::LbPolicy::ClusterProvided.into(),
        typed_extension_protocol_options: HashMap::from([(
            HTTP_OPTIONS.to_owned(),
            proto::any(&options),
        )]),
        ..base(PASSTHROUGH, pb::cluster::DiscoveryType::OriginalDst)
    }
}

fn base(name: &str, discovery: pb::cluster::DiscoveryType) -> pb::Cluster {
    let unlimited = Some(proto::uint32(u32::MAX));
    let thresholds = pb::circuit_breakers::Thresholds {
        max_connections: unlimited,
        max_pending_requests: unlimited,
        max_requests: unlimited,
        max_retries: unlimited,
        ..Default::default()
    };
    pb::Cluster {
        name: name.to_owned(),
        // The semicolon ends the name in Envoy's statistics, where hosts have dots.
        alt_stat_name: format!("{name};"),
        connect_timeout: Some(proto::duration(CONNECT_TIMEOUT)),
        circuit_breakers: Some(pb::CircuitBreakers {
            thresholds: vec![thresholds],
            ..Default::default()
        }),
        cluster_discovery_type: Some(pb::cluster::ClusterDiscoveryType::Type(discovery.into())),
        ..pb::Cluster::default()
    }
}

fn explicit_http2() -> http::HttpProtocolOptions {
    use http::http_protocol_options::explicit_http_config::ProtocolConfig;
    use http::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions};

    let options = core::Http2ProtocolOptions::default();
    let config = ExplicitHttpConfig {
        protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(options)),
    };
    http::HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)),
        ..Default::default()
    }
}

/// The subset's policy before the rule's, in each the port's before the general one; nothing where none says it.
pub(super) fn balancer(
    port: u32,
    subset: &str,
    rules: &[&Named<DestinationRule>],
) -> Option<Balancer> {
    let of_subset = rules
        .iter()
        .flat_map(|rule| &rule.spec.subsets)
        .find(|s| !subset.is_empty() && s.name == subset);
    let of_subset = of_subset
        .and_then(|s| s.policy.as_ref())
        .and_then(|p| p.balancer(port));
    let of_rule = || {
        rules
            .iter()
            .find_map(|rule| rule.spec.policy.as_ref())
            .and_then(|p| p.balancer(port))
    };
    of_subset.or_else(of_rule).flatten()
}

fn metadata(
    service: &Service,
    subset: &str,
    rules: &[&Named<DestinationRule>],
) -> proto::ClusterMetadata {
    let host = service.host.as_str();
    let entry: OrderedStruct = [
        ("host", host.into()),
        ("name", host.into()),
        ("namespace", service.namespace.as_str().into()),
    ]
    .into_iter()
    .collect();
    let services = OrderedKind::List(OrderedList {
        values: vec![OrderedKind::Struct(entry).into()],
    });
    let mut fields: OrderedStruct = [("services", services.into())].into_iter().collect();
    if !subset.is_empty() {
        fields.fields.insert("subset".to_owned(), subset.into());
    }
    if let Some(rule) = rules.first() {
        let path = proto::config_path("destination-rule", &rule.namespace, &rule.name);
        fields
            .fields
            .insert("config".to_owned(), path.as_str().into());
    }
    let filter_metadata = BTreeMap::from([(proto::ISTIO.to_owned(), fields)]);
    proto::ClusterMetadata {
        metadata: Some(proto::OrderedMetadata { filter_metadata }),
    }
}
