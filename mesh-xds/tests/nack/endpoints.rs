//! `envoy.config.endpoint.v3.ClusterLoadAssignment`.

use envoy_types::pb::envoy::config::core::v3::{
    Address, HealthStatus, Locality, Pipe, SocketAddress, address::Address as Kind,
    socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
    cluster_load_assignment::{Policy, policy::DropOverload},
    endpoint::HealthCheckConfig,
    lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::{Duration, UInt32Value};

use crate::{OnlyHere, Refused, Taken, Unread, wire};

type Row = crate::Row<ClusterLoadAssignment>;

pub(crate) fn good() -> ClusterLoadAssignment {
    let mut good = wire::assignment("one", &[wire::addr(1), wire::addr(2)]);
    good.endpoints[0].locality = Some(Locality {
        zone: "a".to_owned(),
        ..Locality::default()
    });
    good.endpoints[0].load_balancing_weight = number(1);
    good
}

const fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn policy(sent: &mut ClusterLoadAssignment) -> &mut Policy {
    sent.policy.get_or_insert_default()
}

fn first(sent: &mut ClusterLoadAssignment) -> &mut LbEndpoint {
    &mut sent.endpoints[0].lb_endpoints[0]
}

fn endpoint(of: &mut LbEndpoint) -> &mut Endpoint {
    match &mut of.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn socket(of: &mut LbEndpoint) -> &mut SocketAddress {
    match &mut endpoint(of).address {
        Some(Address {
            address: Some(Kind::SocketAddress(socket)),
        }) => socket,
        other => panic!("{other:?}"),
    }
}

/// The first locality with another endpoint.
fn elsewhere(sent: &ClusterLoadAssignment) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        lb_endpoints: vec![wire::lb_endpoint(wire::addr(3))],
        ..sent.endpoints[0].clone()
    }
}

fn drops(sent: &mut ClusterLoadAssignment, category: &str, denominator: i32) {
    policy(sent).drop_overloads = vec![DropOverload {
        category: category.to_owned(),
        drop_percentage: Some(FractionalPercent {
            numerator: 1,
            denominator,
        }),
    }];
}

/// Rows that can be wrong in one load assignment together.
pub(crate) const TOGETHER: &[&str] = &[
    "Policy.overprovisioning_factor > 0",
    "Policy.endpoint_stale_after > 0",
    "DropOverload.category not empty",
    "LocalityLbEndpoints.priority <= 128",
    "LocalityLbEndpoints.load_balancing_weight >= 1",
    "LbEndpoint.load_balancing_weight >= 1",
    "SocketAddress.port_value <= 65535",
    "SocketAddress.address an IP address",
];

/// The same in gRPC's dialect.
pub(crate) const TOGETHER_IN_GRPC: &[&str] = &[
    "A27: the same address twice",
    "A27: the same locality twice in a priority",
    "A27: priorities without a gap",
    "Policy.endpoint_stale_after > 0",
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = of_addresses();
    rows.extend(of_weights());
    rows.extend(of_policy());
    rows
}

fn of_addresses() -> Vec<Row> {
    vec![
        Row::new(
            "LbEndpoint.endpoint required",
            Refused("endpoints[0].lb_endpoints[0].endpoint: is missing"),
            |e| first(e).host_identifier = None,
        ),
        Row::new(
            "Endpoint.address required",
            Refused("endpoints[0].lb_endpoints[0].endpoint.address: is missing"),
            |e| endpoint(first(e)).address = None,
        ),
        Row::new(
            "SocketAddress.address an IP address",
            Refused("endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: \"x\""),
            |e| socket(first(e)).address = "x".to_owned(),
        ),
        Row::new(
            "SocketAddress.address not empty",
            Refused("endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: \"\""),
            |e| socket(first(e)).address = String::new(),
        ),
        Row::new(
            "SocketAddress.port_value <= 65535",
            Refused(
                "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: 65536",
            ),
            |e| socket(first(e)).port_specifier = Some(PortSpecifier::PortValue(65536)),
        ),
        Row::new(
            "SocketAddress.port_specifier required",
            Unread("endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_specifier"),
            |e| socket(first(e)).port_specifier = None,
        ),
        Row::new(
            "A27: SocketAddress",
            OnlyHere(
                "endpoints[0].lb_endpoints[0].endpoint.address: is not a socket address",
                "A27; Unix sockets are not served",
            ),
            |e| {
                endpoint(first(e)).address = Some(Address {
                    address: Some(Kind::Pipe(Pipe {
                        path: "/x".to_owned(),
                        ..Pipe::default()
                    })),
                });
            },
        )
        .grpc(Refused(
            "endpoints[0].lb_endpoints[0].endpoint.address: is not a socket address",
        )),
        Row::new(
            "HealthCheckConfig.port_value <= 65535",
            Unread("endpoints[0].lb_endpoints[0].endpoint.health_check_config.port_value: 65536"),
            |e| {
                endpoint(first(e)).health_check_config = Some(HealthCheckConfig {
                    port_value: 65536,
                    ..HealthCheckConfig::default()
                });
            },
        ),
        Row::new("A27: the same address twice", Taken("A27"), |e| {
            let again = e.endpoints[0].lb_endpoints[0].clone();
            e.endpoints[0].lb_endpoints.push(again);
        })
        .grpc(Refused(
            "endpoints[0].lb_endpoints[2].endpoint.address: 127.0.0.1:1 is there twice",
        )),
        Row::new(
            "A27: the same address twice, once out of use",
            Taken("A27"),
            |e| {
                let mut again = e.endpoints[0].lb_endpoints[0].clone();
                again.health_status = HealthStatus::Unhealthy.into();
                e.endpoints[0].lb_endpoints.push(again);
            },
        ),
        Row::new(
            "A27: the same address twice, once draining",
            Taken("A27"),
            |e| {
                let mut again = e.endpoints[0].lb_endpoints[0].clone();
                again.health_status = HealthStatus::Draining.into();
                e.endpoints[0].lb_endpoints.push(again);
            },
        )
        .grpc(Refused(
            "endpoints[0].lb_endpoints[2].endpoint.address: 127.0.0.1:1 is there twice",
        )),
        Row::new("health_status defined", Taken("-"), |e| {
            first(e).health_status = 99;
        }),
    ]
}

