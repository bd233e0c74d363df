//! `envoy.config.cluster.v3.Cluster`, as istiod builds it from services and `DestinationRule`s.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::istiod::{BLACK_HOLE, PASSTHROUGH};
use mesh_xds::ResourceType;
use prost::Message;

use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::load_balancer::Algorithm;
use crate::kinds::mesh_config::MeshConfig;
use crate::kinds::service_entry::Resolution;
use crate::kinds::tls_settings::ClientTls;
use crate::kinds::traffic_policy::Effective;
use crate::registry::{Named, Service, ServicePort};

use super::policy::{self, HttpOptions};
use super::proto::{self, OrderedKind, OrderedList, OrderedStruct};
use super::tls::{self, Target, Upstream};
use super::{Part, View, endpoints};

/// istiod's `PILOT_DNS_JITTER_DURATION`.
const DNS_JITTER: Duration = Duration::from_millis(100);
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// istiod's limit for connections that nobody uses, where no rule can give one.
const PASSTHROUGH_IDLE: Duration = Duration::from_secs(300);

/// What a cluster calls.
pub(super) struct To<'a> {
    pub(super) service: &'a Service,
    pub(super) port: &'a ServicePort,
    pub(super) part: Part<'a>,
    pub(super) rules: &'a [&'a Named<DestinationRule>],
    /// Who its servers may be.
    pub(super) identities: &'a [String],
}

/// One cluster of a service's port. Nothing where Envoy would refuse it: one whose names the caller looks up, and that
/// has none.
pub(super) fn outbound(
    view: &View<'_>,
    name: &str,
    to: &To<'_>,
    policy: Effective<'_>,
) -> Option<Any> {
    let mesh = &view.registry.mesh;
    let (service, port) = (to.service, to.port);
    let mut assignment = None;
    let found = discovery(service, policy);
    let mut cluster = match found {
        pb::cluster::DiscoveryType::OriginalDst => pb::Cluster {
            lb_policy: pb::cluster::LbPolicy::ClusterProvided.into(),
            ..base(name, pb::cluster::DiscoveryType::OriginalDst, mesh)
        },
        pb::cluster::DiscoveryType::Eds => discovered(name, mesh),
        dns => {
            let of = endpoints::assignment(view, name, port, to.part, (policy, to.rules));
            if of.endpoints.is_empty() {
                return None;
            }
            assignment = Some(of);
            named(name, dns, mesh)
        }
    };
    policy::apply(&mut cluster, policy, mesh);
    let mut options = HttpOptions::of(port.protocol, policy.pool, mesh);
    if let Some(ClientTls::Files(files)) = policy.tls {
        options.name_by_host(files);
    }
    let target = Target {
        service,
        port,
        subset: to.part.subset,
        original: found == pb::cluster::DiscoveryType::OriginalDst,
        http2: options.is_http2(),
    };
    match Upstream::of(view.registry, &target, policy, to.identities) {
        Upstream::Plain => {}
        Upstream::All(context) => cluster.transport_socket = Some(tls::upstream(&context)),
        Upstream::Those(context) => cluster.transport_socket_matches = tls::by_metadata(&context),
    }
    let options = options.build();
    cluster.typed_extension_protocol_options = options
        .iter()
        .map(|options| (HTTP_OPTIONS.to_owned(), proto::any(options)))
        .collect();
    let mut packed = proto::pack(ResourceType::Cluster, &cluster);
    // A message may be written in parts: the bytes of its fields one after the other.
    packed.value.extend(metadata(to, policy).encode_to_vec());
    if let Some(assignment) = assignment {
        packed.value.extend(proto::in_cluster(assignment));
    }
    Some(packed)
}

/// How the addresses of a cluster are found.
pub(super) fn discovery(service: &Service, policy: Effective<'_>) -> pb::cluster::DiscoveryType {
    let passthrough = policy
        .balancer
        .is_some_and(|lb| matches!(lb.algorithm, Algorithm::Passthrough));
    match service.resolution {
        _ if passthrough => pb::cluster::DiscoveryType::OriginalDst,
        Resolution::Static => pb::cluster::DiscoveryType::Eds,
        Resolution::Dns => pb::cluster::DiscoveryType::StrictDns,
        Resolution::DnsRoundRobin => pb::cluster::DiscoveryType::LogicalDns,
        Resolution::None | Resolution::DynamicDns => pb::cluster::DiscoveryType::OriginalDst,
    }
}

