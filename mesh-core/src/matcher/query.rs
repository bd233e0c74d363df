//! `envoy.config.route.v3.QueryParameterMatcher` and `CookieMatcher`.

use http::HeaderMap;
use http::header::COOKIE;

use super::string::StringMatcher;

/// A test of one query parameter. Names and values are compared as they are written, escapes not
/// decoded; the first parameter of the name counts (Envoy).
#[derive(Debug, Clone)]
pub struct QueryMatcher {
    /// The name.
    pub name: Box<[u8]>,
    /// How.
    pub test: QueryTest,
}

/// The test itself.
#[derive(Debug, Clone)]
pub enum QueryTest {
    /// `present_match`: presence must be this. Also what a matcher without a test means, with `true`.
    Present(bool),
    /// `string_match`; fails for a parameter that is not there.
    String(StringMatcher),
}

impl QueryMatcher {
    /// Whether a query, without its question mark, passes.
    pub fn matches(&self, query: Option<&str>) -> bool {
        let value = query.and_then(|query| first_parameter(query, &self.name));
        match &self.test {
            QueryTest::Present(wanted) => value.is_some() == *wanted,
            QueryTest::String(matcher) => value.is_some_and(|value| matcher.matches(value)),
        }
    }
}

/// The value of the first parameter of a name, empty when it has no `=`. Not decoded.
pub(crate) fn first_parameter<'q>(query: &'q str, name: &[u8]) -> Option<&'q [u8]> {
    query
        .as_bytes()
        .split(|byte| *byte == b'&')
        .find_map(|pair| {
            match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (pair[..at] == *name).then(|| &pair[at + 1..]),
                // An empty piece between two ampersands is no parameter.
                None => (!pair.is_empty() && *pair == *name).then_some(&[][..]),
            }
        })
}

/// A test of one cookie's value. The first cookie of the name counts; a cookie that is not there fails,
/// and inversion turns that to true (Envoy).
#[derive(Debug, Clone)]
pub struct CookieMatcher {
    /// The name.
    pub name: Box<[u8]>,
    /// `string_match`
    pub test: StringMatcher,
    /// `invert_match`
    pub invert: bool,
}

impl CookieMatcher {
    /// Whether the request passes.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        let passes = cookie(headers, &self.name).is_some_and(|value| self.test.matches(value));
        passes != self.invert
    }
}

/// The value of the first cookie of a name, without the quotes around it.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &[u8]) -> Option<&'h [u8]> {
    let lines = headers.get_all(COOKIE).iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=')?;
        if pair[..at] != *name {
            return None;
        }
        Some(match &pair[at + 1..] {
            [b'"', inner @ .., b'"'] => inner,
            value => value,
        })
    })
}