fn of_weights() -> Vec<Row> {
    vec![
        Row::new(
            "LbEndpoint.load_balancing_weight >= 1",
            Refused("endpoints[0].lb_endpoints[0].load_balancing_weight: must be at least 1"),
            |e| first(e).load_balancing_weight = number(0),
        ),
        Row::new(
            "A27: sum of a locality's endpoints <= 4294967295",
            OnlyHere(
                "endpoints[0].lb_endpoints: the weights of its endpoints",
                "A27; Envoy does not count those inside of a cluster",
            ),
            |e| first(e).load_balancing_weight = number(u32::MAX),
        ),
        Row::new(
            "LocalityLbEndpoints.load_balancing_weight >= 1",
            Unread("endpoints[0].load_balancing_weight: must be at least 1"),
            |e| e.endpoints[0].load_balancing_weight = number(0),
        ),
        Row::new(
            "A27: sum of a priority's localities <= 4294967295",
            OnlyHere(
                "endpoints[1].load_balancing_weight: the weights of the localities of priority 0",
                "A27; Envoy does not count those inside of a cluster",
            ),
            |e| {
                let mut other = elsewhere(e);
                other.load_balancing_weight = number(u32::MAX);
                other.locality = Some(Locality {
                    zone: "b".to_owned(),
                    ..Locality::default()
                });
                e.endpoints.push(other);
            },
        )
        .grpc(Refused(
            "endpoints[1].load_balancing_weight: the weights of the localities of priority 0",
        )),
        Row::new(
            "LocalityLbEndpoints.priority <= 128",
            Refused("endpoints[0].priority: 129 is above 128"),
            |e| e.endpoints[0].priority = 129,
        ),
        Row::new("A27: priorities without a gap", Taken("A27"), |e| {
            e.endpoints[0].priority = 1;
        })
        .grpc(Refused("endpoints[0].priority: is 1")),
        Row::new(
            "A27: no gap before a locality without a weight",
            Taken("-"),
            |e| {
                let mut other = elsewhere(e);
                other.load_balancing_weight = None;
                other.priority = 2;
                e.endpoints.push(other);
            },
        ),
        Row::new("A27: locality required", Taken("A27"), |e| {
            e.endpoints[0].locality = None;
        })
        .grpc(Refused("endpoints[0].locality: is missing")),
        Row::new(
            "A27: the same locality twice in a priority",
            Taken("A27"),
            |e| {
                let again = elsewhere(e);
                e.endpoints.push(again);
            },
        )
        .grpc(Refused("endpoints[1].locality: is there twice in priority")),
    ]
}

fn of_policy() -> Vec<Row> {
    vec![
        Row::new(
            "cluster_name not empty",
            Unread("cluster_name: is empty"),
            |e| e.cluster_name = String::new(),
        ),
        Row::new(
            "Policy.overprovisioning_factor > 0",
            Unread("policy.overprovisioning_factor: must be at least 1"),
            |e| policy(e).overprovisioning_factor = number(0),
        ),
        Row::new(
            "Policy.endpoint_stale_after > 0",
            Unread("policy.endpoint_stale_after: must be positive"),
            |e| policy(e).endpoint_stale_after = Some(Duration::default()),
        ),
        Row::new(
            "DropOverload.category not empty",
            Refused("policy.drop_overloads[0].category: is empty"),
            |e| drops(e, "", 0),
        ),
        Row::new(
            "Policy.drop_overloads of one category",
            Unread("policy.drop_overloads: has 2 categories"),
            |e| {
                drops(e, "x", 0);
                let again = policy(e).drop_overloads[0].clone();
                policy(e).drop_overloads.push(again);
            },
        ),
        Row::new(
            "DropOverload.drop_percentage.denominator defined (A27)",
            Refused("policy.drop_overloads[0].drop_percentage.denominator: 9 is no"),
            |e| drops(e, "x", 9),
        ),
    ]
}
