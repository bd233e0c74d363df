//! Conditions in words.

use std::borrow::Cow;

use super::{Condition, Unmet};
use crate::matcher::{
    CookieMatcher, HeaderMatcher, HeaderTest, PathMatcher, QueryMatcher, QueryTest, StringMatcher,
    cookie, first_parameter,
};
use crate::request::{HeaderKey, RequestView};
use crate::route::RouteMatch;

/// The first condition of a route, in the order of their test, that a request fails whatever is drawn.
pub(super) fn unmet(matches: &RouteMatch, request: &RequestView<'_>) -> Option<Unmet> {
    if !matches.path.matches(request.path) {
        return Some(Unmet {
            condition: Condition::Path,
            expected: path(&matches.path),
            found: Some(request.path.to_owned()),
        });
    }
    let mut headers = (0..).zip(&matches.headers);
    if let Some((at, test)) = headers.find(|(_, test)| !test.matches(request)) {
        return Some(Unmet {
            condition: Condition::Header(at),
            expected: header(test),
            found: values(test, request),
        });
    }
    let mut queries = (0..).zip(&matches.query);
    if let Some((at, test)) = queries.find(|(_, test)| !test.matches(request.query)) {
        let found = request
            .query
            .and_then(|query| first_parameter(query, &test.name));
        return Some(Unmet {
            condition: Condition::Query(at),
            expected: query(test),
            found: found.map(text),
        });
    }
    let mut cookies = (0..).zip(&matches.cookies);
    if let Some((at, test)) = cookies.find(|(_, test)| !test.matches(request.headers)) {
        return Some(Unmet {
            condition: Condition::Cookie(at),
            expected: of_cookie(test),
            found: cookie(request.headers, &test.name).map(text),
        });
    }
    (matches.fraction == Some(0)).then(|| Unmet {
        condition: Condition::Fraction,
        expected: "runtime_fraction, which is 0".to_owned(),
        found: None,
    })
}

fn path(matcher: &PathMatcher) -> String {
    match matcher {
        PathMatcher::Exact(text) => format!("path {text:?}"),
        PathMatcher::Prefix(text) => format!("path with prefix {text:?}"),
        PathMatcher::SegmentPrefix(text) => format!("path {text:?} or below it"),
        PathMatcher::SegmentPrefixIgnoreCase(text) => {
            format!("path {text:?} or below it, in any case")
        }
        PathMatcher::Regex(regex) => format!("path that matches {:?}", regex.pattern()),
        PathMatcher::ExactIgnoreCase(text) => format!("path {text:?} in any case"),
        PathMatcher::PrefixIgnoreCase(text) => format!("path with prefix {text:?} in any case"),
    }
}

fn header(matcher: &HeaderMatcher) -> String {
    let test = match (&matcher.test, matcher.invert) {
        (HeaderTest::Present(wanted), invert) if *wanted != invert => "present".to_owned(),
        (HeaderTest::Present(_), _) => "absent".to_owned(),
        (HeaderTest::String(test), invert) => negated(string(test), invert),
        (HeaderTest::Range(start, end), invert) => {
            negated(format!("a number from {start} to below {end}"), invert)
        }
    };
    format!("header {} {test}", key(&matcher.name))
}

fn query(matcher: &QueryMatcher) -> String {
    let test = match &matcher.test {
        QueryTest::Present(true) => "present".to_owned(),
        QueryTest::Present(false) => "absent".to_owned(),
        QueryTest::String(test) => string(test),
    };
    format!("query parameter {} {test}", text(&matcher.name))
}

fn of_cookie(matcher: &CookieMatcher) -> String {
    let test = negated(string(&matcher.test), matcher.invert);
    format!("cookie {} {test}", text(&matcher.name))
}

fn negated(test: String, invert: bool) -> String {
    match invert {
        true => format!("that is not {test}"),
        false => test,
    }
}

fn string(matcher: &StringMatcher) -> String {
    match matcher {
        StringMatcher::Exact(value) => format!("{:?}", text(value)),
        StringMatcher::Prefix(value) => format!("with prefix {:?}", text(value)),
        StringMatcher::Suffix(value) => format!("with suffix {:?}", text(value)),
        StringMatcher::Contains(value) => format!("with {:?} in it", text(value)),
        StringMatcher::Regex(regex) => format!("matching {:?}", regex.pattern()),
        StringMatcher::IgnoreCase(inner) => format!("{} in any case", string(inner)),
    }
}

fn key(name: &HeaderKey) -> &str {
    match name {
        HeaderKey::Method => ":method",
        HeaderKey::Scheme => ":scheme",
        HeaderKey::Authority => ":authority",
        HeaderKey::Path => ":path",
        HeaderKey::Name(name) => name.as_str(),
        HeaderKey::Unknown => "(a name that no request has)",
    }
}

fn values(matcher: &HeaderMatcher, request: &RequestView<'_>) -> Option<String> {
    let values: Vec<_> = request.header(&matcher.name).collect();
    let texts: Vec<_> = values
        .iter()
        .map(|value| String::from_utf8_lossy(value))
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn text(bytes: &[u8]) -> String {
    let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
    text.into_owned()
}
