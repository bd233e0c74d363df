//! `envoy.config.route.v3.HeaderMatcher`.

use super::string::StringMatcher;
use crate::request::{HeaderKey, HeaderValues, RequestView};

/// A test of one header.
#[derive(Debug, Clone)]
pub struct HeaderMatcher {
    /// Whose value is tested.
    pub name: HeaderKey,
    /// How.
    pub test: HeaderTest,
    /// `invert_match`
    pub invert: bool,
    /// `treat_missing_header_as_empty`
    pub missing_is_empty: bool,
}

/// The test itself.
#[derive(Debug, Clone)]
pub enum HeaderTest {
    /// `present_match`: presence must be this.
    Present(bool),
    /// `string_match` and its deprecated forms.
    String(StringMatcher),
    /// `range_match`: a base-10 number, start included, end excluded.
    Range(i64, i64),
}

impl HeaderMatcher {
    /// Whether the request passes.
    ///
    /// An absent header fails every test but presence, and inversion does not turn that to true
    /// (Envoy, gRPC A28), unless a missing header counts as empty.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        let found = request.header(&self.name);
        let value = match (&self.test, &found) {
            (HeaderTest::Present(wanted), found) => {
                let present = !matches!(found, HeaderValues::Absent);
                return (present == *wanted) != self.invert;
            }
            (_, HeaderValues::Absent) if self.missing_is_empty => &[],
            (_, found) => match found.bytes() {
                Some(value) => value,
                None => return false,
            },
        };
        self.value_matches(value) != self.invert
    }

    fn value_matches(&self, value: &[u8]) -> bool {
        match &self.test {
            HeaderTest::Present(wanted) => *wanted,
            HeaderTest::String(matcher) => matcher.matches(value),
            HeaderTest::Range(start, end) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
        }
    }
}
