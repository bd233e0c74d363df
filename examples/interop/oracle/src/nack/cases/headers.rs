//! Header matchers, query parameters, fractions.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier as By;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier as Query;
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, Int64Range};

use super::{matches, regex};
use crate::feature::Feature;
use crate::nack::Case;

const NAMES: &[&str] = &[
    "", " ", "a b", ":path", ":status", ":foo", "é", "x:y", "X-A", "a\nb", "host", ":method",
    "x_a", "a\0b", "(",
];

/// All of these.
pub(super) fn all() -> Vec<Case> {
    let mut all = headers();
    all.extend(names());
    all.extend(fractions());
    all.extend(queries());
    all
}

fn with(name: &str, matcher: HeaderMatcher) -> Case {
    Case::new(Feature::Header, format!("header {name}"), move |c| {
        matches(c).headers.push(matcher.clone());
    })
}

fn by(test: By) -> HeaderMatcher {
    HeaderMatcher {
        name: "x-a".to_owned(),
        header_match_specifier: Some(test),
        ..HeaderMatcher::default()
    }
}

fn names() -> impl Iterator<Item = Case> {
    NAMES.iter().map(|name| {
        let matcher = HeaderMatcher {
            name: (*name).to_owned(),
            ..by(By::PresentMatch(true))
        };
        with(&format!("name {name:?}"), matcher)
    })
}

#[allow(deprecated, reason = "Istio sends the older forms, too")]
fn headers() -> Vec<Case> {
    let string = |pattern: Option<MatchPattern>, ignore_case| {
        by(By::StringMatch(StringMatcher {
            match_pattern: pattern,
            ignore_case,
        }))
    };
    let range = |start, end| by(By::RangeMatch(Int64Range { start, end }));
    let text = String::new;
    vec![
        with("exact_match empty", by(By::ExactMatch(text()))),
        with("prefix_match empty", by(By::PrefixMatch(text()))),
        with("suffix_match empty", by(By::SuffixMatch(text()))),
        with("contains_match empty", by(By::ContainsMatch(text()))),
        with("safe_regex_match empty", by(By::SafeRegexMatch(regex("")))),
        with("safe_regex_match (", by(By::SafeRegexMatch(regex("(")))),
        with("range from greater to lesser", range(5, 1)),
        with("range empty", range(0, 0)),
        with("string without pattern", string(None, false)),
        with(
            "string exact empty",
            string(Some(MatchPattern::Exact(text())), false),
        ),
        with(
            "string prefix empty",
            string(Some(MatchPattern::Prefix(text())), false),
        ),
        with(
            "string suffix empty",
            string(Some(MatchPattern::Suffix(text())), false),
        ),
        with(
            "string contains empty",
            string(Some(MatchPattern::Contains(text())), false),
        ),
        with(
            "string regex empty",
            string(Some(MatchPattern::SafeRegex(regex(""))), false),
        ),
        with(
            "string regex (",
            string(Some(MatchPattern::SafeRegex(regex("("))), false),
        ),
        with(
            "string regex ignore-case",
            string(Some(MatchPattern::SafeRegex(regex("a"))), true),
        ),
    ]
}

fn fractions() -> Vec<Case> {
    let with = |name: &str, fraction: Option<FractionalPercent>| {
        Case::new(Feature::Fraction, format!("fraction {name}"), move |c| {
            matches(c).runtime_fraction = Some(RuntimeFractionalPercent {
                default_value: fraction,
                runtime_key: String::new(),
            });
        })
    };
    let percent = |numerator, denominator| {
        Some(FractionalPercent {
            numerator,
            denominator,
        })
    };
    vec![
        with("without default", None),
        with("of an unknown denominator", percent(1, 7)),
        with("of a negative denominator", percent(1, -1)),
        with("more than the whole", percent(101, 0)),
        with("far more than the whole", percent(u32::MAX, 0)),
    ]
}

fn queries() -> Vec<Case> {
    let with = |name: &str, parameter: &str, test: Option<Query>| {
        let matcher = QueryParameterMatcher {
            name: parameter.to_owned(),
            query_parameter_match_specifier: test,
        };
        Case::new(Feature::Query, format!("query {name}"), move |c| {
            matches(c).query_parameters.push(matcher.clone());
        })
    };
    let string = |match_pattern| {
        Some(Query::StringMatch(StringMatcher {
            match_pattern,
            ignore_case: false,
        }))
    };
    vec![
        with("without name", "", None),
        with("of 1024", &"q".repeat(1024), None),
        with("of 1025", &"q".repeat(1025), None),
        with("without pattern", "q", string(None)),
        with(
            "prefix empty",
            "q",
            string(Some(MatchPattern::Prefix(String::new()))),
        ),
        with(
            "regex (",
            "q",
            string(Some(MatchPattern::SafeRegex(regex("(")))),
        ),
    ]
}
