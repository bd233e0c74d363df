//! `HeaderValueOption`s from `Headers`.

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::config::route::v3 as pb;

use crate::kinds::http_route::{Headers, Operations};

/// Adds operations to those that a route has: Envoy carries them out in this order.
pub(super) fn of_route(from: &Headers, route: &mut pb::Route) {
    route.request_headers_to_add.extend(to_add(&from.request));
    route.response_headers_to_add.extend(to_add(&from.response));
    route
        .request_headers_to_remove
        .extend_from_slice(&from.request.remove);
    route
        .response_headers_to_remove
        .extend_from_slice(&from.response.remove);
}

/// The operations of one cluster among others.
pub(super) fn of_cluster(from: &Headers, cluster: &mut pb::weighted_cluster::ClusterWeight) {
    use pb::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    cluster.request_headers_to_add = to_add(&from.request);
    cluster.response_headers_to_add = to_add(&from.response);
    cluster
        .request_headers_to_remove
        .clone_from(&from.request.remove);
    cluster
        .response_headers_to_remove
        .clone_from(&from.response.remove);
    cluster.host_rewrite_specifier = from
        .authority
        .clone()
        .map(HostRewriteSpecifier::HostRewriteLiteral);
}

fn to_add(from: &Operations) -> Vec<HeaderValueOption> {
    let set = option(HeaderAppendAction::OverwriteIfExistsOrAdd);
    let add = option(HeaderAppendAction::AppendIfExistsOrAdd);
    let set = from.set.iter().map(set);
    set.chain(from.add.iter().map(add)).collect()
}

fn option(action: HeaderAppendAction) -> impl Fn(&(String, String)) -> HeaderValueOption {
    move |(key, value)| HeaderValueOption {
        header: Some(HeaderValue {
            key: key.clone(),
            value: value.clone(),
            ..HeaderValue::default()
        }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    }
}
