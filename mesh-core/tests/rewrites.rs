//! Paths and hosts that are rewritten. The outcomes are Envoy 1.40's.

use http::HeaderName;
use http::request::Parts;
use mesh_core::matcher::{FullRegex, PathMatcher, Substitution};
use mesh_core::route::{
    Choice, ClusterIndex, Forward, HeaderOp, HostRewrite, InvalidRewrite, Mutation, PathRewrite,
    Requested, Template,
};
use parts::{parts, values};
use proptest::prelude::*;

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/parts.rs"]
mod parts;
#[path = "support/property.rs"]
mod property;

fn substitution(pattern: &str, with: &str) -> Substitution {
    Substitution::new(pattern, with).expect("a pattern")
}

fn template(text: &str) -> Template {
    Template::new(text.as_bytes(), false).expect("a template")
}

fn rewritten(
    path: PathRewrite,
    host: HostRewrite,
    uri: &str,
    lines: &[(&str, &str)],
) -> Result<Parts, InvalidRewrite> {
    let choice = Choice {
        host,
        ..Choice::plain(ClusterIndex(0))
    };
    let forward = Forward {
        path,
        ..Forward::to(ClusterIndex(0))
    };
    let mut parts = parts(uri, lines);
    forward
        .rewrite(&choice, &mut parts, "r", "c")
        .map(|()| parts)
}

/// The path that is sent, and the one before it.
fn path(rewrite: PathRewrite, from: &str) -> (String, Vec<String>) {
    path_with(rewrite, from, &[])
}

fn path_with(rewrite: PathRewrite, from: &str, lines: &[(&str, &str)]) -> (String, Vec<String>) {
    let uri = format!("http://h{from}");
    let parts = rewritten(rewrite, HostRewrite::Keep, &uri, lines).expect("a path");
    let sent = parts.uri.path_and_query().expect("a path").to_string();
    (sent, values(&parts.headers, "x-envoy-original-path"))
}

#[test]
fn prefixes_are_replaced_where_the_route_matched() {
    let by_prefix =
        |matched: &str, with| PathRewrite::prefix(&PathMatcher::Prefix(matched.into()), with);
    let ci = |matched: &str, with| {
        PathRewrite::prefix(&PathMatcher::PrefixIgnoreCase(matched.into()), with)
    };
    let exact =
        |matched: &str, with| PathRewrite::prefix(&PathMatcher::Exact(matched.into()), with);
    let segment = |matched: &str, with| {
        PathRewrite::prefix(&PathMatcher::SegmentPrefix(matched.into()), with)
    };
    let regex = |with| {
        let regex = FullRegex::new("/re/.*").expect("a pattern");
        PathRewrite::prefix(&PathMatcher::Regex(regex), with)
    };
    for (rewrite, from, to) in [
        (by_prefix("/a/", "/z/"), "/a/b?q=1", "/z/b?q=1"),
        (by_prefix("/a/", "/z/"), "/a/", "/z/"),
        (by_prefix("/a/", "/a/"), "/a/x", "/a/x"),
        (
            by_prefix("/query/", "/a?x=1&"),
            "/query/y?z=2",
            "/a?x=1&y?z=2",
        ),
        (ci("/ci/", "/z/"), "/cI/x", "/z/x"),
        (exact("/exact", "/whole"), "/exact?y", "/whole?y"),
        (segment("/sep", "/"), "/sep", "/"),
        (segment("/sep", "/"), "/sep?q", "/?q"),
        (segment("/sep", "/"), "/sep/x", "//x"),
        (segment("/sep", "/n"), "/sep/x", "/n/x"),
        (regex("/whole"), "/re/x/y?q=1", "/whole?q=1"),
    ] {
        let shown = format!("{rewrite:?}");
        let (sent, before) = path(rewrite, from);
        assert_eq!(
            (sent.as_str(), before),
            (to, vec![from.to_owned()]),
            "{shown} {from}"
        );
    }
}

