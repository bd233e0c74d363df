//! `typed_per_filter_config["envoy.filters.http.fault"]`: of none or of all, so that the outcome is certain.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::route::v3::FilterConfig;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay,
    fault_delay::{FaultDelaySecifier, HeaderDelay},
};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault,
    fault_abort::{ErrorType, HeaderAbort},
};
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
use prost::{Message, Name};

use super::{Context, fraction, header};
use crate::dice::Dice;
use crate::feature::Feature;
use crate::request::Ask;
use crate::world::CLUSTERS;

/// The filter's name, by which routes refer to it.
pub(crate) const FILTER: &str = "envoy.filters.http.fault";

const NODE: &str = "x-envoy-downstream-service-node";
const NODES: [&str; 2] = ["node-a", "node-c"];

/// Parts of what the configuration's denominator says: none, or all of any.
const WHOLES: &[&str] = &["0", "1000000", "9000000", "x"];

/// Headers by which a request asks for its own fault, and what they may say.
const ASKED: &[(&str, &[&str])] = &[
    (
        "x-envoy-fault-abort-request",
        &["503", "418", "200", "99", "600", "x"],
    ),
    ("x-envoy-fault-abort-grpc-request", &["14", "0", "x"]),
    ("x-envoy-fault-abort-request-percentage", WHOLES),
    ("x-envoy-fault-delay-request", &["2", "0", "x"]),
    ("x-envoy-fault-delay-request-percentage", WHOLES),
    (NODE, &["node-a", "node-b"]),
];

/// The configuration of a level that injects nothing, whatever those above it do.
pub(crate) fn none() -> HashMap<String, Any> {
    packed(&HttpFault::default())
}

/// Of the whole configuration: for some requests only, or nothing else of it would be seen.
pub(super) fn of_configuration(d: &mut Dice, context: &Context<'_>, to: &mut RouteConfiguration) {
    if d.once_in(2) {
        to.typed_per_filter_config = packed(&HttpFault {
            downstream_nodes: NODES.map(str::to_owned).to_vec(),
            ..fault(d, context)
        });
    }
}

/// Of a virtual host.
pub(super) fn of_host(d: &mut Dice, context: &Context<'_>, to: &mut VirtualHost) {
    to.typed_per_filter_config = level(d, context, 10);
}

/// Of a route.
pub(super) fn of_route(d: &mut Dice, context: &Context<'_>, to: &mut Route) {
    to.typed_per_filter_config = level(d, context, 3);
}

/// Of one of several clusters.
pub(super) fn of_cluster(d: &mut Dice, context: &Context<'_>, to: &mut ClusterWeight) {
    to.typed_per_filter_config = level(d, context, 6);
}

/// Gives a request some of the headers that faults look at.
pub(super) fn disturb(d: &mut Dice, ask: &mut Ask) {
    for (name, values) in ASKED {
        // One value: Envoy joins several of a header that it knows itself.
        if d.once_in(2) {
            ask.headers.push(((*name).to_owned(), d.text(values)));
        }
    }
}

/// Once in `n` a fault; of those some are switched off, or in a `FilterConfig`.
fn level(d: &mut Dice, context: &Context<'_>, n: usize) -> HashMap<String, Any> {
    if !d.once_in(n) {
        return HashMap::new();
    }
    let fault = fault(d, context);
    match d.below(6) {
        0 => packed(&FilterConfig {
            disabled: true,
            ..FilterConfig::default()
        }),
        1 => packed(&FilterConfig {
            config: Some(any(&fault)),
            ..FilterConfig::default()
        }),
        _ => packed(&fault),
    }
}

fn fault(d: &mut Dice, context: &Context<'_>) -> HttpFault {
    // Few requests pass a test, so most faults have none.
    let tests = match context.features.has(Feature::Header) {
        true => *d.of(&[0, 0, 0, 1, 2]),
        false => 0,
    };
    HttpFault {
        delay: d.once_in(2).then(|| delay(d)),
        abort: d.once_in(2).then(|| abort(d)),
        headers: (0..tests)
            .map(|_| header::matcher(d, context.features))
            .collect(),
        upstream_cluster: match d.below(10) {
            0 => d.of(CLUSTERS).0.to_owned(),
            _ => String::new(),
        },
        downstream_nodes: match d.below(10) {
            0 => NODES.map(str::to_owned).to_vec(),
            _ => Vec::new(),
        },
        // Of a limit between these it depends on others whether it is reached.
        max_active_faults: (*d.of(&[None, None, None, None, Some(0), Some(u32::MAX)]))
            .map(|value| UInt32Value { value }),
        ..HttpFault::default()
    }
}

fn delay(d: &mut Dice) -> FaultDelay {
    let by = match d.below(4) {
        0 => FaultDelaySecifier::HeaderDelay(HeaderDelay {}),
        _ => FaultDelaySecifier::FixedDelay(Duration {
            seconds: 0,
            nanos: *d.of(&[1_000_000, 3_500_000, 5_000_000]),
        }),
    };
    FaultDelay {
        percentage: percentage(d),
        fault_delay_secifier: Some(by),
    }
}

fn abort(d: &mut Dice) -> FaultAbort {
    let by = match d.below(6) {
        0 => ErrorType::GrpcStatus(*d.of(&[14, 5, 0])),
        1 | 2 => ErrorType::HeaderAbort(HeaderAbort {}),
        _ => ErrorType::HttpStatus(*d.of(&[503, 503, 429, 400, 418, 200, 599])),
    };
    FaultAbort {
        percentage: percentage(d),
        error_type: Some(by),
        response_body: d.text(&["", "", "broken on purpose", "é"]),
    }
}

fn percentage(d: &mut Dice) -> Option<envoy_types::pb::envoy::r#type::v3::FractionalPercent> {
    match d.below(12) {
        0 => None,
        1..=3 => Some(fraction::certain(d, false)),
        _ => Some(fraction::certain(d, true)),
    }
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

fn packed<M: Message + Name>(message: &M) -> HashMap<String, Any> {
    [(FILTER.to_owned(), any(message))].into()
}
