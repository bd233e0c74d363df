//! Values that several parts of an `HTTPRoute` are made of: shares of calls, durations, flags, regular expressions.

use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::{Data, Value};

/// Some calls of all, in the two precisions in which istiod writes them (`envoy.type.v3.FractionalPercent`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Of a hundred.
    Hundredths(u32),
    /// Of a million.
    Millionths(u32),
}

impl Share {
    /// Every call.
    pub(crate) const ALL: Self = Self::Hundredths(100);

    /// Whether no call is meant.
    pub(crate) fn is_none(self) -> bool {
        matches!(self, Self::Hundredths(0) | Self::Millionths(0))
    }
}

const PERCENT: Schema = Schema {
    served: &["value"],
    unserved: &[],
};

/// The smallest share that a millionth can say, in percent.
const FINEST: f64 = 0.0001;

/// A `Percent`: `{ value: 0.1 }` is one call of a thousand. An absent value is 0, as in protobuf.
pub(super) fn share(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<Share> {
    let value = fields.get(key)?;
    let percent = Fields::open(value, fields.path_of(key), PERCENT, sink)?;
    let number = match percent.get("value").map(|value| &value.data) {
        None => Some(0.0),
        Some(Data::Float(number)) => Some(*number),
        Some(Data::Integer(number)) => u8::try_from(*number).ok().map(f64::from),
        Some(_) => None,
    };
    let number = number.filter(|n| *n == 0.0 || (FINEST..=100.0).contains(n));
    let Some(number) = number else {
        let found = percent
            .get("value")
            .map_or_else(String::new, Value::describe);
        sink.error(
            percent.place("value"),
            format!(
                "{} must be 0 or a number from {FINEST} to 100, not {found}",
                percent.path_of("value")
            ),
        );
        return None;
    };
    // istiod drops the rest of the division as well.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1 000 000"
    )]
    Some(Share::Millionths((number * 10_000.0) as u32))
}

/// The older form, a whole number of percent.
pub(super) fn whole_share(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<Share> {
    fields.integer(key, 0, 100, sink).map(Share::Hundredths)
}

/// A duration that Istio takes: of whole milliseconds, at least one.
pub(super) fn duration(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<Duration> {
    let duration = fields.duration(key, sink)?;
    if duration.is_zero() || duration.subsec_nanos() % 1_000_000 != 0 {
        sink.error(
            fields.place(key),
            format!(
                "{} must be of whole milliseconds, at least 1ms; leave it out for none",
                fields.path_of(key)
            ),
        );
        return None;
    }
    Some(duration)
}

/// A `BoolValue`: what is absent is not false.
pub(super) fn flag(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<bool> {
    let given = fields.get(key).is_some();
    let value = fields.bool(key, sink);
    given.then_some(value)
}

/// A text that is given and not empty: protobuf does not tell the two apart.
pub(super) fn text(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<String> {
    fields.string(key, sink).filter(|text| !text.is_empty())
}
