//! Header changes of a route and of what stands around it. The outcomes are Envoy 1.40's.

use std::sync::Arc;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, StatusCode, Version};
use mesh_core::RequestView;
use mesh_core::route::{
    Choice, ClusterIndex, Forward, HeaderOp, Level, Mutation, Template, TemplateError, Values,
};
use parts::{headers, parts, values};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/parts.rs"]
mod parts;

type Make = fn(HeaderName, Template) -> HeaderOp;

fn name(text: &str) -> HeaderName {
    HeaderName::try_from(text).expect("a header name")
}

fn op(make: Make, key: &str, value: &str) -> HeaderOp {
    let template = Template::new(value.as_bytes(), false).expect("a template");
    make(name(key), template)
}

fn remove(key: &str) -> HeaderOp {
    HeaderOp::Remove(name(key))
}

fn levels(levels: Vec<Vec<HeaderOp>>) -> Mutation {
    Mutation::levels(levels.into_iter().map(|ops| Arc::new(Level::new(ops))))
}

/// What becomes of a request by one route named `route-1` to cluster `c`.
fn sent(mutation: Mutation, lines: &[(&str, &str)]) -> Parts {
    let choice = Choice {
        request_headers: mutation,
        ..Choice::plain(ClusterIndex(0))
    };
    let forward = Forward::to(ClusterIndex(0));
    let mut parts = parts("http://Host:80/t/tmpl?a=1%20b&c=2", lines);
    forward
        .rewrite(&choice, &mut parts, "route-1", "c")
        .expect("no rewrite");
    parts
}

/// The value that a template gives a request that has `x-m` twice and `x-empty`.
fn value(template: &str) -> Vec<String> {
    let lines = [("x-m", "m1"), ("x-m", "m2"), ("x-empty", "")];
    let ops = [op(HeaderOp::Append, "x-out", template)];
    values(&sent(Mutation::new(ops), &lines).headers, "x-out")
}

/// Removals, then what replaces, then what adds; all values and conditions from before the additions.
#[test]
fn the_changes_of_one_level_in_envoys_order() {
    let keep = Template::new(b"%REQ(x-r)%", true).expect("a template");
    let lines = [
        ("x-r", "old"),
        ("x-a", "orig"),
        ("x-f", "f"),
        ("x-m", "m1"),
        ("x-m", "m2"),
    ];
    let ops = [
        op(HeaderOp::Append, "x-r", "new"),
        op(HeaderOp::Append, "x-a", "a1"),
        op(HeaderOp::Set, "x-a", "set"),
        op(HeaderOp::Append, "x-c", "%REQ(x-a)%"),
        op(HeaderOp::AddIfAbsent, "x-d", "1"),
        op(HeaderOp::AddIfAbsent, "x-d", "2"),
        op(HeaderOp::SetIfPresent, "x-e", "no"),
        op(HeaderOp::SetIfPresent, "x-f", "yes"),
        HeaderOp::Append(name("x-removed"), keep),
        remove("x-r"),
    ];
    let sent = sent(Mutation::new(ops), &lines).headers;
    for (name, expected) in [
        ("x-r", &["new"][..]),
        ("x-a", &["set", "a1"]),
        ("x-c", &["orig"]),
        ("x-d", &["1", "2"]),
        ("x-e", &[]),
        ("x-f", &["yes"]),
        ("x-m", &["m1", "m2"]),
        ("x-removed", &[""]),
    ] {
        assert_eq!(values(&sent, name), expected, "{name}");
    }
}

/// Without values that are made of headers, one op after the other comes to the same.
#[test]
fn changes_that_do_not_see_each_other() {
    let ops = [
        op(HeaderOp::Append, "x-a", "1"),
        op(HeaderOp::Set, "x-b", "2"),
        remove("x-c"),
    ];
    let sent = sent(
        Mutation::new(ops),
        &[("x-a", "0"), ("x-b", "0"), ("x-c", "0")],
    )
    .headers;
    assert_eq!(values(&sent, "x-a"), ["0", "1"]);
    assert_eq!(values(&sent, "x-b"), ["2"]);
    assert_eq!(values(&sent, "x-c"), [""; 0]);
}

#[test]
fn a_level_sees_what_the_level_before_has_done() {
    let level = |text: &str| {
        vec![
            op(HeaderOp::Append, "x-l", text),
            op(HeaderOp::Set, "x-s", text),
            op(HeaderOp::AddIfAbsent, "x-i", text),
            op(HeaderOp::Append, "x-seen", "%REQ(x-s)%"),
        ]
    };
    let sent = sent(levels(vec![level("wc"), level("route"), level("vh")]), &[]).headers;
    assert_eq!(values(&sent, "x-l"), ["wc", "route", "vh"]);
    assert_eq!(values(&sent, "x-s"), ["vh"]);
    assert_eq!(values(&sent, "x-i"), ["wc"]);
    assert_eq!(values(&sent, "x-seen"), ["wc", "route"]);
}

