//! The limits of a request, and what the next hop is told. The outcomes are Envoy 1.40's, for a caller that
//! it takes for internal.

use std::time::Duration;

use mesh_core::request::is_grpc;
use mesh_core::route::{
    Choice, ClusterIndex, Forward, GrpcTimeout, Limits, MaxStream, Requested, Timeouts,
};
use parts::{headers, parts, values};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/parts.rs"]
mod parts;

const ASKED: &str = "x-envoy-upstream-rq-timeout-ms";
const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn route(milliseconds: u64) -> Timeouts {
    Timeouts {
        route: Some(ms(milliseconds)),
        ..Timeouts::default()
    }
}

fn grpc(max: u64, offset: u64) -> Timeouts {
    Timeouts {
        grpc: Some(GrpcTimeout {
            max: ms(max),
            offset: ms(offset),
        }),
        ..route(9000)
    }
}

fn stream(max: Option<u64>, grpc_max: Option<u64>, grpc_offset: u64) -> Timeouts {
    Timeouts {
        max_stream: Some(MaxStream {
            max: max.map(ms),
            grpc_max: grpc_max.map(ms),
            grpc_offset: ms(grpc_offset),
        }),
        ..route(9000)
    }
}

fn asking(lines: &[(&str, &str)]) -> Requested {
    Requested::of(&headers(lines))
}

/// The headers of a gRPC request.
fn call(timeout: &str) -> Vec<(&'static str, &str)> {
    let mut lines = vec![("content-type", "application/grpc")];
    lines.extend((!timeout.is_empty()).then_some(("grpc-timeout", timeout)));
    lines
}

/// What the next hop reads: the expected timeout, and the gRPC timeout.
fn told(timeouts: Timeouts, lines: &[(&str, &str)]) -> (Option<String>, Option<String>) {
    let forward = Forward::to(ClusterIndex(0)).with_timeouts(timeouts);
    let mut parts = parts("http://h/", lines);
    let choice = Choice::plain(ClusterIndex(0));
    let silent = forward.leaves(&choice, &Requested::of(&parts.headers));
    let before = parts.headers.clone();
    forward
        .rewrite(&choice, &mut parts, "r", "c")
        .expect("nothing to rewrite");
    assert!(
        !silent || parts.headers == before,
        "it said that it would change nothing"
    );
    assert_eq!(
        values(&parts.headers, ASKED),
        [""; 0],
        "it is for this hop only"
    );
    let one = |name| {
        let mut values = values(&parts.headers, name);
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.pop()
    };
    (one(EXPECTED), one("grpc-timeout"))
}

#[test]
fn the_routes_timeout_is_told_to_the_next_hop() {
    let expected = |text: &str| (Some(text.to_owned()), None);
    assert_eq!(told(route(2500), &[]), expected("2500"));
    assert_eq!(told(Timeouts::default(), &[]), (None, None));
    for (asked, told_for_2500, told_for_none) in [
        ("100", Some("100"), Some("100")),
        ("0", None, None),
        ("+5", Some("5"), Some("5")),
        ("abc", Some("2500"), None),
        ("-1", Some("2500"), None),
        ("5.5", Some("2500"), None),
    ] {
        let lines = [(ASKED, asked)];
        let text = |text: Option<&str>| (text.map(str::to_owned), None);
        assert_eq!(told(route(2500), &lines), text(told_for_2500), "{asked}");
        assert_eq!(
            told(Timeouts::default(), &lines),
            text(told_for_none),
            "{asked}"
        );
    }
    assert_eq!(
        told(route(2500), &[(ASKED, "100"), (ASKED, "200")]),
        expected("2500")
    );
    assert_eq!(told(route(2500), &[(EXPECTED, "77")]), expected("2500"));
    assert_eq!(
        told(Timeouts::default(), &[(EXPECTED, "77")]),
        expected("77")
    );
    assert_eq!(
        told(stream(Some(8000), None, 0), &[(ASKED, "100")]),
        expected("100")
    );
}

