//! The search for a route: the first one that matches, whatever shortcut finds it.

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh_core::RequestView;
use mesh_core::matcher::{
    CookieMatcher, FullRegex, HeaderMatcher, HeaderTest, PathMatcher, QueryMatcher, QueryTest,
    StringMatcher,
};
use mesh_core::request::HeaderKey;
use mesh_core::route::{Action, ClusterIndex, Route, RouteMatch, VirtualHost};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng, TryRng};

#[path = "support/property.rs"]
mod property;

fn regex(pattern: &str) -> FullRegex {
    FullRegex::new(pattern).expect("a valid regex")
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let parse = |(name, value): &(&str, &str)| {
        (
            HeaderName::try_from(*name).expect("a header name"),
            HeaderValue::from_str(value).expect("a header value"),
        )
    };
    let mut map = HeaderMap::new();
    for (name, value) in lines.iter().map(parse) {
        map.append(name, value);
    }
    map
}

fn request<'a>(path: &'a str, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        method: &Method::GET,
        scheme: "http",
        authority: "reviews:9080",
        path,
        query: None,
        headers,
    }
}

fn route(name: usize, matches: RouteMatch) -> Route {
    let action = Action::forward(ClusterIndex(0));
    Route {
        name: Arc::from(name.to_string()),
        matches,
        action,
        source: None,
        fault: None,
    }
}

fn host(matches: impl IntoIterator<Item = RouteMatch>) -> VirtualHost {
    let routes = (0..).zip(matches).map(|(at, matches)| route(at, matches));
    VirtualHost::new(Arc::from("host"), [], [Arc::from("cluster")], routes)
}

fn text_header(name: &str, matcher: StringMatcher) -> HeaderMatcher {
    HeaderMatcher {
        name: HeaderKey::parse(name).expect("a header name"),
        test: HeaderTest::String(matcher),
        invert: false,
        missing_is_empty: false,
    }
}

fn exact(value: &str) -> StringMatcher {
    StringMatcher::Exact(value.as_bytes().into())
}

fn prefix(text: &str) -> PathMatcher {
    PathMatcher::Prefix(text.into())
}

/// Paths of few letters, so that the patterns of one list overlap.
fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!['/', 'a', 'A', 'b']), 0..6).prop_map(
        |letters| {
            letters
                .into_iter()
                .fold("/".to_owned(), |path, letter| path + &letter.to_string())
        },
    )
}

fn path_matchers() -> impl Strategy<Value = PathMatcher> {
    let lower = || paths().prop_map(|path| Box::from(path.to_ascii_lowercase()));
    let regexes = prop::sample::select(vec![
        ".*", "/a.*", "/[ab]/?", "/(a|b)+", ".*/a", "/.", "(?i)/ab*",
    ]);
    prop_oneof![
        6 => paths().prop_map(|path| PathMatcher::Exact(path.into())),
        6 => paths().prop_map(|path| PathMatcher::Prefix(path.into())),
        1 => Just(prefix("")),
        2 => paths().prop_map(|path| PathMatcher::SegmentPrefix(path.trim_end_matches('/').into())),
        1 => regexes.prop_map(|pattern| PathMatcher::Regex(regex(pattern))),
        1 => lower().prop_map(PathMatcher::ExactIgnoreCase),
        1 => lower().prop_map(PathMatcher::PrefixIgnoreCase),
    ]
}