/// `ClusterWeight.host_rewrite_literal` comes before the levels of the route.
#[test]
fn a_clusters_own_host_is_seen_by_the_levels_after_it() {
    let host: Authority = "wc.host".parse().expect("an authority");
    let first = Level::new([op(HeaderOp::Append, "x-own", "%REQ(:authority)%")]).with_host(host);
    let then = Level::new([op(HeaderOp::Append, "x-h", "%REQ(:authority)%")]);
    let sent = sent(
        Mutation::levels([first, then].map(Arc::new)),
        &[("host", "other")],
    );
    assert_eq!(values(&sent.headers, "x-own"), ["Host:80"]);
    assert_eq!(values(&sent.headers, "x-h"), ["wc.host"]);
    assert_eq!(sent.uri, "http://wc.host/t/tmpl?a=1%20b&c=2");
    assert_eq!(
        values(&sent.headers, "host"),
        [""; 0],
        "the URI alone names the host"
    );
    assert_eq!(values(&sent.headers, "x-envoy-original-host"), [""; 0]);
}

#[test]
fn values_as_envoy_makes_them() {
    for (template, expected) in [
        ("plain", "plain"),
        ("100%%", "100%"),
        ("%%REQ(x)%%", "%REQ(x)%"),
        ("%PROTOCOL%", "HTTP/1.1"),
        ("%UPSTREAM_CLUSTER%", "c"),
        ("%UPSTREAM_CLUSTER_RAW%", "c"),
        ("%ROUTE_NAME%", "route-1"),
        ("%REQ(x-m)%", "m1"),
        ("%REQ(X-M)%", "m1"),
        ("%REQ(x-m):1%", "m"),
        ("%REQ(x-m):9%", "m1"),
        ("%REQ(x-no?x-m)%", "m1"),
        ("%REQ(:path)%", "/t/tmpl?a=1%20b&c=2"),
        ("%REQ(:authority)%", "Host:80"),
        ("%REQ(host)%", "Host:80"),
        ("%REQ(:method)%", "GET"),
        ("%REQ(:scheme)%", "http"),
        ("a-%REQ(x-no)%-b", "a--b"),
        ("%RESPONSE_CODE%", "0"),
        ("%QUERY_PARAM(a)%", "1 b"),
        ("%QUERY_PARAM(c)%%REQ(x-m)%", "2m1"),
    ] {
        assert_eq!(value(template), [expected], "{template}");
    }
    // What comes out empty is not there.
    for template in [
        "",
        "%REQ(x-no)%",
        "%REQ(x-empty?x-m)%",
        "%RESP(x)%",
        "%UPSTREAM_HOST%",
        "%REQ(x-m):0%",
    ] {
        assert_eq!(value(template), [""; 0], "{template}");
    }
    // Nor is what would be no header value.
    let lines = [("x-m", "a")];
    let ops = [op(HeaderOp::Append, "x-out", "%QUERY_PARAM(c)%")];
    let mut request = parts("http://h/?c=%0a", &lines);
    let choice = Choice {
        request_headers: Mutation::new(ops),
        ..Choice::plain(ClusterIndex(0))
    };
    let forward = Forward::to(ClusterIndex(0));
    forward
        .rewrite(&choice, &mut request, "r", "c")
        .expect("no rewrite");
    assert_eq!(values(&request.headers, "x-out"), [""; 0]);
}

