//! Regular expressions with texts that match them whole, and texts that nearly do.

use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::regex_matcher::{EngineType, GoogleRe2};

use crate::dice::Dice;
use crate::feature::{Feature, Features};

/// A pattern, what it matches, and what it does not.
type Sample = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// For paths.
pub(super) const PATHS: &[Sample] = &[
    ("/a", &["/a"], &["/a/", "/A", "/ab"]),
    ("/[ab]+", &["/a", "/ab", "/bb"], &["/", "/A", "/a/b"]),
    ("/a.b", &["/a/b", "/a.b"], &["/ab", "/a//b"]),
    ("/.*", &["/", "/a/b"], &[]),
    ("/a(/b)?", &["/a", "/a/b"], &["/a/", "/a/bc"]),
    ("(?i)/a/b", &["/A/b", "/a/B"], &["/a/c"]),
    (r"/\d+", &["/1", "/10"], &["/a", "/1a", "/"]),
    (r"/\w+", &["/a", "/b1_"], &["/a-b", "/", "/a/b"]),
    (".*/b", &["/b", "/a/b"], &["/b/", "/B"]),
    ("a|/a", &["/a"], &["/ab"]),
    ("^/a$", &["/a"], &["/a/"]),
    ("/a%2[Ff]b", &["/a%2Fb", "/a%2fb"], &["/a/b"]),
    ("/(a|ab)(/c)?", &["/ab/c", "/a"], &["/abc"]),
    (r"/[^/]+/[^/]+", &["/a/b"], &["/a", "/a/b/c", "/a//b"]),
];

/// For values of headers and query parameters.
const VALUES: &[Sample] = &[
    ("a", &["a"], &["A", "ab", ""]),
    ("a.*", &["a", "abc", "a,b"], &["ba", ""]),
    (".", &["a", "1", "é"], &["", "ab"]),
    ("..", &["ab", "10"], &["a", "é"]),
    (r"\d+", &["1", "10"], &["-1", "", "1.0"]),
    (r"[^b]+", &["a", "é"], &["ab", "b"]),
    ("(?i)ab", &["AB", "Ab"], &["a"]),
    ("a|b", &["a", "b"], &["ab", "c"]),
    (".*", &["", "abc"], &[]),
    (r"a\b.*", &["a b", "a,b"], &["ab"]),
    (r"\w+", &["a", "ab1"], &["é", "a b"]),
    (r"[[:alpha:]]+", &["abc"], &["a1", "é"]),
    (r"\S+", &["ab", "é"], &["a b", ""]),
    (r"(a,?)+b?", &["a,a", "a,b", "aab"], &["b"]),
    (r"a\.b", &["a.b"], &["aab"]),
    (r"(?P<n>a)b?", &["a", "ab"], &["b"]),
];

/// For values, with characters beyond ASCII in the pattern.
const BEYOND_ASCII: &[Sample] = &[
    ("[é]", &["é"], &["e"]),
    ("[é]+", &["é"], &["e"]),
    (r"\p{L}+", &["a", "é"], &["1", ""]),
    (r"\P{L}", &["1"], &["é"]),
    ("(?i)é", &["é", "É"], &["e"]),
];

/// A matcher of a header's or a query parameter's value.
pub(super) fn of_value(d: &mut Dice, features: &Features) -> RegexMatcher {
    let beyond = features.has(Feature::RegexBeyondAscii) && d.once_in(4);
    matcher(d, if beyond { BEYOND_ASCII } else { VALUES })
}

/// A value that the matcher takes.
pub(super) fn aim_at_value(d: &mut Dice, matcher: &RegexMatcher) -> String {
    let of = |samples: &'static [Sample]| samples.iter().any(|(p, ..)| *p == matcher.regex);
    aim(d, matcher, if of(VALUES) { VALUES } else { BEYOND_ASCII })
}

/// A matcher of one of these.
pub(super) fn matcher(d: &mut Dice, samples: &[Sample]) -> RegexMatcher {
    let (pattern, ..) = d.of(samples);
    RegexMatcher {
        regex: (*pattern).to_owned(),
        #[allow(deprecated, reason = "the form that older control planes send")]
        engine_type: d
            .once_in(4)
            .then(|| EngineType::GoogleRe2(GoogleRe2::default())),
    }
}

/// A text that the matcher takes.
pub(super) fn aim(d: &mut Dice, matcher: &RegexMatcher, samples: &[Sample]) -> String {
    let sample = samples.iter().find(|(p, ..)| *p == matcher.regex);
    match sample {
        Some((_, _, near)) if !near.is_empty() && d.once_in(4) => d.text(near),
        Some((_, hits, _)) => d.text(hits),
        None => String::new(),
    }
}