fn matches() -> impl Strategy<Value = RouteMatch> {
    let value = prop::sample::select(vec!["1", "2"]);
    let header = (prop::sample::select(vec!["x", "y"]), value, any::<bool>()).prop_map(
        |(name, value, invert)| HeaderMatcher {
            invert,
            ..text_header(name, exact(value))
        },
    );
    let headers = prop_oneof![
        1 => Just(Vec::new()),
        2 => prop::collection::vec(header, 1..3),
    ];
    let fraction =
        prop::option::weighted(0.2, prop::sample::select(vec![0_u32, 300_000, 1_000_000]));
    let query = prop::collection::vec((prop::sample::select(vec!["p", "q"]), any::<bool>()), 0..2)
        .prop_map(|tests| {
            let query = |(name, present): (&str, bool)| QueryMatcher {
                name: name.as_bytes().into(),
                test: QueryTest::Present(present),
            };
            tests.into_iter().map(query).collect()
        });
    let parts = (path_matchers(), headers, query, fraction);
    parts.prop_map(|(path, headers, query, fraction)| RouteMatch {
        headers: headers.into(),
        query,
        fraction,
        ..RouteMatch::path(path)
    })
}

#[test]
fn the_first_matching_route_is_found() {
    let lines = prop::collection::vec(
        (
            prop::sample::select(vec!["x", "y"]),
            prop::sample::select(vec!["1", "2"]),
        ),
        0..3,
    );
    let queries = prop::sample::select(vec![None, Some("p"), Some("q=1"), Some("q&p=2")]);
    let inputs = (
        prop::collection::vec(matches(), 0..=60),
        prop::collection::vec((paths(), lines, queries), 1..20),
        any::<u64>(),
    );
    let seen = std::cell::Cell::new((0_u32, 0_u32, 0_u32));
    property::holds(41, 600, &inputs, |(matches, requests, seed)| {
        let host = host(matches);
        for (path, lines, query) in &requests {
            let map = headers(lines);
            let request = RequestView {
                query: *query,
                ..request(path, &map)
            };
            let (mut ours, mut theirs) = (StdRng::seed_from_u64(seed), StdRng::seed_from_u64(seed));
            let found = host.find(&request, &mut ours);
            let expected = host
                .routes()
                .iter()
                .find(|route| route.matches.matches(&request, &mut theirs));
            prop_assert_eq!(
                found.map(|route| &route.name),
                expected.map(|route| &route.name),
                "{}",
                path
            );
            // The same routes were asked in the same order: as many random numbers were drawn.
            prop_assert_eq!(ours.random::<u64>(), theirs.random::<u64>());
            let (none, first, later) = seen.get();
            seen.set(match expected {
                None => (none + 1, first, later),
                Some(route) if &*route.name == "0" => (none, first + 1, later),
                Some(_) => (none, first, later + 1),
            });
        }
        Ok(())
    });
    let (none, first, later) = seen.get();
    eprintln!("none {none}, the first {first}, a later one {later}");
    assert!(
        none > 300 && first > 300 && later > 300,
        "the lists hardly test the order"
    );
}

/// More matching prefixes than the index keeps on the stack, in any order, each with a header
/// that lets only the wanted one through.
#[test]
fn prefixes_nested_deeper_than_the_stack() {
    let mut rng = StdRng::seed_from_u64(42);
    for depth in 1..=24_usize {
        let mut lengths: Vec<usize> = (0..depth).chain(0..depth / 2).collect();
        lengths.shuffle(&mut rng);
        let path = format!("/{}", "a".repeat(depth + 3));
        let gated = |(at, length): (usize, &usize)| RouteMatch {
            headers: Box::new([text_header("want", exact(&at.to_string()))]),
            ..RouteMatch::path(prefix(&path[..*length]))
        };
        let mut matches: Vec<RouteMatch> = lengths.iter().enumerate().map(gated).collect();
        matches.push(RouteMatch::path(PathMatcher::Exact(path.as_str().into())));
        let host = host(matches);
        for want in 0..=lengths.len() {
            let map = headers(&[("want", &want.to_string())]);
            let found = host
                .find(&request(&path, &map), &mut rng)
                .expect("the last one matches all");
            assert_eq!(*found.name, want.to_string(), "lengths {lengths:?}");
        }
        // Without the headers, the lowest number wins over the longest prefix.
        let open = self::host(
            lengths
                .iter()
                .map(|length| RouteMatch::path(prefix(&path[..*length]))),
        );
        let found = open
            .find(&request(&path, &HeaderMap::new()), &mut rng)
            .expect("all match");
        assert_eq!(&*found.name, "0");
    }
}

