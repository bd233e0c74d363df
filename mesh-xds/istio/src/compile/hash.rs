//! `RouteAction.hash_policy`: what of a request is hashed stands in `DestinationRule`s, and Envoy wants it in routes.

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::config::route::v3::route_action::{HashPolicy, hash_policy as policy};

use crate::kinds::http_route::{Destination, Policy, Retries};
use crate::kinds::load_balancer::{ConsistentHash, HashKey};
use crate::registry::Service;

use super::route::retry_policy;
use super::{View, proto};

/// Adds the hashes of a route's destinations to its action.
pub(super) fn add(
    view: &View<'_>,
    policy: &Policy,
    destinations: &[Destination],
    action: &mut pb::RouteAction,
) {
    let only = destinations.len() == 1;
    // Of several, those without a weight are left out.
    let taken = destinations.iter().filter(|to| only || to.weight > 0);
    let hashes = taken.filter_map(|to| of_destination(view, to));
    action.hash_policy = hashes.collect();
    // Where a hash decides, a retry has no other host to go to, unless the rule asks for one.
    let asked = |retries: &Retries| retries.ignore_previous_hosts.is_some();
    if only
        && !action.hash_policy.is_empty()
        && !policy.retries.as_ref().is_some_and(asked)
        && let Some(retry) = &mut action.retry_policy
    {
        retry.retry_host_predicate.clear();
    }
}

/// The same for the route of a service that no `VirtualService` speaks of.
pub(super) fn add_default(view: &View<'_>, service: &Service, port: u32, route: &mut pb::Route) {
    if let Some(pb::route::Action::Route(action)) = &mut route.action {
        action.hash_policy = of_service(view, service, port);
        if let Some(default) = &view.registry.mesh.retries {
            action.retry_policy = retry_policy(Some(default));
        }
    }
}

fn of_service(view: &View<'_>, service: &Service, port: u32) -> Vec<HashPolicy> {
    let rules = view.rules(service);
    let policy = rules.iter().find_map(|rule| rule.spec.policy.as_ref());
    let hash = policy.and_then(|policy| policy.hash_of_port(port).or_else(|| policy.hash()));
    hash.and_then(hash_policy).into_iter().collect()
}

fn of_destination(view: &View<'_>, to: &Destination) -> Option<HashPolicy> {
    let rules = view.rules(view.service(&to.host)?);
    let policy = rules.iter().find_map(|rule| rule.spec.policy.as_ref());
    let subset = rules
        .iter()
        .flat_map(|rule| &rule.spec.subsets)
        .find(|subset| subset.name == to.subset)
        .and_then(|subset| subset.policy.as_ref());
    // A port's own entry counts only where the destination names the port.
    let subset_port = || {
        subset
            .zip(to.port)
            .and_then(|(p, port)| p.hash_of_port(port))
    };
    let rule_port = || {
        policy
            .zip(to.port)
            .and_then(|(p, port)| p.hash_of_port(port))
    };
    subset_port()
        .or_else(|| subset.and_then(|p| p.hash()))
        .or_else(rule_port)
        .or_else(|| policy.and_then(|p| p.hash()))
        .and_then(hash_policy)
}

fn hash_policy(hash: &ConsistentHash) -> Option<HashPolicy> {
    let specifier = match hash.key.as_ref()? {
        HashKey::Header(name) => policy::PolicySpecifier::Header(policy::Header {
            header_name: name.clone(),
            ..policy::Header::default()
        }),
        HashKey::Cookie(cookie) => {
            let attribute = |(name, value): &(String, String)| policy::CookieAttribute {
                name: name.clone(),
                value: value.clone(),
            };
            policy::PolicySpecifier::Cookie(policy::Cookie {
                name: cookie.name.clone(),
                path: cookie.path.clone(),
                ttl: cookie.ttl.map(proto::duration),
                attributes: cookie.attributes.iter().map(attribute).collect(),
            })
        }
        HashKey::SourceIp(source_ip) => {
            policy::PolicySpecifier::ConnectionProperties(policy::ConnectionProperties {
                source_ip: *source_ip,
            })
        }
        HashKey::QueryParameter(name) => {
            policy::PolicySpecifier::QueryParameter(policy::QueryParameter { name: name.clone() })
        }
    };
    Some(HashPolicy {
        policy_specifier: Some(specifier),
        ..HashPolicy::default()
    })
}
