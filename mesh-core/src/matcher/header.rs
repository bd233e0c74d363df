//! `envoy.config.route.v3.HeaderMatcher`.

use super::string::StringMatcher;
use crate::request::{HeaderKey, HeaderLines, RequestView};

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
    /// Of a header that is there several times one value must pass, each looked at by itself; inverted,
    /// none may (Envoy 1.40; gRPC A28 joins them by commas). An absent header fails every test but
    /// presence, and inversion does not turn that to true, unless a missing header counts as empty.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.holds(request.header(&self.name))
    }

    /// The same of the values of that header.
    pub(crate) fn holds(&self, mut values: HeaderLines<'_>) -> bool {
        let first = values.next();
        if let HeaderTest::Present(wanted) = self.test {
            let present = first.is_some() || self.missing_is_empty;
            return (present == wanted) != self.invert;
        }
        let passes = match first {
            Some(first) => {
                self.value_matches(&first) || values.any(|value| self.value_matches(&value))
            }
            None if self.missing_is_empty => self.value_matches(b""),
            None => return false,
        };
        passes != self.invert
    }

    fn value_matches(&self, value: &[u8]) -> bool {
        match &self.test {
            HeaderTest::Present(wanted) => *wanted,
            HeaderTest::String(matcher) => matcher.matches(value),
            HeaderTest::Range(start, end) => {
                // Envoy skips blanks around the number, as they are left around a value in HTTP/2.
                let number = std::str::from_utf8(value.trim_ascii()).ok();
                number
                    .and_then(|text| text.parse::<i64>().ok())
                    .is_some_and(|number| (*start..*end).contains(&number))
            }
        }
    }
}
