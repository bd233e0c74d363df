//! `envoy.config.endpoint.v3.ClusterLoadAssignment`: the endpoints of a cluster by locality.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as pb;

use crate::decode::{Labels, selects};
use crate::kinds::traffic_policy::Effective;
use crate::registry::{Instance, ServicePort, Workload};

use super::{View, locality, proto};

/// The cluster id of a mesh with one cluster, as in the metadata of nodes.
pub(super) const CLUSTER_ID: &str = "Kubernetes";

/// The load assignment of a cluster: of the whole service, or of the endpoints with these labels.
pub(super) fn assignment(
    view: &View<'_>,
    name: &str,
    port: &ServicePort,
    subset: Option<&Labels>,
    policy: Effective<'_>,
) -> pb::ClusterLoadAssignment {
    let fits = |instance: &&Instance| {
        subset.is_none_or(|labels| selects(labels, &instance.workload.endpoint.labels))
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
        lb_endpoints: group.instances.into_iter().map(endpoint).collect(),
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

fn endpoint(instance: &Instance) -> pb::LbEndpoint {
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
    pb::LbEndpoint {
        metadata: Some(proto::istio_metadata("workload", telemetry(workload))),
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