#[test]
fn an_earlier_route_wins_over_a_better_one() {
    let paths = [
        prefix("/a/b"),
        PathMatcher::Regex(regex("/a/.*")),
        PathMatcher::Exact("/a/x".into()),
        prefix("/"),
        PathMatcher::Exact("/a/b".into()),
    ];
    let host = host(paths.into_iter().map(RouteMatch::path));
    let mut rng = StdRng::seed_from_u64(43);
    for (path, expected) in [
        ("/a/b", "0"),
        ("/a/x", "1"),
        ("/a/", "1"),
        ("/a", "3"),
        ("/", "3"),
    ] {
        let found = host
            .find(&request(path, &HeaderMap::new()), &mut rng)
            .expect("the prefix / matches");
        assert_eq!(&*found.name, expected, "{path}");
    }
}

#[test]
fn a_host_without_a_matching_route_finds_none() {
    let mut rng = StdRng::seed_from_u64(44);
    let map = HeaderMap::new();
    assert!(host([]).find(&request("/", &map), &mut rng).is_none());
    let host = host([
        RouteMatch::path(prefix("/a")),
        RouteMatch::path(PathMatcher::Exact("/".into())),
    ]);
    assert!(host.find(&request("/b", &map), &mut rng).is_none());
}

#[test]
fn path_matchers_by_the_book() {
    let segment = || PathMatcher::SegmentPrefix("/p".into());
    for (matcher, path, expected) in [
        (PathMatcher::Exact("/p".into()), "/p", true),
        (PathMatcher::Exact("/p".into()), "/p/", false),
        (PathMatcher::Exact("/p".into()), "/P", false),
        (prefix("/p"), "/pp", true),
        (prefix("/p"), "/", false),
        (prefix("/p"), "/P", false),
        (prefix(""), "/", true),
        (prefix("/é"), "/é/x", true),
        (segment(), "/p", true),
        (segment(), "/p/", true),
        (segment(), "/p/q", true),
        (segment(), "/pp", false),
        (segment(), "/P", false),
        (PathMatcher::Regex(regex("/p+")), "/ppp", true),
        (PathMatcher::Regex(regex("/p+")), "/ppq", false),
        (PathMatcher::Regex(regex("p+")), "/ppp", false),
        (PathMatcher::Regex(regex("/a|/b")), "/bc", false),
        (PathMatcher::Regex(regex("/a$")), "/a\n", false),
        (PathMatcher::ExactIgnoreCase("/p".into()), "/P", true),
        (PathMatcher::ExactIgnoreCase("/p".into()), "/PP", false),
        (PathMatcher::PrefixIgnoreCase("/p".into()), "/PP", true),
        (PathMatcher::PrefixIgnoreCase("/pé".into()), "/Péx", true),
        (PathMatcher::PrefixIgnoreCase("/pp".into()), "/é", false),
    ] {
        let map = HeaderMap::new();
        let shown = format!("{matcher:?} for {path:?}");
        assert_eq!(matcher.matches(path), expected, "{shown}");
        // The index of a virtual host must agree.
        let host = host([RouteMatch::path(matcher)]);
        let found = host.find(&request(path, &map), &mut StdRng::seed_from_u64(45));
        assert_eq!(found.is_some(), expected, "{shown}, by the index");
    }
}

