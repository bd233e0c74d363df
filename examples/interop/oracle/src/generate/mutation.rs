//! Headers added and removed, on every level.

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::cluster_weight::HostRewriteSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};

use crate::dice::Dice;

/// Few, so that levels meet; two of them are what requests carry and backends answer.
const NAMES: &[&str] = &["x-a", "x-b", "x-m", "X-Up", "x-r"];

fn added(d: &mut Dice, level: &str) -> Vec<HeaderValueOption> {
    let append = [
        HeaderAppendAction::AppendIfExistsOrAdd,
        HeaderAppendAction::AddIfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd,
        HeaderAppendAction::OverwriteIfExists,
    ];
    (0..d.below(3))
        .map(|_| HeaderValueOption {
            header: Some(HeaderValue {
                key: d.text(NAMES),
                value: match d.below(4) {
                    0 => String::new(),
                    1 => "100%%".to_owned(),
                    _ => level.to_owned(),
                },
                ..HeaderValue::default()
            }),
            append_action: (*d.of(&append)).into(),
            keep_empty_value: d.once_in(2),
            ..HeaderValueOption::default()
        })
        .collect()
}

fn removed(d: &mut Dice) -> Vec<String> {
    (0..d.below(2)).map(|_| d.text(NAMES)).collect()
}

/// Of the whole configuration.
pub(super) fn of_configuration(d: &mut Dice, to: &mut RouteConfiguration) {
    to.request_headers_to_add = added(d, "table");
    to.request_headers_to_remove = removed(d);
    to.response_headers_to_add = added(d, "table");
    to.response_headers_to_remove = removed(d);
    to.most_specific_header_mutations_wins = d.once_in(2);
}

/// Of a virtual host.
pub(super) fn of_host(d: &mut Dice, to: &mut VirtualHost) {
    to.request_headers_to_add = added(d, "host");
    to.request_headers_to_remove = removed(d);
    to.response_headers_to_add = added(d, "host");
    to.response_headers_to_remove = removed(d);
}

/// Of a route.
pub(super) fn of_route(d: &mut Dice, to: &mut Route) {
    to.request_headers_to_add = added(d, "route");
    to.request_headers_to_remove = removed(d);
    to.response_headers_to_add = added(d, "route");
    to.response_headers_to_remove = removed(d);
}

/// Of one of several clusters.
pub(super) fn of_cluster(d: &mut Dice, to: &mut ClusterWeight) {
    to.request_headers_to_add = added(d, "cluster");
    to.request_headers_to_remove = removed(d);
    to.response_headers_to_add = added(d, "cluster");
    to.response_headers_to_remove = removed(d);
    to.host_rewrite_specifier = d
        .once_in(4)
        .then(|| HostRewriteSpecifier::HostRewriteLiteral("weighted.test".to_owned()));
}