#[test]
fn the_old_grpc_timeouts() {
    for (timeouts, asked, expected, header) in [
        (grpc(5000, 0), "", Some("5000"), Some("5000m")),
        (grpc(5000, 0), "3S", Some("3000"), Some("3000m")),
        (grpc(5000, 0), "10S", Some("5000"), Some("5000m")),
        (grpc(5000, 0), "0m", Some("5000"), Some("5000m")),
        (grpc(5000, 0), "1u", Some("1"), Some("1m")),
        (grpc(5000, 0), "1500000u", Some("1500"), Some("1500m")),
        (grpc(5000, 0), "5x", Some("5000"), Some("5000m")),
        (grpc(5000, 0), "123456789S", Some("5000"), Some("5000m")),
        (grpc(5000, 1000), "3S", Some("2000"), Some("2000m")),
        (grpc(5000, 1000), "500m", Some("500"), Some("500m")),
        (grpc(0, 0), "", None, None),
        (grpc(0, 0), "10S", Some("10000"), Some("10000m")),
        (grpc(0, 0), "0m", None, Some("0m")),
        (
            grpc(0, 0),
            "99999999H",
            Some("359999996400000"),
            Some("99999999H"),
        ),
        (grpc(0, 0), "5x", None, Some("5x")),
        (route(2500), "3S", Some("2500"), Some("3S")),
    ] {
        let outcome = told(timeouts, &call(asked));
        let expected = (expected.map(str::to_owned), header.map(str::to_owned));
        assert_eq!(outcome, expected, "{timeouts:?} {asked:?}");
    }
    // Not a gRPC request.
    let outcome = told(grpc(5000, 0), &[("grpc-timeout", "3S")]);
    assert_eq!(outcome, (Some("9000".to_owned()), Some("3S".to_owned())));
}

#[test]
fn the_longest_duration_of_a_stream() {
    for (timeouts, asked, whole, header) in [
        (stream(Some(8000), None, 0), "", Some(8000), Some("8000m")),
        (stream(Some(8000), None, 0), "3S", Some(8000), Some("8000m")),
        (stream(None, None, 0), "3S", None, Some("3S")),
        (
            stream(Some(8000), Some(5000), 0),
            "",
            Some(8000),
            Some("8000m"),
        ),
        (
            stream(Some(8000), Some(5000), 0),
            "3S",
            Some(3000),
            Some("3000m"),
        ),
        (
            stream(Some(8000), Some(5000), 0),
            "10S",
            Some(5000),
            Some("5000m"),
        ),
        (stream(Some(8000), Some(5000), 0), "1u", Some(1), Some("1m")),
        (
            stream(Some(8000), Some(5000), 0),
            "5x",
            Some(8000),
            Some("8000m"),
        ),
        // At once.
        (stream(Some(8000), Some(5000), 0), "0m", Some(0), Some("0m")),
        (stream(None, Some(0), 1000), "", None, None),
        (stream(None, Some(0), 1000), "3S", Some(2000), Some("2000m")),
        (stream(None, Some(0), 1000), "500m", Some(0), Some("0m")),
    ] {
        let lines = call(asked);
        let limits = timeouts.of(&asking(&lines));
        let expected = Limits {
            whole: whole.map(ms),
            ..Limits::default()
        };
        assert_eq!(limits, expected, "{timeouts:?} {asked:?}");
        assert_eq!(
            told(timeouts, &lines),
            (None, header.map(str::to_owned)),
            "{asked:?}"
        );
    }
    let plain = [("grpc-timeout", "3S")];
    let outcome = told(stream(Some(8000), Some(5000), 0), &plain);
    assert_eq!(outcome, (None, Some("3S".to_owned())), "not a gRPC request");
}

#[test]
fn the_limits_of_a_request() {
    let idle = Timeouts {
        idle: Some(ms(70)),
        ..route(2500)
    };
    let none = asking(&[]);
    let expected = Limits {
        route: Some(ms(2500)),
        whole: None,
        idle: Some(ms(70)),
    };
    assert_eq!(idle.of(&none), expected);
    assert_eq!(Timeouts::default().of(&none), Limits::default());
    assert_eq!(route(2500).of(&asking(&[(ASKED, "7")])).route, Some(ms(7)));
    assert_eq!(route(2500).of(&asking(&[(ASKED, "0")])).route, None);
    let twice = asking(&[(ASKED, "7"), (ASKED, "8")]);
    assert_eq!(route(2500).of(&twice).route, Some(ms(2500)));
    // With a longest duration the route's own timeout does not count.
    assert_eq!(stream(None, None, 0).of(&none), Limits::default());
}

#[test]
fn grpc_timeouts_by_the_book() {
    for (text, expected) in [
        ("1H", Some(ms(3_600_000))),
        ("2M", Some(ms(120_000))),
        ("3S", Some(ms(3000))),
        ("4m", Some(ms(4))),
        ("5u", Some(Duration::from_micros(5))),
        ("6n", Some(Duration::from_nanos(6))),
        ("0S", Some(Duration::ZERO)),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
        ("100000000S", None),
        ("", None),
        ("S", None),
        ("5", None),
        ("5s", None),
        ("+5S", None),
        ("-5S", None),
        ("5 S", None),
        ("5.0S", None),
    ] {
        let asked = asking(&[("grpc-timeout", text)]);
        assert_eq!(asked.grpc_timeout, expected, "{text:?}");
    }
    assert_eq!(asking(&[]).grpc_timeout, None);
}

#[test]
fn grpc_requests_are_known_by_their_content_type() {
    for (text, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        assert_eq!(
            is_grpc(&headers(&[("content-type", text)])),
            expected,
            "{text}"
        );
    }
    assert!(!is_grpc(&headers(&[])));
}