#[test]
fn regexes_replace_all_they_match_in_the_path() {
    for (pattern, with, from, to) in [
        (
            "^/rr/([^/]+)/(.*)$",
            r"/\2/\1-\0",
            "/rr/one/two/three?q=/rr/x/y",
            "/two/three/one-/rr/one/two/three?q=/rr/x/y",
        ),
        ("one", "two", "/one/y/one", "/two/y/two"),
        ("nomatch", "-", "/rn/x", "/rn/x"),
        (r"(a)", r"\\\1", "/a", r"/\a"),
        // RE2 takes these at first, and then replaces nothing.
        ("(a)", r"\2", "/a", "/a"),
        ("(a)", r"\x", "/a", "/a"),
        ("(a)", r"b\", "/a", "/a"),
    ] {
        let (sent, before) = path(PathRewrite::Regex(substitution(pattern, with)), from);
        assert_eq!(
            (sent.as_str(), before),
            (to, vec![from.to_owned()]),
            "{pattern} {with}"
        );
    }
    // Where the pattern is empty it matches between all bytes.
    let dashes = substitution("x*", "-").replaced(b"/ri/axxb");
    assert_eq!(String::from_utf8_lossy(&dashes), "-/-r-i-/-a-b-");
}

#[test]
fn a_path_that_comes_out_empty_stays() {
    let nothing = || PathRewrite::Regex(substitution(".*", ""));
    assert_eq!(path(nothing(), "/re0/x"), ("/re0/x".to_owned(), vec![]));
    assert_eq!(path(nothing(), "/x?y"), ("/x?y".to_owned(), vec![]));
    let absent = || PathRewrite::Whole(template("%REQ(x-p)%"));
    assert_eq!(path(absent(), "/pre/x"), ("/pre/x".to_owned(), vec![]));
    assert_eq!(path(PathRewrite::Keep, "/x"), ("/x".to_owned(), vec![]));
}

#[test]
fn whole_paths_are_made_by_substitution() {
    let made = || PathRewrite::Whole(template("/new%REQ(x-p)%"));
    assert_eq!(path(made(), "/pr/x?q=1").0, "/new?q=1");
    assert_eq!(
        path_with(made(), "/pr/x?q=1", &[("x-p", "v")]).0,
        "/newv?q=1"
    );
    assert_eq!(
        path_with(made(), "/x?q", &[("x-p", "/v?w")]).0,
        "/new/v?w?q"
    );
}

/// Envoy would send these, as requests that are not HTTP.
#[test]
fn what_is_no_path_or_host_is_not_sent() {
    let prefix = |with| PathRewrite::prefix(&PathMatcher::Prefix("/p/".into()), with);
    for with in ["foo", "/a b/", "/a#x", "/a\u{1}"] {
        let error = rewritten(prefix(with), HostRewrite::Keep, "http://h/p/x", &[]);
        let said = error.expect_err(with).to_string();
        assert!(
            said.contains("path") && said.contains(&format!("{with}x").escape_debug().to_string()),
            "{said}"
        );
    }
    let x_h = HeaderName::from_static("x-h");
    for value in ["bad host/x", "user@host", "a:b:c", "[::1"] {
        let host = HostRewrite::Header(x_h.clone());
        let error = rewritten(PathRewrite::Keep, host, "http://h/", &[("x-h", value)]);
        let said = error.expect_err(value).to_string();
        assert!(said.contains("host") && said.contains(value), "{said}");
    }
}

#[test]
fn no_rewrite_ever_panics() {
    let text = "[-/a?#% é\\\\\u{1}\\[\\]:@0-9]{0,8}";
    let inputs = (text, text, 0..20_usize);
    property::holds(63, 4000, &inputs, |(with, value, matched)| {
        let lines = [("x-h", value.trim())];
        let is_value = http::HeaderValue::from_str(lines[0].1).is_ok();
        let lines = if is_value { &lines[..] } else { &[] };
        let rewrites = [
            PathRewrite::Prefix {
                matched: Some(matched),
                with: with.as_str().into(),
            },
            PathRewrite::Regex(substitution("a|/", &with)),
        ];
        for rewrite in rewrites {
            let host = HostRewrite::Header(HeaderName::from_static("x-h"));
            if let Ok(parts) = rewritten(rewrite, host, "http://h/a/é?q=1", lines) {
                prop_assert!(parts.uri.path().starts_with('/'));
                prop_assert!(parts.uri.authority().is_some());
            }
        }
        Ok(())
    });
}

/// The host that is sent, and the ones before it.
fn host(rewrite: HostRewrite, uri: &str, lines: &[(&str, &str)]) -> (String, Vec<String>) {
    let parts = rewritten(PathRewrite::Keep, rewrite, uri, lines).expect("a host");
    let sent = parts.uri.authority().expect("an authority").to_string();
    assert_eq!(
        values(&parts.headers, "host"),
        [""; 0],
        "the URI alone names the host"
    );
    (sent, values(&parts.headers, "x-envoy-original-host"))
}

#[test]
fn hosts_as_envoy_rewrites_them() {
    let literal = |text: &str| HostRewrite::Literal(text.parse().expect("an authority"));
    let header = || HostRewrite::Header(HeaderName::from_static("x-h"));
    let by_path = |pattern, with| HostRewrite::Path(substitution(pattern, with));
    let made = || HostRewrite::Made(template("%REQ(x-h)%.f"));
    for (rewrite, uri, lines, sent, before) in [
        (
            literal("new.host:81"),
            "http://h/x",
            &[][..],
            "new.host:81",
            Some("h"),
        ),
        (
            literal("new.host"),
            "http://h:9080/x",
            &[],
            "new.host",
            Some("h:9080"),
        ),
        (literal("h"), "http://h/x", &[], "h", Some("h")),
        (
            header(),
            "http://h/x",
            &[("x-h", "one"), ("x-h", "two")],
            "one",
            Some("h"),
        ),
        (header(), "http://h/x", &[("x-h", "")], "h", None),
        (header(), "http://h/x", &[], "h", None),
        (
            by_path("^/hr/([^/]+).*$", r"\1.host"),
            "http://h/hr/abc/d?q",
            &[],
            "abc.host",
            Some("h"),
        ),
        (made(), "http://h/", &[("x-h", "P")], "P.f", Some("h")),
        // What is not there reads as a dash.
        (made(), "http://h/", &[], "-.f", Some("h")),
        (HostRewrite::Keep, "http://h/", &[], "h", None),
        // Until the endpoint is known.
        (HostRewrite::Endpoint, "http://h/", &[], "h", None),
    ] {
        let shown = format!("{rewrite:?} {lines:?}");
        let before: Vec<_> = before.into_iter().map(str::to_owned).collect();
        assert_eq!(
            host(rewrite, uri, lines),
            (sent.to_owned(), before),
            "{shown}"
        );
    }
}

#[test]
fn the_host_is_made_of_the_path_before_it_is_rewritten() {
    let path = PathRewrite::prefix(&PathMatcher::Prefix("/hr/".into()), "/n/");
    let host = HostRewrite::Path(substitution("^/hr/([^/]+).*$", r"\1.host"));
    let parts = rewritten(path, host, "http://h/hr/abc/d", &[]).expect("a rewrite");
    assert_eq!(parts.uri, "http://abc.host/n/abc/d");
}

/// Headers are changed first, so a rewrite sees them.
#[test]
fn rewrites_see_the_changed_headers() {
    let choice = Choice {
        host: HostRewrite::Header(HeaderName::from_static("x-h")),
        request_headers: Mutation::new([
            HeaderOp::Set(HeaderName::from_static("x-h"), template("added")),
            HeaderOp::Append(HeaderName::from_static("x-p"), template("%REQ(:path)%")),
        ]),
        ..Choice::plain(ClusterIndex(0))
    };
    let forward = Forward {
        path: PathRewrite::prefix(&PathMatcher::Prefix("/a".into()), "/b"),
        ..Forward::to(ClusterIndex(0))
    };
    let mut parts = parts("http://h/a", &[]);
    forward
        .rewrite(&choice, &mut parts, "r", "c")
        .expect("a rewrite");
    assert_eq!(parts.uri, "http://added/b");
    assert_eq!(values(&parts.headers, "x-p"), ["/a"]);
}

#[test]
fn rewritten_hosts_are_appended_if_asked() {
    for (before, after) in [
        (&[][..], &["h"][..]),
        (&["a, h"], &["a, h,h"]),
        (&["a,h"], &["a,h"]),
        (&["a", "b"], &["a,b,h"]),
        (&["prev"], &["prev,h"]),
    ] {
        for appends in [true, false] {
            let choice = Choice {
                host: HostRewrite::Endpoint,
                append_forwarded_host: appends,
                ..Choice::plain(ClusterIndex(0))
            };
            let lines: Vec<_> = before
                .iter()
                .map(|line| ("x-forwarded-host", *line))
                .collect();
            let Parts {
                mut uri,
                mut headers,
                ..
            } = parts("http://h/a?q", &lines);
            choice
                .rewrite_host_to(&mut uri, &mut headers, "c.host")
                .expect("a host");
            assert_eq!(uri, "http://c.host/a?q");
            let expected = if appends { after } else { before };
            assert_eq!(values(&headers, "x-forwarded-host"), expected);
            assert_eq!(values(&headers, "x-envoy-original-host"), ["h"]);
        }
    }
}

#[test]
fn a_plain_choice_leaves_a_request_alone() {
    let plain = Choice::plain(ClusterIndex(0));
    let forward = Forward::to(ClusterIndex(0));
    let before = parts(
        "http://h/a?q",
        &[("x-forwarded-host", "a"), ("host", "other")],
    );
    assert!(forward.is_plain(&plain) && forward.leaves(&plain, &Requested::of(&before.headers)));
    let mut after = before.clone();
    forward
        .rewrite(&plain, &mut after, "r", "c")
        .expect("nothing to do");
    assert_eq!((before.uri, before.headers), (after.uri, after.headers));
}