#[test]
fn a_response_is_changed_with_the_request_at_hand() {
    let request = parts("http://Host:80/t?q=1", &[("x-m", "m1")]);
    let mutation = levels(vec![
        vec![
            op(HeaderOp::Append, "x-rq", "%REQ(x-m)%"),
            op(HeaderOp::Append, "x-rs", "%RESP(x-resp)%"),
            op(HeaderOp::Append, "x-status", "%RESPONSE_CODE%"),
            op(HeaderOp::Append, "x-rstat", "%RESP(:status)%"),
            op(HeaderOp::Append, "x-uh", "%UPSTREAM_HOST%"),
            op(
                HeaderOp::Append,
                "x-ip",
                "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            ),
            op(HeaderOp::Append, "x-port", "%UPSTREAM_REMOTE_PORT%"),
            op(HeaderOp::Append, "x-p", "%PROTOCOL%"),
            op(HeaderOp::Append, "x-one", "%RESP(x-one)%-2"),
        ],
        vec![
            op(HeaderOp::Set, "x-last", "%RESP(x-rq)%"),
            remove("x-resp"),
        ],
    ]);
    assert!(mutation.reads_request() && !mutation.is_empty());
    let mut response = headers(&[("x-resp", "r1"), ("x-resp", "r2"), ("x-one", "up")]);
    let values_of = Values {
        request: Some(RequestView::of(
            &request.method,
            &request.uri,
            &request.headers,
        )),
        status: Some(StatusCode::OK),
        version: Version::HTTP_2,
        endpoint: Some(([127, 0, 0, 1], 81).into()),
        ..Values::default()
    };
    mutation.apply(&mut response, &values_of);
    for (name, expected) in [
        ("x-rq", &["m1"][..]),
        ("x-rs", &["r1"]),
        ("x-status", &["200"]),
        ("x-rstat", &["200"]),
        ("x-uh", &["127.0.0.1:81"]),
        ("x-ip", &["127.0.0.1"]),
        ("x-port", &["81"]),
        ("x-p", &["HTTP/2"]),
        ("x-one", &["up", "up-2"]),
        ("x-last", &["m1"]),
        ("x-resp", &[]),
    ] {
        assert_eq!(values(&response, name), expected, "{name}");
    }
}

#[test]
fn only_values_of_the_request_need_the_request() {
    for (template, expected) in [
        ("plain", false),
        ("%RESP(x)%", false),
        ("%ROUTE_NAME%", false),
        ("%REQ(x)%", true),
        ("a%QUERY_PARAM(x)%", true),
    ] {
        let mutation = Mutation::new([op(HeaderOp::Append, "x", template)]);
        assert_eq!(mutation.reads_request(), expected, "{template}");
    }
    assert!(!Mutation::new([remove("x")]).reads_request());
}

#[test]
fn an_empty_mutation_changes_nothing() {
    assert!(Mutation::default().is_empty());
    assert!(Mutation::new([]).is_empty());
    assert!(levels(vec![vec![], vec![]]).is_empty());
    assert!(!levels(vec![vec![], vec![remove("x")]]).is_empty());
    let lines = [("x", "1")];
    assert_eq!(sent(Mutation::default(), &lines).headers, headers(&lines));
}

#[test]
fn values_that_envoy_refuses() {
    for text in [
        "%",
        "a%b",
        "%REQ%",
        "%REQ()%",
        "%REQ(a?b?c)%",
        "%REQ(a b)%",
        "%REQ(a)",
        "%REQ(a)%x%",
        "%REQ(a):%",
        "%req(a)%",
        "%UNKNOWN%",
        "%RESP%",
        "%PROTOCOL(x)%",
        "%PROTOCOL:3%",
        "%ROUTE_NAME:2%",
        "%UPSTREAM_CLUSTER:2%",
        "%REQ(é%",
        "a\nb",
        "a\0",
    ] {
        let error = Template::new(text.as_bytes(), false).expect_err(text);
        assert!(matches!(error, TemplateError::Invalid { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(&format!("{text:?}")), "{said}");
    }
}

#[test]
fn values_that_envoy_makes_and_we_do_not() {
    for text in [
        "%HOSTNAME%",
        "%START_TIME(%s)%",
        "%ENVIRONMENT(HOME)%",
        "%DYNAMIC_METADATA([\"a\",\"b\"])%",
        "%DOWNSTREAM_REMOTE_ADDRESS%",
        "%RESPONSE_FLAGS%",
        "a-%TRACE_ID%",
        "\u{1}",
    ] {
        let error = Template::new(text.as_bytes(), false).expect_err(text);
        assert!(matches!(error, TemplateError::NotServed { .. }), "{error}");
    }
}

#[test]
fn headers_that_no_rule_may_change() {
    for (name, expected) in [
        ("x-a", true),
        ("host", false),
        ("Host", false),
        (":path", false),
        (":x", false),
    ] {
        assert_eq!(HeaderOp::may_change(name), expected, "{name}");
    }
    for (text, expected) in [
        ("content-length", true),
        ("transfer-encoding", true),
        ("connection", true),
        ("content-type", false),
    ] {
        assert_eq!(HeaderOp::is_framing(&name(text)), expected, "{text}");
    }
}

/// A map that is full takes no more, and nothing breaks.
#[test]
fn a_full_map_takes_no_more() {
    let mut full = HeaderMap::new();
    while full.try_append("x", "1".parse().expect("a value")).is_ok() && full.len() < 40_000 {}
    let before = full.len();
    let ops = [
        op(HeaderOp::Append, "x", "2"),
        op(HeaderOp::Append, "y", "2"),
    ];
    Mutation::new(ops).apply(&mut full, &Values::default());
    assert!(full.len() <= before + 2);
}
