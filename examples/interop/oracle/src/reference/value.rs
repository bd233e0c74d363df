//! Tests of headers and query parameters.

use std::collections::HashMap;
use std::sync::Mutex;

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier as By;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier as Query;
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use regex::Regex;

use super::Test;
use crate::backend::latin;
use crate::request::Ask;

/// The tests of a header; each also inverted, and with a missing header as empty.
pub(crate) const HEADER_TESTS: &[&str] = &[
    "unset",
    "present",
    "absent",
    "exact_match",
    "prefix_match",
    "suffix_match",
    "contains_match",
    "safe_regex_match",
    "range_match",
    "string exact",
    "string prefix",
    "string suffix",
    "string contains",
    "string regex",
    "string exact ignore-case",
    "string prefix ignore-case",
    "string suffix ignore-case",
    "string contains ignore-case",
];

/// The tests of a query parameter.
pub(crate) const QUERY_TESTS: &[&str] = &[
    "query unset",
    "query present",
    "query absent",
    "query string exact",
    "query string prefix",
    "query string suffix",
    "query string contains",
    "query string regex",
];

/// A header's test. Of several values one must pass, each by itself; inverted, none may. Absent, a header fails
/// whatever is asked but presence, inverted or not, unless it counts as empty.
pub(super) fn header(regexes: &Regexes, matcher: &HeaderMatcher, ask: &Ask) -> Test {
    let (invert, empty) = (matcher.invert_match, matcher.treat_missing_header_as_empty);
    let mut given = given(&matcher.name.to_ascii_lowercase(), ask);
    if given.is_empty() && empty {
        given.push(String::new());
    }
    let (test, _) = of_header(regexes, matcher, "");
    let held = match (given.as_slice(), test.as_str()) {
        ([], "absent") => !invert,
        ([], "present" | "unset") => invert,
        ([], _) => false,
        (values, _) => {
            values
                .iter()
                .any(|value| of_header(regexes, matcher, value).1)
                != invert
        }
    };
    let more = [(invert, " inverted"), (empty, " missing-as-empty")];
    let more: String = more.iter().filter(|(on, _)| *on).map(|(_, t)| *t).collect();
    let mut kinds = vec![format!("header {test}{more}")];
    if matcher.name.starts_with(':') || matcher.name == "host" {
        kinds.push(format!("header of {}", matcher.name));
    }
    if given.len() > 1 {
        kinds.push("header of several values".to_owned());
    }
    (kinds, Some(held))
}

fn given(name: &str, ask: &Ask) -> Vec<String> {
    match name {
        ":method" => vec![ask.method.clone()],
        ":path" => vec![ask.path.clone()],
        ":authority" | "host" => vec![ask.authority.clone()],
        ":scheme" => vec!["http".to_owned()],
        name => ask.values(name).map(str::to_owned).collect(),
    }
}

#[allow(deprecated, reason = "Istio sends the older forms, too")]
fn of_header(regexes: &Regexes, matcher: &HeaderMatcher, value: &str) -> (String, bool) {
    let (test, held) = match &matcher.header_match_specifier {
        None => ("unset", true),
        Some(By::PresentMatch(true)) => ("present", true),
        Some(By::PresentMatch(false)) => ("absent", false),
        Some(By::ExactMatch(text)) => ("exact_match", text.is_empty() || value == text),
        Some(By::PrefixMatch(text)) => ("prefix_match", value.starts_with(text)),
        Some(By::SuffixMatch(text)) => ("suffix_match", value.ends_with(text)),
        Some(By::ContainsMatch(text)) => ("contains_match", value.contains(text)),
        Some(By::SafeRegexMatch(regex)) => ("safe_regex_match", regexes.whole(&regex.regex, value)),
        Some(By::RangeMatch(range)) => {
            let number = value.parse::<i64>().ok();
            let held = number.is_some_and(|n| (range.start..range.end).contains(&n));
            ("range_match", held)
        }
        Some(By::StringMatch(matcher)) => return string(regexes, matcher, value),
    };
    (test.to_owned(), held)
}

fn string(regexes: &Regexes, matcher: &StringMatcher, value: &str) -> (String, bool) {
    let fold = matcher.ignore_case;
    let folded = |text: &str| {
        if fold {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    let given = folded(value);
    let (test, held) = match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => ("exact", given == folded(text)),
        Some(MatchPattern::Prefix(text)) => ("prefix", given.starts_with(&folded(text))),
        Some(MatchPattern::Suffix(text)) => ("suffix", given.ends_with(&folded(text))),
        Some(MatchPattern::Contains(text)) => ("contains", given.contains(&folded(text))),
        Some(MatchPattern::SafeRegex(regex)) => {
            return (
                "string regex".to_owned(),
                regexes.whole(&regex.regex, value),
            );
        }
        _ => ("other", false),
    };
    let fold = if fold { " ignore-case" } else { "" };
    (format!("string {test}{fold}"), held)
}

/// The first parameter of the name. Neither name nor value is decoded.
pub(super) fn query(regexes: &Regexes, matcher: &QueryParameterMatcher, ask: &Ask) -> Test {
    let given = ask.path.split_once('?').and_then(|(_, query)| {
        query.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == matcher.name).then(|| value.to_owned())
        })
    });
    let (test, held) = match &matcher.query_parameter_match_specifier {
        None => ("unset".to_owned(), given.is_some()),
        Some(Query::PresentMatch(true)) => ("present".to_owned(), given.is_some()),
        Some(Query::PresentMatch(false)) => ("absent".to_owned(), given.is_none()),
        Some(Query::StringMatch(matcher)) => {
            let (test, held) = string(regexes, matcher, given.as_deref().unwrap_or_default());
            (test.replace(" ignore-case", ""), held && given.is_some())
        }
    };
    (vec![format!("query {test}")], Some(held))
}

/// Compiled expressions: there are few, and compiling takes longer than all else here.
#[derive(Debug, Default)]
pub(crate) struct Regexes(Mutex<HashMap<String, Option<Regex>>>);

impl Regexes {
    /// Whether an expression matches the whole text. Envoy's RE2 reads both as Latin-1: a character is a byte.
    /// Its classes are ASCII.
    pub(super) fn whole(&self, pattern: &str, text: &str) -> bool {
        let compiled = || {
            let ascii = latin(pattern.as_bytes())
                .replace(r"\d", "[0-9]")
                .replace(r"\w", "[0-9A-Za-z_]")
                .replace(r"\S", r"[^\t\n\x0c\r ]")
                .replace(r"\b", r"(?-u:\b)")
                .replace(r"\C", r"(?s:.)");
            Regex::new(&format!(r"\A(?:{ascii})\z")).ok()
        };
        let regex = match self.0.lock() {
            Ok(mut known) => match known.get(pattern) {
                Some(regex) => regex.clone(),
                None => known
                    .entry(pattern.to_owned())
                    .or_insert_with(compiled)
                    .clone(),
            },
            Err(_) => compiled(),
        };
        regex.is_some_and(|regex| regex.is_match(&latin(text.as_bytes())))
    }
}
