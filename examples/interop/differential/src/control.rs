//! The negative control: ours is made wrong in one place, and that must be seen.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::config::listener::v3::{Filter, Listener, filter::ConfigType};
use envoy_types::pb::envoy::config::route::v3::{
    RouteConfiguration, VirtualHost, route, route_action::ClusterSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
use prost::Message;

use crate::kind::Kind;
use crate::sides::Resources;

/// What may be made wrong; each must have come up in a run.
pub(crate) const LIES: [&str; 10] = [
    "a weight",
    "a timeout",
    "a domain",
    "no retries",
    "a balancer",
    "no endpoint",
    "an address",
    "plaintext",
    "no certificate",
    "no policy",
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
            message.name.starts_with("outbound|").then_some(())?;
            match what {
                "a balancer" => message.lb_policy = (message.lb_policy + 1) % 3,
                "plaintext" => drop(message.transport_socket_matches.pop()?),
                _ => return None,
            }
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
            match what {
                "an address" => drop(message.api_listener.take()?),
                "no certificate" => {
                    let mut chains = message.filter_chains.iter_mut();
                    drop(chains.find_map(|chain| chain.transport_socket.take())?);
                }
                "no policy" => {
                    let chains = message.filter_chains.iter_mut();
                    let mut filters = chains.flat_map(|chain| &mut chain.filters);
                    filters.find_map(without_policy)?;
                }
                _ => return None,
            }
            message.encode_to_vec()
        }
    };
    Some(Any {
        value,
        ..any.clone()
    })
}

/// Takes the first filter of policies out of a filter that reads HTTP, if it has one.
fn without_policy(filter: &mut Filter) -> Option<()> {
    let ConfigType::TypedConfig(any) = filter.config_type.as_mut()? else {
        return None;
    };
    any.type_url
        .ends_with(".HttpConnectionManager")
        .then_some(())?;
    let mut manager = HttpConnectionManager::decode(any.value.as_slice()).ok()?;
    let mut filters = manager.http_filters.iter();
    let at = filters.position(|filter| filter.name == "envoy.filters.http.rbac")?;
    manager.http_filters.remove(at);
    any.value = manager.encode_to_vec();
    Some(())
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
