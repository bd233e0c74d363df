//! `google.protobuf.Duration`, as far as a limit of time may be one.

use std::time::Duration;

use envoy_types::pb::google::protobuf::Duration as PbDuration;

/// The largest `Duration.seconds`: 10,000 years. Envoy refuses more.
const MOST_SECONDS: u64 = 315_576_000_000;

/// `None` for what is negative, malformed or out of protobuf's range.
pub(crate) fn duration(wire: &PbDuration) -> Option<Duration> {
    let seconds = u64::try_from(wire.seconds).ok()?;
    let nanos = u32::try_from(wire.nanos).ok()?;
    let fits = seconds <= MOST_SECONDS && nanos < 1_000_000_000;
    fits.then(|| Duration::new(seconds, nanos))
}
