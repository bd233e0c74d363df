//! What a peer may send too much of.

use http::{HeaderName, HeaderValue};
use mesh_core::matcher::{FullRegex, PathMatcher, Substitution};
use mesh_core::route::{
    Choice, ClusterIndex, Forward, HeaderOp, HostRewrite, Mutation, PathRewrite, Template, Timeouts,
};
use parts::{parts, values};
use std::time::Duration;

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/parts.rs"]
mod parts;

/// The most names that a `HeaderMap` takes.
const FULL: usize = 24_576;

fn op(make: fn(HeaderName, Template) -> HeaderOp, key: &'static str, value: &str) -> HeaderOp {
    let template = Template::new(value.as_bytes(), false).expect("a template");
    make(HeaderName::from_static(key), template)
}

#[test]
fn a_full_map_of_headers_is_no_panic_and_keeps_nothing_forged() {
    const OWNED: [&str; 3] = [
        "x-user",
        "x-envoy-original-path",
        "x-envoy-expected-rq-timeout-ms",
    ];
    let choice = Choice {
        request_headers: Mutation::new([
            op(HeaderOp::Set, "x-user", "rule"),
            op(HeaderOp::Append, "x-more", "1"),
        ]),
        host: HostRewrite::Literal("new".parse().expect("a host")),
        append_forwarded_host: true,
        ..Choice::plain(ClusterIndex(0))
    };
    let forward = Forward {
        path: PathRewrite::prefix(&PathMatcher::Prefix("/a".into()), "/b"),
        ..Forward::to(ClusterIndex(0)).with_timeouts(Timeouts {
            route: Some(Duration::from_secs(1)),
            ..Timeouts::default()
        })
    };
    let mut parts = parts("http://h/a", &OWNED.map(|name| (name, "forged")));
    for at in OWNED.len()..FULL {
        let name = HeaderName::try_from(format!("x-{at}")).expect("a name");
        parts.headers.insert(name, HeaderValue::from_static("1"));
    }
    let extra = HeaderName::from_static("x-one-more");
    let refused = parts
        .headers
        .try_insert(extra, HeaderValue::from_static(""));
    assert!(refused.is_err(), "it is full");
    forward
        .rewrite(&choice, &mut parts, "r", "c")
        .expect("a request");
    assert_eq!(parts.uri, "http://new/b");
    for (name, value) in OWNED.into_iter().zip(["rule", "/a", "1000"]) {
        assert_eq!(values(&parts.headers, name), [value], "{name}");
    }
    assert_eq!(parts.headers.len(), FULL);
}

/// `user` is what the caller says in the query, and in the header that the rule owns.
fn user_after(make: fn(HeaderName, Template) -> HeaderOp, query: &str) -> Vec<String> {
    let choice = Choice {
        request_headers: Mutation::new([op(make, "x-user", "%QUERY_PARAM(user)%")]),
        ..Choice::plain(ClusterIndex(0))
    };
    let mut parts = parts(&format!("http://h/?user={query}"), &[("x-user", "admin")]);
    Forward::to(ClusterIndex(0))
        .rewrite(&choice, &mut parts, "r", "c")
        .expect("a request");
    values(&parts.headers, "x-user")
}

#[test]
fn an_illegal_value_removes_the_header_that_a_rule_sets() {
    for make in [HeaderOp::Set, HeaderOp::SetIfPresent] {
        assert_eq!(user_after(make, "bob"), ["bob"]);
        assert_eq!(user_after(make, ""), ["admin"], "empty and not kept");
        assert_eq!(user_after(make, "%0a"), [""; 0]);
    }
    assert_eq!(user_after(HeaderOp::Append, "%0a"), ["admin"]);
}

#[test]
fn long_patterns_are_refused_unparsed_and_cut() {
    let longest = "ä".repeat(8 * 1024);
    let parsed = FullRegex::new(&longest)
        .err()
        .map(|error| error.to_string());
    assert!(
        !parsed.is_some_and(|text| text.contains("is longer")),
        "16 KiB are not too long"
    );
    let long = longest + "a";
    let expected = format!(
        "regex \"{}...\": is longer than 16384 bytes",
        "ä".repeat(200)
    );
    let error = FullRegex::new(&long).expect_err("too long");
    assert_eq!(error.to_string(), expected);
    let error = Substitution::new(&long, "").expect_err("too long");
    assert_eq!(error.to_string(), expected);
    let error = FullRegex::new(&format!("({}", "a".repeat(199))).expect_err("no regex");
    assert!(!error.to_string().contains("..."), "{error}");
}