/// `runtime_fraction`: the ends are exact, the middle is within five sigma.
#[test]
fn fractions_let_their_share_through() {
    for (millionths, seed) in [0, 1, 250_000, 500_000, 999_999, 1_000_000]
        .into_iter()
        .zip(46..)
    {
        let partly = RouteMatch {
            fraction: Some(millionths),
            ..RouteMatch::path(prefix("/"))
        };
        let host = host([partly, RouteMatch::path(prefix("/"))]);
        let mut rng = StdRng::seed_from_u64(seed);
        let map = HeaderMap::new();
        let mut draw = || {
            host.find(&request("/", &map), &mut rng)
                .is_some_and(|route| &*route.name == "0")
        };
        let taken = (0..40_000).filter(|_| draw()).count() as f64;
        let share = f64::from(millionths) / 1e6;
        let sigma = (40_000.0 * share * (1.0 - share)).sqrt();
        assert!(
            (taken - 40_000.0 * share).abs() <= 5.0 * sigma,
            "seed {seed}: {taken} at {share}"
        );
    }
}

#[test]
fn query_parameters_and_cookies_of_a_route_must_hold() {
    let wants = RouteMatch {
        query: Box::new([QueryMatcher {
            name: Box::from(&b"q"[..]),
            test: QueryTest::String(exact("1")),
        }]),
        cookies: Box::new([CookieMatcher {
            name: Box::from(&b"user"[..]),
            test: exact("jason"),
            invert: false,
        }]),
        ..RouteMatch::path(prefix("/"))
    };
    let host = host([wants]);
    let mut rng = StdRng::seed_from_u64(48);
    for (query, cookie, expected) in [
        (Some("q=1"), "user=jason", true),
        (Some("q=2"), "user=jason", false),
        (None, "user=jason", false),
        (Some("q=1"), "user=other", false),
        (Some("q=1"), "", false),
    ] {
        let map = headers(&[("cookie", cookie)]);
        let request = RequestView {
            query,
            ..request("/", &map)
        };
        let found = host.find(&request, &mut rng).is_some();
        assert_eq!(found, expected, "{query:?} {cookie:?}");
    }
}

/// A generator whose every bit is the same: the lowest draw there can be, or the highest.
struct Extreme(u64);

impl TryRng for Extreme {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0 as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.0 as u8);
        Ok(())
    }
}

/// 0 is never and 1,000,000 is always, even at the ends of what can be drawn.
#[test]
fn fractions_are_exact_to_the_millionth() {
    let (lowest, highest) = (0, u64::MAX);
    for (millionths, drawn, expected) in [
        (0, lowest, false),
        (1, lowest, true),
        (1, highest, false),
        (999_999, highest, false),
        (1_000_000, highest, true),
    ] {
        let partly = RouteMatch {
            fraction: Some(millionths),
            ..RouteMatch::path(prefix("/"))
        };
        let found = partly.matches(&request("/", &HeaderMap::new()), &mut Extreme(drawn));
        assert_eq!(found, expected, "{millionths} when {drawn} is drawn");
    }
}

