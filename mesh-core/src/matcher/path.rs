//! The path part of `envoy.config.route.v3.RouteMatch`: always tested against the path without its query.

use super::string::FullRegex;

/// How a route tests the path.
#[derive(Debug, Clone)]
pub enum PathMatcher {
    /// `path`: the whole of it.
    Exact(Box<str>),
    /// `prefix`: a plain string prefix, not by segments. Empty matches every path.
    Prefix(Box<str>),
    /// `path_separated_prefix`: `/p` and `/p/...`, not `/pp`. Kept without a trailing slash.
    SegmentPrefix(Box<str>),
    /// `path_separated_prefix` with `case_sensitive: false`; in lower case.
    SegmentPrefixIgnoreCase(Box<str>),
    /// `safe_regex`: the whole path.
    Regex(FullRegex),
    /// `path` with `case_sensitive: false`; in lower case.
    ExactIgnoreCase(Box<str>),
    /// `prefix` with `case_sensitive: false`; in lower case.
    PrefixIgnoreCase(Box<str>),
}

impl PathMatcher {
    /// Whether the path matches.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(pattern) => path == &**pattern,
            Self::Prefix(pattern) => path.starts_with(&**pattern),
            Self::SegmentPrefix(pattern) => path
                .strip_prefix(&**pattern)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(regex) => regex.matches(path.as_bytes()),
            Self::ExactIgnoreCase(pattern) => path.eq_ignore_ascii_case(pattern),
            Self::PrefixIgnoreCase(pattern) => after_ignoring_case(path, pattern).is_some(),
            Self::SegmentPrefixIgnoreCase(pattern) => after_ignoring_case(path, pattern)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
        }
    }
}

/// What follows a pattern at the beginning of a path. Bytes: a pattern may end within a character of the path.
fn after_ignoring_case<'a>(path: &'a str, pattern: &str) -> Option<&'a [u8]> {
    let (start, rest) = path.as_bytes().split_at_checked(pattern.len())?;
    start
        .eq_ignore_ascii_case(pattern.as_bytes())
        .then_some(rest)
}
