//! `typed_per_filter_config["envoy.filters.http.fault"]`: `envoy.extensions.filters.http.fault.v3.HTTPFault` (gRPC
//! A33), as it is or in a `FilterConfig`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3::FilterConfig;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::Any;
use http::StatusCode;
use mesh_core::route::{ABORT_BODY, Abort, AbortBy, AbortStatus, Delay, DelayBy, Fault, Fraction};
use prost::Name;

use super::fraction;
use super::ignored::Ignored;
use super::matches::each;
use crate::decode::matcher;
use crate::decode::{self, Faults, Invalid, message};

/// The filter's name in the connection managers of istiod, by which routes refer to it.
pub(super) const FILTER: &str = "envoy.filters.http.fault";

/// What one level says of faults; `None` is nothing, and what the level above it says counts. A level that switches the
/// filter off has a fault that does nothing.
pub(super) fn decode(
    configs: &HashMap<String, Any>,
    ignored: &mut Ignored,
) -> Result<Option<Arc<Fault>>, Invalid> {
    let Some(any) = configs.get(FILTER) else {
        return Ok(None);
    };
    unwrapped(any, ignored)
        .map(|fault| fault.map(Arc::new))
        .map_err(|error| error.within(format_args!("typed_per_filter_config[{FILTER:?}]")))
}

/// Takes the `FilterConfig` off, if there is one.
fn unwrapped(any: &Any, ignored: &mut Ignored) -> Result<Option<Fault>, Invalid> {
    if any.type_url != FilterConfig::type_url() {
        return of_type(any, ignored);
    }
    let wrapper: FilterConfig = message(&any.value)?;
    match wrapper.config {
        _ if wrapper.disabled => Ok(Some(Fault::default())),
        None => Err(Invalid::new("config", "is missing")),
        // Envoy: enabled here, with the configuration of the level above.
        Some(any) if any.type_url.is_empty() => Ok(None),
        Some(any) => of_type(&any, ignored).map_err(|error| error.within("config")),
    }
}

fn of_type(any: &Any, ignored: &mut Ignored) -> Result<Option<Fault>, Invalid> {
    if any.type_url != HttpFault::type_url() {
        let (what, wanted) = (&any.type_url, HttpFault::NAME);
        ignored.add(format!(
            "typed_per_filter_config[{FILTER:?}] is a {what:?} and no {wanted}, and has no effect"
        ));
        return Ok(None);
    }
    fault(&message(&any.value)?, ignored).map(Some)
}

fn fault(wire: &HttpFault, ignored: &mut Ignored) -> Result<Fault, Invalid> {
    let mut faults = Faults::default();
    let delay = wire.delay.as_ref().map(delay).transpose();
    let delay = faults.take(delay.map_err(|error| error.within("delay")));
    let abort = wire.abort.as_ref().map(abort).transpose();
    let abort = faults.take(abort.map_err(|error| error.within("abort")));
    let headers = each("headers", &wire.headers, matcher::header, &mut faults);
    let (delay, abort) = faults.or(delay.zip(abort))?;
    if wire.response_rate_limit.is_some() {
        ignored.add("the fault's response_rate_limit has no effect yet");
    }
    let cluster = wire.upstream_cluster.as_str();
    let nodes = wire
        .downstream_nodes
        .iter()
        .map(|node| node.as_str().into());
    Ok(Fault {
        delay,
        abort,
        headers,
        upstream_cluster: (!cluster.is_empty()).then(|| cluster.into()),
        downstream_nodes: nodes.collect(),
        max_active: wire.max_active_faults.map(|most| most.value),
    })
}

fn delay(wire: &FaultDelay) -> Result<Delay, Invalid> {
    let mut faults = Faults::default();
    let by = faults.take(match &wire.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(wire)) => match decode::duration(wire) {
            Some(delay) if !delay.is_zero() => Ok(DelayBy::Fixed(whole_millis(delay))),
            _ => Err(Invalid::new(
                "fixed_delay",
                "is not above zero, or malformed",
            )),
        },
        Some(FaultDelaySecifier::HeaderDelay(_)) => Ok(DelayBy::Header),
        None => Err(Invalid::new("", "has neither fixed_delay nor header_delay")),
    });
    let fraction = faults.take(percentage(wire.percentage.as_ref()));
    let (by, fraction) = faults.or(by.zip(fraction))?;
    Ok(Delay { by, fraction })
}

/// As Envoy counts.
fn whole_millis(delay: Duration) -> Duration {
    let below = delay.subsec_nanos() % 1_000_000;
    delay.saturating_sub(Duration::from_nanos(below.into()))
}

fn abort(wire: &FaultAbort) -> Result<Abort, Invalid> {
    let mut faults = Faults::default();
    let by = faults.take(match wire.error_type {
        Some(ErrorType::HttpStatus(number)) => {
            status(number).map(|status| AbortBy::Status(AbortStatus::Http(status)))
        }
        Some(ErrorType::GrpcStatus(number)) => Ok(AbortBy::Status(AbortStatus::Grpc(number))),
        Some(ErrorType::HeaderAbort(_)) => Ok(AbortBy::Header),
        None => Err(Invalid::new(
            "",
            "has neither http_status, grpc_status nor header_abort",
        )),
    });
    let fraction = faults.take(percentage(wire.percentage.as_ref()));
    let (by, fraction) = faults.or(by.zip(fraction))?;
    let body = match wire.response_body.as_str() {
        "" => Bytes::from_static(ABORT_BODY.as_bytes()),
        text => Bytes::copy_from_slice(text.as_bytes()),
    };
    Ok(Abort { by, fraction, body })
}

fn status(number: u32) -> Result<StatusCode, Invalid> {
    let status = u16::try_from(number).ok();
    let status = status.filter(|number| (200..600).contains(number));
    status
        .and_then(|number| StatusCode::from_u16(number).ok())
        .ok_or_else(|| Invalid::new("http_status", format_args!("{number} is not in 200..600")))
}

/// One that is not there is of none.
fn percentage(wire: Option<&FractionalPercent>) -> Result<Fraction, Invalid> {
    wire.map_or_else(|| Ok(Fraction::default()), fraction::fraction)
        .map_err(|error| error.within("percentage"))
}
