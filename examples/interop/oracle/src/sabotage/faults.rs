//! Lies about faults, on every level.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

use super::Sabotage;
use crate::feature::Feature;

/// All of them.
pub(super) const ALL: &[Sabotage] = &[
    Sabotage {
        name: "an abort of another status",
        feature: Feature::Fault,
        shows: "status",
        change: |c| faults(c, other_status),
    },
    Sabotage {
        name: "an abort of another body",
        feature: Feature::Fault,
        shows: "body",
        change: |c| faults(c, other_body),
    },
    Sabotage {
        name: "an abort made none",
        feature: Feature::Fault,
        shows: "flags",
        change: |c| faults(c, |fault| fault.abort = None),
    },
    Sabotage {
        name: "a delay made none",
        feature: Feature::Fault,
        shows: "flags",
        change: |c| faults(c, |fault| fault.delay = None),
    },
];

fn faults(configuration: &mut RouteConfiguration, change: fn(&mut HttpFault)) {
    of(&mut configuration.typed_per_filter_config, change);
    for host in &mut configuration.virtual_hosts {
        of(&mut host.typed_per_filter_config, change);
        for route in &mut host.routes {
            of(&mut route.typed_per_filter_config, change);
            if let Some(Action::Route(action)) = &mut route.action
                && let Some(ClusterSpecifier::WeightedClusters(weighted)) =
                    &mut action.cluster_specifier
            {
                let entries = weighted.clusters.iter_mut();
                entries.for_each(|entry| of(&mut entry.typed_per_filter_config, change));
            }
        }
    }
}

/// Those in a `FilterConfig` stay as they are.
fn of(level: &mut HashMap<String, Any>, change: fn(&mut HttpFault)) {
    for any in level.values_mut() {
        if any.type_url == HttpFault::type_url()
            && let Ok(mut fault) = HttpFault::decode(any.value.as_slice())
        {
            change(&mut fault);
            any.value = fault.encode_to_vec();
        }
    }
}

fn other_status(fault: &mut HttpFault) {
    if let Some(abort) = &mut fault.abort
        && let Some(ErrorType::HttpStatus(status)) = &mut abort.error_type
    {
        *status = if *status == 503 { 504 } else { 503 };
    }
}

fn other_body(fault: &mut HttpFault) {
    if let Some(abort) = &mut fault.abort {
        abort.response_body.push_str("wrong");
    }
}
