//! The timeouts of a `RouteAction`.

use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::{
    self as pb, route_action::MaxStreamDuration as PbMaxStream,
};
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use mesh_core::route::{DEFAULT_ROUTE_TIMEOUT, GrpcTimeout, MaxStream, Timeouts};

use crate::decode::{self, Faults, Invalid};

/// Which fields of a route limit its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// All of them, as in Envoy.
    Envoy,
    /// `max_stream_duration` alone, and the listener's where a route has none (gRPC A31).
    Grpc {
        /// `common_http_protocol_options.max_stream_duration` of the listener.
        max_stream: Option<Duration>,
    },
}

pub(super) fn decode(action: &pb::RouteAction, timing: Timing) -> Result<Timeouts, Invalid> {
    let timeouts = of_envoy(action)?;
    Ok(match timing {
        Timing::Envoy => timeouts,
        Timing::Grpc { max_stream } => of_grpc(action, timeouts.max_stream, max_stream),
    })
}

/// `grpc_timeout_header_max` of the route, else its `max_stream_duration`, else the listener's; 0 is no limit. The
/// caller's own deadline counts where it is nearer.
fn of_grpc(
    action: &pb::RouteAction,
    route: Option<MaxStream>,
    listener: Option<Duration>,
) -> Timeouts {
    let is_set = |max: &PbMaxStream| max.max_stream_duration.is_some();
    let has_own = action.max_stream_duration.as_ref().is_some_and(is_set);
    let cap = match route {
        Some(MaxStream {
            grpc_max: Some(cap),
            ..
        }) => Some(cap),
        Some(MaxStream { max, .. }) if has_own => max,
        _ => listener,
    };
    Timeouts {
        max_stream: limit(cap).map(|cap| MaxStream {
            max: Some(cap),
            grpc_max: Some(cap),
            grpc_offset: Duration::ZERO,
        }),
        ..Timeouts::default()
    }
}

/// A route without `timeout` has Envoy's 15 s; one without `idle_timeout` has none, for istiod sets the
/// connection manager's `stream_idle_timeout`, which would count then, to 0.
fn of_envoy(action: &pb::RouteAction) -> Result<Timeouts, Invalid> {
    let mut faults = Faults::default();
    let mut read = |field, value| faults.take(duration(field, value)).flatten();
    let route = read("timeout", action.timeout);
    let idle = read("idle_timeout", action.idle_timeout);
    #[allow(deprecated, reason = "Istio still emits them")]
    let (grpc_max, grpc_offset) = (
        read("max_grpc_timeout", action.max_grpc_timeout),
        read("grpc_timeout_offset", action.grpc_timeout_offset),
    );
    let max = action.max_stream_duration.as_ref();
    let max_stream = faults.take(max.map(max_stream).transpose());
    let timeouts = Timeouts {
        route: limit(Some(route.unwrap_or(DEFAULT_ROUTE_TIMEOUT))),
        idle: limit(idle),
        max_stream: max_stream.flatten(),
        grpc: grpc_max.map(|max| GrpcTimeout {
            max,
            offset: grpc_offset.unwrap_or_default(),
        }),
    };
    faults.or(Some(timeouts))
}

fn max_stream(max: &PbMaxStream) -> Result<MaxStream, Invalid> {
    let mut faults = Faults::default();
    let mut read = |field, value| {
        let value = duration(field, value).map_err(|error| error.within("max_stream_duration"));
        faults.take(value).flatten()
    };
    let decoded = MaxStream {
        max: limit(read("max_stream_duration", max.max_stream_duration)),
        grpc_max: read("grpc_timeout_header_max", max.grpc_timeout_header_max),
        grpc_offset: read("grpc_timeout_header_offset", max.grpc_timeout_header_offset)
            .unwrap_or_default(),
    };
    faults.or(Some(decoded))
}

/// Zero is no limit.
fn limit(value: Option<Duration>) -> Option<Duration> {
    value.filter(|limit| !limit.is_zero())
}

/// In whole milliseconds, as Envoy counts.
fn duration(field: &str, value: Option<PbDuration>) -> Result<Option<Duration>, Invalid> {
    let Some(value) = value else {
        return Ok(None);
    };
    let Some(exact) = decode::duration(&value) else {
        let reason = "is negative, malformed or over 315576000000 s";
        return Err(Invalid::new(field, reason));
    };
    let below = exact.subsec_nanos() % 1_000_000;
    Ok(Some(
        exact.saturating_sub(Duration::from_nanos(below.into())),
    ))
}
