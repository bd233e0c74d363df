//! `envoy.config.endpoint.v3.ClusterLoadAssignment`: the endpoints of a cluster by locality.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as pb;

use crate::decode::selects;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::tls_settings::ClientTls;
use crate::kinds::traffic_policy::Effective;
use crate::registry::{Instance, Named, Registry, ServicePort, Workload};

use super::{Part, View, locality, proto, tls};

/// The cluster id of a mesh with one cluster, as in the metadata of nodes.
pub(super) const CLUSTER_ID: &str = "Kubernetes";

/// The load assignment of a cluster: of the whole service, or of a subset's endpoints.
pub(super) fn assignment(
    view: &View<'_>,
    name: &str,
    port: &ServicePort,
    part: Part<'_>,
    (policy, rules): (Effective<'_>, &[&Named<DestinationRule>]),
) -> pb::ClusterLoadAssignment {
    let security = Security::of(view.registry, port.number, part.subset, rules);
    let fits = |instance: &&Instance| {
        part.labels
            .is_none_or(|labels| selects(labels, &instance.workload.endpoint.labels))
    };
    let instances = port.instances.iter().filter(fits);
    let setting = view.registry.mesh.locality_for(policy.balancer);
    // Without ejection a caller would never leave the first priority.
    let failover = policy.outlier.is_some();
    let groups = locality::groups(instances, setting, failover, &view.place);
    let endpoints = groups.into_iter().map(|group| pb::LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: group.locality.region.clone(),
            zone: group.locality.zone.clone(),
            sub_zone: group.locality.sub_zone.clone(),
        }),
        lb_endpoints: group
            .instances
            .into_iter()
            .map(|instance| endpoint(instance, &security))
            .collect(),
        load_balancing_weight: Some(proto::uint32(group.weight)),
        priority: group.priority,
        ..pb::LocalityLbEndpoints::default()
    });
    pb::ClusterLoadAssignment {
        endpoints: endpoints.collect(),
        ..nobody(name)
    }
}

/// A load assignment without endpoints.
pub(super) fn nobody(name: &str) -> pb::ClusterLoadAssignment {
    pb::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        ..pb::ClusterLoadAssignment::default()
    }
}

/// Which endpoints are called over mutual TLS.
enum Security<'a> {
    /// As the rule for the calls says, for all of them; and where the mesh has no certificates.
    Said(bool),
    /// Those that take it.
    Known(&'a Registry),
}

impl<'a> Security<'a> {
    /// As in istiod only the policy that has the subset or the host itself counts, not one around it.
    fn of(
        registry: &'a Registry,
        port: u32,
        subset: &str,
        rules: &[&Named<DestinationRule>],
    ) -> Self {
        let policy = match subset {
            "" => rules.iter().find_map(|rule| rule.spec.policy.as_ref()),
            name => {
                let mut subsets = rules.iter().flat_map(|rule| &rule.spec.subsets);
                let found = subsets.find(|subset| subset.name == name);
                found.and_then(|subset| subset.policy.as_ref())
            }
        };
        match policy.and_then(|policy| policy.tls(port)) {
            _ if !registry.options.has_certificates() => Self::Said(false),
            Some(tls) => Self::Said(matches!(tls, ClientTls::Istio(_))),
            None => Self::Known(registry),
        }
    }

    fn mode<'w>(&self, instance: &'w Instance) -> Option<&'w str> {
        let is_secured = match self {
            Self::Said(is_secured) => *is_secured,
            Self::Known(registry) => registry.takes_mtls(&instance.workload, instance.port),
        };
        instance.workload.tls_mode().filter(|_| is_secured)
    }
}

fn endpoint(instance: &Instance, security: &Security<'_>) -> pb::LbEndpoint {
    let workload = &*instance.workload;
    let address = core::SocketAddress {
        address: workload.endpoint.address.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
            instance.port,
        )),
        ..core::SocketAddress::default()
    };
    let address = core::Address {
        address: Some(core::address::Address::SocketAddress(address)),
    };
    let endpoint = pb::Endpoint {
        address: Some(address),
        ..pb::Endpoint::default()
    };
    let mut metadata = proto::istio_metadata("workload", telemetry(workload));
    if let Some(mode) = security.mode(instance) {
        let mode = proto::text_fields(tls::TLS_MODE, mode.to_owned());
        metadata.filter_metadata.insert(tls::MATCH.to_owned(), mode);
    }
    pb::LbEndpoint {
        metadata: Some(metadata),
        load_balancing_weight: Some(proto::uint32(workload.endpoint.weight)),
        host_identifier: Some(pb::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        // Without a word on its health an endpoint is healthy.
        ..pb::LbEndpoint::default()
    }
}

/// `workload;namespace;canonical service;canonical revision;cluster`.
fn telemetry(workload: &Workload) -> String {
    let Workload {
        name,
        namespace,
        endpoint,
    } = workload;
    let first = |keys: [&str; 3], otherwise: &str| {
        let found = keys.iter().find_map(|key| endpoint.labels.get(*key));
        found.map_or(otherwise, String::as_str).to_owned()
    };
    let service = first(
        [
            "service.istio.io/canonical-name",
            "app.kubernetes.io/name",
            "app",
        ],
        name,
    );
    let revision = first(
        [
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ],
        // istiod leaves it to whoever reads it what no revision means.
        "",
    );
    format!("{name};{namespace};{service};{revision};{CLUSTER_ID}")
}
