//! `RouteMatch.path_specifier`, and paths that hit and nearly hit.

use envoy_types::pb::envoy::config::route::v3::RouteMatch;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::google::protobuf::BoolValue;

use super::regexes;
use crate::dice::Dice;

/// Without queries.
const PATHS: &[&str] = &[
    "/", "/a", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/A", "/A/b", "/A/B", "/ab", "/aB", "/ab/c",
    "/a//b", "//a", "//", "/a%2Fb", "/a%2fb", "/b", "/b/a", "/B", "/a.b", "/a;x=1", "/a%20b",
    "/%61", "/a/../b", "/a/./b", "/1", "/10", "/a-b", "/a/b%", "/a/~b", "/a:b@c", "/a%C3%A9",
];

/// That a connection manager which normalises paths makes others of.
const ABNORMAL: &[&str] = &[
    "/a/%2e%2e/b",
    "/a/.",
    "/a/..",
    "/..",
    "/../a",
    "/a/%2E/b",
    "/a\\b",
    "/%2541",
    "/a/%zz",
    "/a/%",
    "/%41/%62",
    "/a\"b",
    "/a|b",
    "/a^b",
    "/a%5Cb",
    "/a%2F%2Fb",
    "//a//b//",
    "/a/...",
    "/.a",
    "/a/.b/../c",
    "/a%7Eb",
    "/a%2Db",
    "/%2e/a",
];

const QUERIES: &[&str] = &[
    "",
    "",
    "",
    "",
    "?",
    "?x=1",
    "?a=b&c",
    "?a/b",
    "??",
    "?x=a%20b&x=2",
    "?/a",
];

/// Pieces for segment prefixes, which must be of two characters or more and not end in a slash.
const SEGMENTS: &[&str] = &[
    "/a", "/a/b", "/A", "/ab", "/a//b", "//a", "/a%2Fb", "/b", "/B/a", "/a.b", "/1",
];

/// Sets path specifier and case sensitivity.
pub(super) fn specify(d: &mut Dice, matches: &mut RouteMatch) {
    matches.path_specifier = Some(match d.below(10) {
        0..=2 => PathSpecifier::Path(d.text(PATHS)),
        3 => PathSpecifier::Prefix(d.text(&["", "/", "/"])),
        4..=5 => PathSpecifier::Prefix(d.text(PATHS)),
        6..=7 => PathSpecifier::PathSeparatedPrefix(d.text(SEGMENTS)),
        _ => PathSpecifier::SafeRegex(regexes::matcher(d, regexes::PATHS)),
    });
    matches.case_sensitive = match d.below(5) {
        0 | 1 => Some(BoolValue { value: false }),
        2 => Some(BoolValue { value: true }),
        _ => None,
    };
}

/// A path that the match takes, often with a query.
pub(super) fn aim(d: &mut Dice, matches: &RouteMatch) -> String {
    let mut path = match &matches.path_specifier {
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::Prefix(prefix) | PathSpecifier::PathSeparatedPrefix(prefix)) => {
            let more = d.text(&["", "", "/", "/c", "c", "/b/c"]);
            format!("{prefix}{more}")
        }
        Some(PathSpecifier::SafeRegex(regex)) => regexes::aim(d, regex, regexes::PATHS),
        _ => String::new(),
    };
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    if matches.case_sensitive.is_some() && d.once_in(2) {
        path = swapped(&path);
    }
    path + &d.text(QUERIES)
}

/// Any path that normalising may change.
pub(super) fn abnormal(d: &mut Dice) -> String {
    d.text(ABNORMAL) + &d.text(QUERIES)
}

/// Any path.
pub(super) fn any(d: &mut Dice) -> String {
    d.text(PATHS) + &d.text(QUERIES)
}

/// A path beside this one.
pub(super) fn near(d: &mut Dice, path: &str) -> String {
    let (bare, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let bare = match d.below(7) {
        0 => swapped(bare),
        1 => format!("{bare}/"),
        2 => format!("{bare}a"),
        3 => bare.strip_suffix(|_: char| true).unwrap_or(bare).to_owned(),
        4 => format!("/{bare}"),
        5 => bare.replacen("/a", "/b", 1),
        _ => d.text(PATHS),
    };
    let slash = if bare.starts_with('/') { "" } else { "/" };
    format!("{slash}{bare}{query}")
}

/// The case of ASCII letters swapped, but for those of percent-encodings.
fn swapped(text: &str) -> String {
    let mut encoded = 0;
    text.chars()
        .map(|c| {
            encoded = if c == '%' { 3 } else { encoded };
            let swap = encoded == 0;
            encoded -= i32::from(encoded > 0);
            match c {
                _ if !swap => c,
                c if c.is_ascii_lowercase() => c.to_ascii_uppercase(),
                c => c.to_ascii_lowercase(),
            }
        })
        .collect()
}