/// A cluster whose endpoints the control plane names.
fn discovered(name: &str, mesh: &MeshConfig) -> pb::Cluster {
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
        ..base(name, pb::cluster::DiscoveryType::Eds, mesh)
    }
}

/// A cluster whose callers look its names up; without them.
fn named(name: &str, discovery: pb::cluster::DiscoveryType, mesh: &MeshConfig) -> pb::Cluster {
    #[allow(deprecated, reason = "it is what istiod sends")]
    pb::Cluster {
        dns_refresh_rate: Some(proto::duration(mesh.dns_refresh)),
        dns_lookup_family: pb::cluster::DnsLookupFamily::V4Only.into(),
        dns_jitter: Some(proto::duration(DNS_JITTER)),
        respect_dns_ttl: true,
        ..base(name, discovery, mesh)
    }
}

/// The cluster that answers nothing.
pub(super) fn black_hole(mesh: &MeshConfig) -> pb::Cluster {
    pb::Cluster {
        circuit_breakers: None,
        ..base(BLACK_HOLE, pb::cluster::DiscoveryType::Static, mesh)
    }
}

/// The cluster of what is outside of the mesh: the address that the caller asked for.
pub(super) fn passthrough(mesh: &MeshConfig) -> pb::Cluster {
    let options = http::HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(proto::duration(PASSTHROUGH_IDLE)),
            ..Default::default()
        }),
        upstream_protocol_options: Some(policy::downstream()),
        ..Default::default()
    };
    pb::Cluster {
        lb_policy: pb::cluster::LbPolicy::ClusterProvided.into(),
        upstream_connection_options: policy::keepalive(mesh, None),
        typed_extension_protocol_options: HashMap::from([(
            HTTP_OPTIONS.to_owned(),
            proto::any(&options),
        )]),
        ..base(PASSTHROUGH, pb::cluster::DiscoveryType::OriginalDst, mesh)
    }
}

fn base(name: &str, discovery: pb::cluster::DiscoveryType, mesh: &MeshConfig) -> pb::Cluster {
    pb::Cluster {
        name: name.to_owned(),
        // The semicolon ends the name in Envoy's statistics, where hosts have dots.
        alt_stat_name: format!("{name};"),
        connect_timeout: Some(proto::duration(mesh.connect_timeout)),
        circuit_breakers: Some(policy::breakers(None, None)),
        cluster_discovery_type: Some(pb::cluster::ClusterDiscoveryType::Type(discovery.into())),
        ..pb::Cluster::default()
    }
}

/// What holds for a port of a service or of a subset: of the rules, the first that has a policy counts, and the first
/// that has the subset.
pub(super) fn effective<'a>(
    port: u32,
    subset: &str,
    rules: &[&'a Named<DestinationRule>],
) -> Effective<'a> {
    let of_subset = rules
        .iter()
        .flat_map(|rule| &rule.spec.subsets)
        .find(|s| !subset.is_empty() && s.name == subset);
    let policy = rules.iter().find_map(|rule| rule.spec.policy.as_ref());
    Effective::of(policy, of_subset.and_then(|s| s.policy.as_ref()), port)
}

fn metadata(to: &To<'_>, policy: Effective<'_>) -> proto::ClusterMetadata {
    let To {
        service,
        part,
        rules,
        ..
    } = to;
    let (host, subset) = (service.host.as_str(), part.subset);
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
    if service.external {
        let external = OrderedKind::Bool(true).into();
        fields.fields.insert("external".to_owned(), external);
    }
    if !subset.is_empty() {
        fields.fields.insert("subset".to_owned(), subset.into());
    }
    if let Some(rule) = rules.first() {
        let path = proto::config_path("destination-rule", &rule.namespace, &rule.name);
        fields
            .fields
            .insert("config".to_owned(), path.as_str().into());
    }
    if let Some(ClientTls::Files(_)) = policy.tls {
        // Who is called this way speaks none of Istio's protocols.
        let key = "alpn_override".to_owned();
        fields.fields.insert(key, "false".into());
    }
    let filter_metadata = BTreeMap::from([(proto::ISTIO.to_owned(), fields)]);
    proto::ClusterMetadata {
        metadata: Some(proto::OrderedMetadata { filter_metadata }),
    }
}