/// Name, test, headers of the request, outcome, outcome when inverted. `_` is a space.
const HEADERS: &str = "
    x | exact 1                | x=1             | yes | no
    X | exact 1                | x=1             | yes | no
    x | exact 1                | x=12            | no  | yes
    x | exact a                | x=A             | no  | yes

    An absent header fails, and inversion does not turn that to true.
    x | exact 1                | y=1             | no  | no
    x | exact                  |                 | no  | no
    x | regex .*               |                 | no  | no
    x | range 0 9              |                 | no  | no

    Presence is tested, and inverted, either way.
    x | present true           | x=1             | yes | no
    x | present true           | x=              | yes | no
    x | present true           |                 | no  | yes
    x | present false          | x=1             | no  | yes
    x | present false          |                 | yes | no

    Several values are looked at one by one: one must pass, inverted none may.
    x | exact 1,2              | x=1 x=2         | no  | yes
    x | exact 1                | x=1 x=2         | yes | no
    x | exact 2                | x=1 x=2         | yes | no
    x | exact 3                | x=1 y=3 x=2     | no  | yes
    x | exact                  | x=1 x=          | yes | no
    x | present true           | x=1 x=2         | yes | no
    x | range 2 9              | x=1 x=2         | yes | no
    x | range 3 9              | x=1 x=2         | no  | yes

    The kinds of text.
    x | prefix ab              | x=abc           | yes | no
    x | prefix bc              | x=abc           | no  | yes
    x | suffix bc              | x=abc           | yes | no
    x | suffix ab              | x=abc           | no  | yes
    x | contains b             | x=abc           | yes | no
    x | contains ac            | x=abc           | no  | yes
    x | contains abcd          | x=abc           | no  | yes
    x | regex a.c              | x=abc           | yes | no
    x | regex a.c              | x=abcd          | no  | yes
    x | regex b                | x=abc           | no  | yes

    Case ignored; a regex is left as it is.
    x | ignoring exact AbC     | x=aBc           | yes | no
    x | ignoring exact AbC     | x=aBd           | no  | yes
    x | ignoring prefix AB     | x=abc           | yes | no
    x | ignoring suffix bC     | x=ABC           | yes | no
    x | ignoring contains B    | x=abc           | yes | no
    x | ignoring regex abc     | x=ABC           | no  | yes

    Ranges: start included, end excluded, the whole value a number.
    x | range -5 10            | x=-5            | yes | no
    x | range -5 10            | x=9             | yes | no
    x | range -5 10            | x=10            | no  | yes
    x | range -5 10            | x=-6            | no  | yes
    x | range -5 10            | x=+3            | yes | no
    x | range -5 10            | x=007           | yes | no
    x | range -5 10            | x=_3_           | yes | no
    x | range -5 10            | x=3_4           | no  | yes
    x | range -5 10            | x=3.0           | no  | yes
    x | range -5 10            | x=0x3           | no  | yes
    x | range -5 10            | x=              | no  | yes
    x | range 0 9223372036854775807 | x=9223372036854775808 | no | yes
    x | range 5 5              | x=5             | no  | yes

    Pseudo-headers.
    :method    | exact GET     |                 | yes | no
    :method    | exact get     |                 | no  | yes
    :scheme    | exact http    |                 | yes | no
    :authority | exact reviews:9080 |            | yes | no
    :path      | exact /a/b?q=1&r |              | yes | no
    :path      | exact /a/b    |                 | no  | yes
    :path      | present true  |                 | yes | no

    `Host` is the authority, whatever the header says.
    host       | exact reviews:9080 |            | yes | no
    host       | exact reviews:9080 | host=ratings | yes | no
    :authority | exact reviews:9080 | host=ratings | yes | no

    Names that Envoy takes and no request has are absent.
    :status    | present true  | x=1             | no  | yes
    :status    | exact 200     | x=1             | no  | no
";

fn header_test(text: &str) -> HeaderTest {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let value = rest.replace('_', " ");
    let bytes = Box::<[u8]>::from(value.as_bytes());
    HeaderTest::String(match kind {
        "exact" => StringMatcher::Exact(bytes),
        "prefix" => StringMatcher::Prefix(bytes),
        "suffix" => StringMatcher::Suffix(bytes),
        "contains" => StringMatcher::Contains(bytes),
        "regex" => StringMatcher::Regex(regex(rest)),
        "ignoring" => match header_test(rest) {
            HeaderTest::String(matcher) => matcher.ignoring_case(),
            other => return other,
        },
        "present" => return HeaderTest::Present(rest == "true"),
        "range" => {
            let (start, end) = rest.split_once(' ').expect("a range has two ends");
            let number = |text: &str| text.parse().expect("a number");
            return HeaderTest::Range(number(start), number(end));
        }
        _ => panic!("the table knows no {kind}"),
    })
}

