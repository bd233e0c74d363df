//! Faults that a test writes as Envoy's protos.

use std::collections::HashMap;

use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;

use super::rules::millis;

pub(crate) fn percent(numerator: u32) -> Option<FractionalPercent> {
    Some(FractionalPercent {
        numerator,
        ..FractionalPercent::default()
    })
}

pub(crate) fn abort(error: ErrorType, of: u32) -> HttpFault {
    HttpFault {
        abort: Some(FaultAbort {
            percentage: percent(of),
            error_type: Some(error),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    }
}

pub(crate) fn delay(by: FaultDelaySecifier, of: u32) -> HttpFault {
    HttpFault {
        delay: Some(FaultDelay {
            percentage: percent(of),
            fault_delay_secifier: Some(by),
        }),
        ..HttpFault::default()
    }
}

/// Of all requests.
pub(crate) fn delayed(by: i64) -> HttpFault {
    delay(FaultDelaySecifier::FixedDelay(millis(by).unwrap()), 100)
}

/// What a level of a route configuration says.
pub(crate) fn filters(fault: HttpFault) -> HashMap<String, Any> {
    HashMap::from([("envoy.filters.http.fault".to_owned(), pack_any(fault))])
}
