//! `StringMatcher`, and values that hit and nearly hit.

use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::regexes;
use crate::dice::Dice;
use crate::feature::Features;

/// Values of headers and query parameters. No blanks at the ends: HTTP/1 takes them off on the wire.
pub(super) const VALUES: &[&str] = &[
    "",
    "a",
    "a",
    "A",
    "ab",
    "aB",
    "abc",
    "ABC",
    "b",
    "c",
    "a,b",
    "a, b",
    "b,a",
    "1",
    "10",
    "+5",
    "-1",
    "07",
    "5",
    "1.0",
    "1e1",
    "0x1",
    "1 0",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "é",
    "É",
    "a b",
    "aé",
    "a.b",
    "\"a\"",
];

/// Patterns that must not be empty.
pub(super) const PARTS: &[&str] = &["a", "A", "b", "ab", "bc", ",", "1", "é", "a,b", "C"];

/// Any string matcher.
pub(super) fn matcher(d: &mut Dice, features: &Features) -> StringMatcher {
    let pattern = match d.below(9) {
        0 | 1 => MatchPattern::Exact(d.text(VALUES)),
        2 | 3 => MatchPattern::Prefix(d.text(PARTS)),
        4 | 5 => MatchPattern::Suffix(d.text(PARTS)),
        6 | 7 => MatchPattern::Contains(d.text(PARTS)),
        _ => MatchPattern::SafeRegex(regexes::of_value(d, features)),
    };
    // A regular expression with `ignore_case` is refused.
    let is_regex = matches!(pattern, MatchPattern::SafeRegex(_));
    StringMatcher {
        ignore_case: !is_regex && d.once_in(2),
        match_pattern: Some(pattern),
    }
}

/// A value that the matcher takes.
pub(super) fn aim(d: &mut Dice, matcher: &StringMatcher) -> String {
    let more = d.text(&["", "a", "b", "1", ",c"]);
    let value = match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => text.clone(),
        Some(MatchPattern::Prefix(text)) => format!("{text}{more}"),
        Some(MatchPattern::Suffix(text)) => format!("{more}{text}"),
        Some(MatchPattern::Contains(text)) => format!("{more}{text}{more}"),
        Some(MatchPattern::SafeRegex(regex)) => regexes::aim_at_value(d, regex),
        _ => String::new(),
    };
    if matcher.ignore_case && d.once_in(2) {
        value.to_ascii_uppercase()
    } else {
        value
    }
}