#[test]
fn header_matchers_by_the_book() {
    let mut tested = 0;
    for row in HEADERS.lines().filter(|line| line.contains('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [name, test, lines, expected, inverted] = cells[..] else {
            panic!("{row}")
        };
        let pairs = lines
            .split_whitespace()
            .map(|pair| pair.split_once('=').expect("NAME=VALUE"));
        let pairs: Vec<_> = pairs
            .map(|(name, value)| (name, value.replace('_', " ")))
            .collect();
        let map = headers(
            &pairs
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect::<Vec<_>>(),
        );
        let request = RequestView {
            query: Some("q=1&r"),
            ..request("/a/b", &map)
        };
        for (invert, expected) in [(false, expected), (true, inverted)] {
            let matcher = HeaderMatcher {
                name: HeaderKey::parse(name).expect("a header name"),
                test: header_test(test),
                invert,
                missing_is_empty: false,
            };
            let matched = if matcher.matches(&request) {
                "yes"
            } else {
                "no"
            };
            assert_eq!(matched, expected, "inverted {invert}: {row}");
        }
        tested += 1;
    }
    assert_eq!(tested, 62, "rows were lost");
}

#[test]
fn a_missing_header_may_count_as_empty() {
    let text = |pattern: &str| HeaderTest::String(exact(pattern));
    let any = || HeaderTest::String(StringMatcher::Regex(regex(".*")));
    let lines = [("y", "1")];
    let map = headers(&lines);
    for (name, test, invert, expected) in [
        ("x", text(""), false, true),
        ("x", text(""), true, false),
        ("x", text("1"), false, false),
        ("x", text("1"), true, true),
        ("x", any(), false, true),
        ("x", HeaderTest::Range(0, 1), false, false),
        ("x", HeaderTest::Range(0, 1), true, true),
        // One that is there is not touched.
        ("y", text(""), false, false),
        ("y", text("1"), false, true),
        ("y", text("1"), true, false),
    ] {
        let shown = format!("{name} {test:?}, inverted {invert}");
        let name = HeaderKey::parse(name).expect("a header name");
        let matcher = HeaderMatcher {
            name,
            test,
            invert,
            missing_is_empty: true,
        };
        assert_eq!(matcher.matches(&request("/", &map)), expected, "{shown}");
    }
}

#[test]
fn header_values_need_not_be_text() {
    let mut map = HeaderMap::new();
    map.insert(
        "x",
        HeaderValue::from_bytes(b"a\xff\xfe").expect("opaque bytes are allowed"),
    );
    let matches = |test| {
        let name = HeaderKey::parse("x").expect("a header name");
        HeaderMatcher {
            name,
            test,
            invert: false,
            missing_is_empty: false,
        }
        .matches(&request("/", &map))
    };
    assert!(matches(HeaderTest::String(StringMatcher::Exact(
        Box::from(&b"a\xff\xfe"[..])
    ))));
    assert!(matches(HeaderTest::String(StringMatcher::Prefix(
        Box::from(&b"a"[..])
    ))));
    assert!(matches(HeaderTest::Present(true)));
    assert!(!matches(HeaderTest::Range(i64::MIN, i64::MAX)));
}

#[test]
fn every_header_of_a_route_must_hold() {
    let both = RouteMatch {
        headers: Box::new([text_header("x", exact("1")), text_header("y", exact("2"))]),
        ..RouteMatch::path(prefix("/"))
    };
    let host = host([both]);
    let mut rng = StdRng::seed_from_u64(47);
    for (lines, expected) in [
        (&[("x", "1"), ("y", "2")][..], true),
        (&[("x", "1")], false),
        (&[("y", "2")], false),
        (&[("x", "1"), ("y", "1")], false),
        (&[], false),
    ] {
        assert_eq!(
            host.find(&request("/", &headers(lines)), &mut rng)
                .is_some(),
            expected,
            "{lines:?}"
        );
    }
}

#[test]
fn names_that_are_no_header_are_refused() {
    for name in ["", "a\nb", "\r", "a\0"] {
        assert_eq!(HeaderKey::parse(name), None, "{name:?}");
    }
    for name in [":status", "a b", ":", "x:y", "é"] {
        assert_eq!(
            HeaderKey::parse(name),
            Some(HeaderKey::Unknown),
            "{name:?}: Envoy takes it, and finds it in no request"
        );
    }
}

