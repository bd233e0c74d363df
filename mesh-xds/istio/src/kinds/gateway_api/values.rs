//! Values of Gateway API: its durations.

use std::time::Duration;

use crate::decode::{Fields, Sink};

/// A duration of Gateway API (GEP-2257): up to four numbers of up to five digits with `h`, `m`, `s` or `ms`. Zero is a
/// value of its own.
pub(super) fn duration(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<Duration> {
    let value = fields.get(key)?;
    if !value.as_str().is_some_and(is_duration) {
        sink.error(
            value.at,
            format!(
                "{} must be a duration such as 1h, 1m30s or 250ms, without a fraction, not {}",
                fields.path_of(key),
                value.describe()
            ),
        );
        return None;
    }
    fields.duration(key, sink)
}

fn is_duration(text: &str) -> bool {
    let mut rest = text;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return false;
        }
        let unit = &rest[digits..];
        let after = ["ms", "h", "m", "s"]
            .iter()
            .find_map(|name| unit.strip_prefix(name));
        let Some(after) = after else { return false };
        if after.is_empty() {
            return true;
        }
        rest = after;
    }
    false
}
