//! `typed_per_filter_config` of the filters that decide who may do what: rules of one route's own. They are not served, and a
//! route that is to have some must not do with those of its listener.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::route::v3::{
    self as pb, FilterConfig, route::Action, route_action::ClusterSpecifier,
};
use envoy_types::pb::google::protobuf::Any;
use prost::Name;

use crate::decode::http_filter::type_of;
use crate::decode::message;

const RULES: [&str; 3] = [
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
];

/// The name of the first filter that is told rules at one level.
pub(super) fn of_level(configs: &HashMap<String, Any>) -> Option<&str> {
    let named = configs.iter().filter(|(_, any)| is_rules(any));
    named.map(|(name, _)| &**name).min()
}

/// The same of a route and of the clusters that it splits requests among.
pub(super) fn of_route(route: &pb::Route) -> Option<&str> {
    let split = match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::WeightedClusters(weighted)) => Some(&*weighted.clusters),
            _ => None,
        },
        _ => None,
    };
    let mut split = split.unwrap_or_default().iter();
    of_level(&route.typed_per_filter_config)
        .or_else(|| split.find_map(|entry| of_level(&entry.typed_per_filter_config)))
}

/// As it is or in a `FilterConfig`. One that cannot be read may be.
pub(super) fn is_rules(any: &Any) -> bool {
    if any.type_url != FilterConfig::type_url() {
        return RULES.contains(&type_of(&any.type_url));
    }
    match message::<FilterConfig>(&any.value) {
        Ok(wrapper) => (wrapper.config).is_some_and(|any| RULES.contains(&type_of(&any.type_url))),
        Err(_) => true,
    }
}
