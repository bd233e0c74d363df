//! `RouteMatch.headers`, and headers that hit and nearly hit.

use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::envoy::r#type::v3::Int64Range;

use super::{regexes, strings};
use crate::dice::Dice;
use crate::feature::Features;
use crate::reference::{self, Regexes};
use crate::request::Ask;

/// Names that requests carry.
pub(super) const NAMES: &[&str] = &["x-a", "x-b", "x-n"];

const METHODS: &[&str] = &[
    "GET", "GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PURGE",
];

/// Any method.
pub(super) fn method(d: &mut Dice) -> String {
    d.text(METHODS)
}

/// One matcher.
pub(super) fn matcher(d: &mut Dice, features: &Features) -> HeaderMatcher {
    if d.once_in(5) {
        return pseudo(d);
    }
    let name = d.text(&["x-a", "x-a", "x-b", "x-n", "X-B"]);
    HeaderMatcher {
        name,
        header_match_specifier: specifier(d, features),
        invert_match: d.once_in(2),
        treat_missing_header_as_empty: d.once_in(2),
    }
}

/// All tests are equally frequent.
#[allow(deprecated, reason = "Istio sends the older forms, too")]
fn specifier(d: &mut Dice, features: &Features) -> Option<HeaderMatchSpecifier> {
    use HeaderMatchSpecifier as By;
    Some(match d.below(19) {
        0 => return None,
        1 => By::PresentMatch(false),
        2 => By::PresentMatch(true),
        3 => By::ExactMatch(d.text(strings::VALUES)),
        4 => By::PrefixMatch(d.text(strings::PARTS)),
        5 => By::SuffixMatch(d.text(strings::PARTS)),
        6 => By::ContainsMatch(d.text(strings::PARTS)),
        7 => By::SafeRegexMatch(regexes::of_value(d, features)),
        8 | 9 => {
            let start = d.number(-2, 8);
            let end = start + d.number(1, 5);
            By::RangeMatch(match d.below(6) {
                0 => Int64Range { start, end: start },
                1 => Int64Range {
                    start: i64::MIN,
                    end: i64::MAX,
                },
                _ => Int64Range { start, end },
            })
        }
        _ => By::StringMatch(strings::matcher(d, features)),
    })
}

/// Of a pseudo-header, or `host`, which stands for `:authority`.
fn pseudo(d: &mut Dice) -> HeaderMatcher {
    let by = |pattern| {
        Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(pattern),
            ignore_case: false,
        }))
    };
    let (name, test) = match d.below(8) {
        0..=2 => (":method", by(MatchPattern::Exact(d.text(METHODS)))),
        3 => (
            ":path",
            by(MatchPattern::Prefix(d.text(&["/a", "/a/b", "/b", "/a?"]))),
        ),
        4 => (
            ":path",
            by(MatchPattern::Contains(d.text(&["?", "?x", "a", "=", "%"]))),
        ),
        5 => (
            ":authority",
            by(MatchPattern::Suffix(d.text(&[":9080", "test", "TEST"]))),
        ),
        6 => (
            "host",
            by(MatchPattern::Suffix(d.text(&[":9080", "test", "80"]))),
        ),
        _ => (
            ":scheme",
            by(MatchPattern::Exact(d.text(&["http", "http", "https"]))),
        ),
    };
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: test,
        invert_match: d.once_in(4),
        treat_missing_header_as_empty: d.once_in(6),
    }
}

/// Gives the request what lets the matcher pass, or fail, if some tries find it.
pub(super) fn aim(
    d: &mut Dice,
    regexes: &Regexes,
    matcher: &HeaderMatcher,
    ask: &mut Ask,
    pass: bool,
) {
    for _ in 0..12 {
        let tried = with(d, matcher, ask);
        if reference::header_passes(regexes, matcher, &tried) == pass {
            *ask = tried;
            return;
        }
    }
}

fn with(d: &mut Dice, matcher: &HeaderMatcher, ask: &Ask) -> Ask {
    let mut ask = ask.clone();
    let value = match d.below(4) {
        0 => None,
        1 => Some(d.text(strings::VALUES)),
        _ => value(d, matcher),
    };
    let name = matcher.name.to_ascii_lowercase();
    match (name.as_str(), value) {
        (":method", _) => ask.method = method(d),
        (":path", Some(value)) if value.starts_with('/') => ask.path = value,
        (name, value) if NAMES.contains(&name) => {
            // Now and then one of several values.
            if !d.once_in(6) {
                ask.headers.retain(|(n, _)| n != name);
            }
            ask.headers
                .extend(value.map(|value| (name.to_owned(), value)));
        }
        _ => {}
    }
    ask
}

/// A value that the test takes before inversion. `None`: the header must be absent.
#[allow(deprecated, reason = "Istio sends the older forms, too")]
fn value(d: &mut Dice, matcher: &HeaderMatcher) -> Option<String> {
    use HeaderMatchSpecifier as By;
    let more = d.text(&["", "a", "b", "1"]);
    let value = match &matcher.header_match_specifier {
        Some(By::PresentMatch(false)) => return None,
        None | Some(By::PresentMatch(true)) => d.text(strings::VALUES),
        Some(By::ExactMatch(text)) => text.clone(),
        Some(By::PrefixMatch(text)) => format!("{text}{more}"),
        Some(By::SuffixMatch(text)) => format!("{more}{text}"),
        Some(By::ContainsMatch(text)) => format!("{more}{text}{more}"),
        Some(By::SafeRegexMatch(regex)) => regexes::aim_at_value(d, regex),
        Some(By::RangeMatch(range)) => {
            let near = d.number(-1, 2);
            range.start.saturating_add(near).to_string()
        }
        Some(By::StringMatch(matcher)) => strings::aim(d, matcher),
    };
    Some(value)
}

/// Adds, changes, doubles or removes one header.
pub(super) fn disturb(d: &mut Dice, ask: &mut Ask) {
    let name = d.text(NAMES);
    match d.below(4) {
        0 => ask.headers.retain(|(n, _)| *n != name),
        1 => {
            // Several of one name: a list.
            let value = d.text(strings::VALUES);
            ask.headers.push((name, value));
        }
        2 => ask.method = method(d),
        _ => {
            ask.headers.retain(|(n, _)| *n != name);
            let value = d.text(strings::VALUES);
            ask.headers.push((name, value));
        }
    }
}