#[test]
fn regexes_match_the_whole_value_and_ascii_classes() {
    for (pattern, value, expected) in [
        ("", "", true),
        ("", "a", false),
        ("a|b", "a", true),
        ("a|b", "ab", false),
        (r"^\d+$", "0123456789", true),
        // ARABIC-INDIC DIGIT ONE: a digit of Unicode, not of RE2.
        (r"^\d+$", "\u{661}", false),
        (r"\w+", "caf\u{e9}", false),
        (r"\s", "\u{a0}", false),
        (r"\bé\b", "é", false),
        ("(?i)k", "\u{212a}", false),
        (r"^v1$", "v1\n", false),
        (r"(?m)^v1$", "v1\nv2", false),
        ("a.b", "a\nb", false),
        (r"\p{Greek}+", "αβ", false),
        (r"\p{Greek}+", "ab", false),
        ("jason|.*-test", "x-test", true),
    ] {
        assert_eq!(
            regex(pattern).matches(value.as_bytes()),
            expected,
            "{pattern:?} for {value:?}"
        );
    }
}

/// Each asked of Envoy 1.40, whose RE2 sees bytes.
#[test]
fn regexes_see_what_envoy_sees() {
    let values = ["K", "k", "\u{212a}", "é", "É", "éa", "b", "a&", "ac", ".a"];
    for (pattern, matched) in [
        ("k", &["k"][..]),
        ("(?i)k", &["K", "k"]),
        (r"\bé", &[]),
        ("é", &["é"]),
        ("[é]", &[]),
        ("[é]{2}", &["é"]),
        ("é.", &["éa"]),
        ("..", &["é", "É", "a&", "ac", ".a"]),
        ("[^a]", &["K", "k", "b"]),
        ("[^a][^a]", &["é", "É"]),
        (r"\W\W", &["é", "É"]),
        ("a[b&&c]", &["a&", "ac"]),
        ("a[[c]", &["ac"]),
        (r"\Q.a\E", &[".a"]),
        (r"\Q.a", &[".a"]),
        (r"\C\C\C", &["\u{212a}", "éa"]),
        (r"[\w\s]", &["K", "k", "b"]),
        (r"\pL", &["K", "k", "b"]),
        (r"\p{L}\PL", &["é", "É", "a&"]),
        (r"[\p{L}&]{2}", &["a&", "ac"]),
        (r"\pL\p{^L}", &["é", "É", "a&"]),
        (r"[\p{Greek}k]", &["k"]),
        (r"\p{Greek}", &[]),
    ] {
        let expected: Vec<_> = values.into_iter().filter(|v| matched.contains(v)).collect();
        let regex = regex(pattern);
        let found: Vec<_> = values
            .into_iter()
            .filter(|v| regex.matches(v.as_bytes()))
            .collect();
        assert_eq!(found, expected, "{pattern}");
    }
}

#[test]
fn patterns_that_are_no_linear_regex_are_refused() {
    // The first two would become valid inside of a group, and match what nobody meant.
    let oversized = format!("({}){{1000}}", "a{100}");
    for pattern in [
        "a)|(?:b",
        ")(",
        "(",
        "[a",
        "a{2,1}",
        r"(a)\1",
        "(?=a)",
        "(?<!a)b",
        "*",
        "(?x)a",
        "(?u:a)",
        r"\p{Nothing}",
        oversized.as_str(),
    ] {
        let error = FullRegex::new(pattern).expect_err(pattern);
        let said = error.to_string();
        assert!(said.contains(&format!("{pattern:?}")), "{said}");
        assert!(!said.contains('\n'), "one line: {said}");
        assert!(
            said.len() > format!("regex {pattern:?}: ").len(),
            "a reason is given: {said}"
        );
    }
}
