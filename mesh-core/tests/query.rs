//! Query parameters and cookies. Each row was asked of Envoy 1.40.

use http::{HeaderMap, HeaderValue};
use mesh_core::matcher::{CookieMatcher, FullRegex, QueryMatcher, QueryTest, StringMatcher};

fn exact(text: &str) -> StringMatcher {
    StringMatcher::Exact(text.as_bytes().into())
}

fn is(text: &str) -> QueryTest {
    QueryTest::String(exact(text))
}

#[test]
fn query_parameters_as_envoy_reads_them() {
    let present = || QueryTest::Present(true);
    let any = || {
        QueryTest::String(StringMatcher::Regex(
            FullRegex::new("...").expect("a regex"),
        ))
    };
    for (name, test, yes, no) in [
        (
            "a",
            present(),
            &["a", "a=", "a=1", "&a", "a&a", "b&a"][..],
            &["b", "", "=a", "%61", "A", "a%00"][..],
        ),
        ("a", QueryTest::Present(false), &["b", ""], &["a", "a=1"]),
        ("a", is(""), &["a", "a="], &["b", "", "a=1"]),
        // Nothing is decoded, neither names nor values.
        ("a", is("a"), &["a=a"], &["a=%61", "%61=a"]),
        ("a", is("x y"), &[], &["a=x%20y", "a=x+y"]),
        ("a", is("x%20y"), &["a=x%20y"], &["a=x%2520y", "a=x+y"]),
        ("a", is("%2F"), &["a=%2F"], &["a=%2f", "a=/"]),
        ("a%20b", present(), &["a%20b"], &["a+b", "a"]),
        ("a", is("x%"), &["a=x%"], &["a=x%25"]),
        // The first of a name counts, and its first equals sign.
        ("a", is("1"), &["a=1&a=2", "b&a=1&b"], &["a=2&a=1", "a&a=1"]),
        ("a", is("x=y"), &["a=x=y"], &["a=x%3Dy"]),
        // Only the ampersand parts.
        (
            "a",
            is("1"),
            &["a=1"],
            &["a=1;b=2", "b=2;a=1", "a=1?x", "?a=1"],
        ),
        ("a", any(), &["a=abc", "a=%ff"], &["a=%C3%A9", "a=ab"]),
    ] {
        let matcher = QueryMatcher {
            name: name.as_bytes().into(),
            test,
        };
        for (queries, expected) in [(yes, true), (no, false)] {
            for query in queries {
                assert_eq!(
                    matcher.matches(Some(query)),
                    expected,
                    "{matcher:?} for {query:?}"
                );
            }
        }
        let nothing = matches!(matcher.test, QueryTest::Present(false));
        assert_eq!(
            matcher.matches(None),
            nothing,
            "{matcher:?} without a query"
        );
    }
}

fn cookies(lines: &[&str]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        map.append(
            "cookie",
            HeaderValue::from_str(line).expect("a header value"),
        );
    }
    map
}

#[test]
fn cookies_as_envoy_reads_them() {
    for (value, yes, no) in [
        (
            "1",
            &[
                &["s=1"][..],
                &["t=1; s=1"],
                &["t=1;s=1"],
                &["t=1", "s=1"],
                &["s=\"1\""],
                &["s=1; s=2"],
                &["s; s=1"],
                &["; s=1"],
                &[" s=1 "],
                &["s=1;"],
            ][..],
            &[
                &[][..],
                &["s=2"],
                &["s=2; s=1"],
                &["S=1"],
                &["s = 1"],
                &["s =1"],
                &["s= 1"],
                &["s"],
                &["s="],
                &["xs=1"],
                &["s=\"1"],
                &["s=1\""],
            ][..],
        ),
        (
            "",
            &[&["s="], &["s=;t=1"], &["s=\"\""]],
            &[&[], &["s"], &["s=\""]],
        ),
        ("\"", &[&["s=\""]], &[&["s=\"\""], &["s="]]),
        (" 1", &[&["s= 1"]], &[&["s=1"]]),
        ("a=b", &[&["s=a=b"]], &[&["s=a"]]),
    ] {
        for invert in [false, true] {
            let matcher = CookieMatcher {
                name: Box::from(&b"s"[..]),
                test: exact(value),
                invert,
            };
            for (rows, expected) in [(yes, true), (no, false)] {
                for lines in rows {
                    // Inverted, a cookie that is not there passes.
                    let found = matcher.matches(&cookies(lines));
                    assert_eq!(found, expected != invert, "{matcher:?} for {lines:?}");
                }
            }
        }
    }
}
