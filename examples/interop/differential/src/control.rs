//! The negative control: ours is made wrong in one place, and that must be seen.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::{
    RouteConfiguration, VirtualHost, route, route_action::ClusterSpecifier,
};
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
use prost::Message;

use crate::kind::Kind;
use crate::sides::Resources;

/// What may be made wrong; each must have come up in a run.
pub(crate) const LIES: [&str; 7] = [
    "a weight",
    "a timeout",
    "a domain",
    "no retries",
    "a balancer",
    "no endpoint",
    "an address",
];

/// Each lie about the first resource that it can be told about.
pub(crate) fn lies(ours: &Resources) -> Vec<(&'static str, (Kind, String), Any)> {
    let mut out = Vec::new();
    for what in LIES {
        let told = ours
            .iter()
            .find_map(|(key, any)| Some((what, key.clone(), wrong(what, key.0, any)?)));
        out.extend(told);
    }
    out
}

/// The resource with that lie in it, if it has the place for it.
fn wrong(what: &str, kind: Kind, any: &Any) -> Option<Any> {
    let bytes = any.value.as_slice();
    let value = match kind {
        Kind::Route => {
            let mut message = RouteConfiguration::decode(bytes).ok()?;
            message
                .virtual_hosts
                .iter_mut()
                .find_map(|host| in_host(what, host))?;
            message.encode_to_vec()
        }
        Kind::Cluster => {
            let mut message = Cluster::decode(bytes).ok()?;
            (what == "a balancer" && message.name.starts_with("outbound|")).then_some(())?;
            message.lb_policy = (message.lb_policy + 1) % 3;
            message.encode_to_vec()
        }
        Kind::Endpoints => {
            let mut message = ClusterLoadAssignment::decode(bytes).ok()?;
            let of_locality = &mut message.endpoints.first_mut()?.lb_endpoints;
            match what {
                "no endpoint" => drop(of_locality.pop()?),
                "a weight" => {
                    of_locality.first_mut()?.load_balancing_weight = Some(UInt32Value { value: 97 })
                }
                "an address" => match of_locality.first_mut()?.host_identifier.as_mut()? {
                    HostIdentifier::Endpoint(endpoint) => {
                        endpoint.hostname = "elsewhere".to_owned()
                    }
                    HostIdentifier::EndpointName(_) => return None,
                },
                _ => return None,
            }
            message.encode_to_vec()
        }
        Kind::Listener => {
            let mut message = Listener::decode(bytes).ok()?;
            (what == "an address").then_some(())?;
            message.api_listener = None;
            message.encode_to_vec()
        }
    };
    Some(Any {
        value,
        ..any.clone()
    })
}

fn in_host(what: &str, host: &mut VirtualHost) -> Option<()> {
    if what == "a domain" {
        host.domains.push("elsewhere.example.com".to_owned());
        return Some(());
    }
    host.routes.iter_mut().find_map(|route| {
        let Some(route::Action::Route(action)) = &mut route.action else {
            return None;
        };
        match what {
            "a timeout" => {
                action.timeout = Some(Duration {
                    seconds: 77,
                    nanos: 0,
                });
            }
            "no retries" => drop(action.retry_policy.take()?),
            "a weight" => match action.cluster_specifier.as_mut()? {
                ClusterSpecifier::WeightedClusters(weighted) => {
                    weighted.clusters.first_mut()?.weight = Some(UInt32Value { value: 97 });
                }
                _ => return None,
            },
            _ => return None,
        }
        Some(())
    })
}
