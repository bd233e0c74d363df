//! `HTTPRetry`: which calls are tried again.

use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

use super::values::{duration, flag, text};

/// Checked `retries`.
#[derive(Debug, Clone)]
pub(crate) struct Retries {
    /// After the first; 0 turns retries off.
    pub(crate) attempts: u32,
    pub(crate) per_try_timeout: Option<Duration>,
    /// Conditions and status codes, with commas between them.
    pub(crate) retry_on: Option<String>,
    pub(crate) backoff: Option<Duration>,
    pub(crate) remote_localities: bool,
    /// On where nothing is said.
    pub(crate) ignore_previous_hosts: Option<bool>,
}

const RETRIES: Schema = Schema {
    served: &[
        "attempts",
        "perTryTimeout",
        "retryOn",
        "backoff",
        "retryRemoteLocalities",
        "retryIgnorePreviousHosts",
    ],
    unserved: &[],
};

/// Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
const CONDITIONS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// An `HTTPRetry`.
pub(crate) fn decode(value: &Value, path: String, sink: &mut Sink) -> Option<Retries> {
    let fields = Fields::open(value, path, RETRIES, sink)?;
    // protobuf's default of an absent int32; istiod then turns retries off.
    let attempts = fields.integer("attempts", 0, i32::MAX as u32, sink);
    let idle = ["perTryTimeout", "retryOn", "retryRemoteLocalities"];
    let idle = idle.into_iter().find(|key| fields.get(key).is_some());
    if let Some(key) = idle.filter(|_| attempts == Some(0) || fields.get("attempts").is_none()) {
        sink.error(
            fields.place(key),
            format!(
                "{} needs {} of 1 or more",
                fields.path_of(key),
                fields.path_of("attempts")
            ),
        );
    }
    let retry_on = text(&fields, "retryOn", sink);
    for word in retry_on.iter().flat_map(|all| all.split(',')) {
        let is_status = word.parse().is_ok_and(is_status);
        if !is_status && !CONDITIONS.contains(&word) {
            sink.error(
                fields.place("retryOn"),
                format!(
                    "{}: {word:?} is no status code and none of {}",
                    fields.path_of("retryOn"),
                    CONDITIONS.join(", ")
                ),
            );
        }
    }
    Some(Retries {
        attempts: attempts.unwrap_or(0),
        per_try_timeout: duration(&fields, "perTryTimeout", sink),
        retry_on,
        backoff: duration(&fields, "backoff", sink),
        remote_localities: fields.bool("retryRemoteLocalities", sink),
        ignore_previous_hosts: flag(&fields, "retryIgnorePreviousHosts", sink),
    })
}

/// Whether a number is a status that is registered with IANA: the others are no codes to istiod.
pub(crate) fn is_status(code: u32) -> bool {
    matches!(
        code,
        100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429
            | 431 | 451 | 500..=508 | 510 | 511
    )
}
