//! `HTTPFaultInjection`: calls that are made to wait or to fail.

use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};

use super::values::{Share, duration, share, whole_share};

/// A checked `fault`; both are absent where only what has no effect was given.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) delay: Option<Delay>,
    pub(crate) abort: Option<Abort>,
}

/// `delay`.
#[derive(Debug, Clone)]
pub(crate) struct Delay {
    pub(crate) fixed: Duration,
    pub(crate) share: Share,
}

/// `abort`.
#[derive(Debug, Clone)]
pub(crate) struct Abort {
    pub(crate) with: Status,
    /// None of the calls where it is absent.
    pub(crate) share: Option<Share>,
}

/// What an aborted call is answered with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Status {
    /// 200 to 599.
    Http(u32),
    /// 0 to 16.
    Grpc(u32),
}

const FAULT: Schema = Schema {
    served: &["delay", "abort"],
    unserved: &[],
};
const DELAY: Schema = Schema {
    served: &["fixedDelay", "percentage", "percent"],
    // Envoy has no such fault, and istiod leaves it out.
    unserved: &["exponentialDelay"],
};
const ABORT: Schema = Schema {
    served: &["httpStatus", "grpcStatus", "percentage"],
    unserved: &["http2Error"],
};

/// The codes of gRPC, each at its number.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// `fault` of a route.
pub(super) fn decode(route: &Fields<'_>, sink: &mut Sink) -> Option<Fault> {
    let fields = Fields::open(route.get("fault")?, route.path_of("fault"), FAULT, sink)?;
    if fields.get("delay").is_none() && fields.get("abort").is_none() {
        sink.error(
            fields.at,
            format!("{} must have delay, abort or both", fields.path),
        );
    }
    Some(Fault {
        delay: delay(&fields, sink),
        abort: abort(&fields, sink),
    })
}

fn delay(fault: &Fields<'_>, sink: &mut Sink) -> Option<Delay> {
    let fields = Fields::open(fault.get("delay")?, fault.path_of("delay"), DELAY, sink)?;
    let percentage = share(&fields, "percentage", sink);
    let percent = whole_share(&fields, "percent", sink);
    if fields.get("fixedDelay").is_none() {
        // istiod leaves it out too.
        if fields.get("exponentialDelay").is_none() {
            sink.note(
                fields.at,
                format!("{} has no fixedDelay: nothing is delayed", fields.path),
            );
        }
        return None;
    }
    let fixed = duration(&fields, "fixedDelay", sink)?;
    let share = percentage.or(percent).unwrap_or(Share::Hundredths(0));
    Some(Delay { fixed, share })
}

fn abort(fault: &Fields<'_>, sink: &mut Sink) -> Option<Abort> {
    let fields = Fields::open(fault.get("abort")?, fault.path_of("abort"), ABORT, sink)?;
    let share = share(&fields, "percentage", sink);
    // Envoy's bounds of FaultAbort.http_status.
    let http = fields.integer("httpStatus", 200, 599, sink);
    let grpc = fields.word("grpcStatus", &GRPC, sink);
    let kinds = ["httpStatus", "grpcStatus", "http2Error"];
    let given = kinds.iter().filter(|key| fields.get(key).is_some()).count();
    if given > 1 {
        sink.error(
            fields.at,
            format!(
                "{} must have one of {}, not {given}",
                fields.path,
                kinds.join(", ")
            ),
        );
    } else if given == 0 {
        sink.note(
            fields.at,
            format!("{} has no status: nothing is aborted", fields.path),
        );
    }
    let code = grpc.and_then(|name| (0_u32..).zip(GRPC).find(|(_, known)| *known == name));
    let with = http
        .map(Status::Http)
        .or_else(|| code.map(|(code, _)| Status::Grpc(code)))?;
    Some(Abort { with, share })
}
