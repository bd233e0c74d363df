//! Faults and mirrors: which requests get one, and which.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use mesh_core::RequestView;
use mesh_core::matcher::{HeaderMatcher, HeaderTest};
use mesh_core::request::HeaderKey;
use mesh_core::route::{
    Abort, AbortBy, AbortStatus, ClusterIndex, Delay, DelayBy, Denominator, Fault, Fraction,
    Injected, Mirror, MirrorHost, drawn,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

const SEED: u64 = 20;
const DRAWS: usize = 100_000;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).expect("a value");
        map.append(HeaderName::from_static(name), value);
    }
    map
}

fn view(headers: &HeaderMap) -> RequestView<'_> {
    RequestView {
        method: &Method::GET,
        scheme: "http",
        authority: "reviews:9080",
        path: "/",
        query: None,
        headers,
    }
}

fn delay(by: DelayBy, fraction: Fraction) -> Option<Delay> {
    Some(Delay { by, fraction })
}

fn abort(by: AbortBy, fraction: Fraction) -> Option<Abort> {
    Some(Abort::new(by, fraction))
}

const TEAPOT: AbortBy = AbortBy::Status(AbortStatus::Http(StatusCode::IM_A_TEAPOT));
const SECOND: DelayBy = DelayBy::Fixed(Duration::from_secs(1));

fn injected(fault: &Fault, lines: &[(&'static str, &str)]) -> Injected {
    let headers = headers(lines);
    let mut rng = StdRng::seed_from_u64(SEED);
    fault.draw(&view(&headers), Some("one"), &mut rng)
}

fn status(fault: &Fault, lines: &[(&'static str, &str)]) -> Option<AbortStatus> {
    injected(fault, lines).abort.map(|(status, _)| status)
}

/// Whether so many hits are within five standard deviations of a probability.
fn likely(hits: usize, p: f64) -> bool {
    let (hits, all) = (hits as f64, DRAWS as f64);
    (hits - all * p).abs() <= 5.0 * (all * p * (1.0 - p)).sqrt()
}

#[test]
fn delay_and_abort_are_drawn_each_by_itself() {
    eprintln!("seed {SEED}");
    let fault = Fault {
        delay: delay(SECOND, Fraction::new(2_500, Denominator::TenThousand)),
        abort: abort(TEAPOT, Fraction::new(600_000, Denominator::Million)),
        ..Fault::default()
    };
    let (headers, mut rng) = (HeaderMap::new(), StdRng::seed_from_u64(SEED));
    let (mut delayed, mut aborted, mut both) = (0, 0, 0);
    for _ in 0..DRAWS {
        let drawn = fault.draw(&view(&headers), None, &mut rng);
        delayed += usize::from(drawn.delay.is_some());
        aborted += usize::from(drawn.abort.is_some());
        both += usize::from(drawn.delay.is_some() && drawn.abort.is_some());
    }
    assert!(likely(delayed, 0.25), "{delayed}");
    assert!(likely(aborted, 0.6), "{aborted}");
    assert!(likely(both, 0.15), "{both}");
    // The controls: one draw for both, and a share a little off, would be told.
    assert!(!likely(both, 0.25) && !likely(delayed, 0.26), "{both}");
}

#[test]
fn none_and_all_are_certain_and_more_than_all_is_all() {
    let all = [
        Fraction::ALL,
        Fraction::new(u32::MAX, Denominator::Hundred),
        Fraction::new(10_000, Denominator::TenThousand),
        Fraction::new(1_000_000, Denominator::Million),
    ];
    let mut rng = StdRng::seed_from_u64(SEED);
    for _ in 0..1000 {
        assert!(all.iter().all(|fraction| fraction.draw(&mut rng)));
        assert!(!Fraction::default().draw(&mut rng));
    }
}

#[test]
fn a_header_says_with_what_where_the_rules_let_it() {
    let fault = Fault {
        abort: abort(AbortBy::Header, Fraction::ALL),
        ..Fault::default()
    };
    let (http, grpc) = (
        "x-envoy-fault-abort-request",
        "x-envoy-fault-abort-grpc-request",
    );
    let teapot = Some(AbortStatus::Http(StatusCode::IM_A_TEAPOT));
    assert_eq!(status(&fault, &[(http, "418")]), teapot);
    for none in ["199", "600", "70000", "-1", "x", ""] {
        assert_eq!(status(&fault, &[(http, none)]), None, "{none:?}");
    }
    assert_eq!(status(&fault, &[]), None);
    // That of HTTP wins, as in Envoy.
    let both = [(http, "418"), (grpc, "5")];
    assert_eq!(status(&fault, &both), teapot);
    let bad = [(http, "99"), (grpc, "5")];
    assert_eq!(status(&fault, &bad), Some(AbortStatus::Grpc(5)));
    let odd = [(http, "418"), (grpc, "x")];
    assert_eq!(status(&fault, &odd), teapot);

    let fixed = Fault {
        abort: abort(TEAPOT, Fraction::ALL),
        ..Fault::default()
    };
    assert_eq!(status(&fixed, &both), teapot, "no header controls it");
}

#[test]
fn a_header_says_how_long_in_milliseconds() {
    let fault = Fault {
        delay: delay(DelayBy::Header, Fraction::ALL),
        ..Fault::default()
    };
    let name = "x-envoy-fault-delay-request";
    let delay = |value: &str| injected(&fault, &[(name, value)]).delay;
    assert_eq!(delay("1500"), Some(Duration::from_millis(1500)));
    for none in ["0", "-1", "1.5", "x", "99999999999999999999"] {
        assert_eq!(delay(none), None, "{none:?}");
    }
    assert!(injected(&fault, &[]).is_none());
}

#[test]
fn a_header_makes_fewer_of_a_percentage_and_never_more() {
    let name = "x-envoy-fault-abort-request-percentage";
    let wanted = ("x-envoy-fault-abort-request", "418");
    let share = |by, configured, asked: &str| {
        let fault = Fault {
            abort: abort(by, Fraction::new(configured, Denominator::Hundred)),
            ..Fault::default()
        };
        let headers = headers(&[wanted, (name, asked)]);
        let mut rng = StdRng::seed_from_u64(SEED);
        let aborted = |_: &usize| fault.draw(&view(&headers), None, &mut rng).abort.is_some();
        (0..DRAWS).filter(aborted).count()
    };
    assert!(likely(share(AbortBy::Header, 50, "20"), 0.2));
    assert!(likely(share(AbortBy::Header, 50, "80"), 0.5));
    assert!(likely(share(AbortBy::Header, 50, "x"), 0.5));
    assert!(likely(share(TEAPOT, 50, "20"), 0.5), "not its to say");
}

#[test]
fn conditions_must_all_hold() {
    let present = HeaderMatcher {
        name: HeaderKey::parse("x-faulty").expect("a name"),
        test: HeaderTest::Present(true),
        invert: false,
        missing_is_empty: false,
    };
    let fault = Fault {
        abort: abort(TEAPOT, Fraction::ALL),
        headers: Box::new([present]),
        upstream_cluster: Some("one".into()),
        downstream_nodes: Box::new(["n1".into(), "n2".into()]),
        ..Fault::default()
    };
    let node = "x-envoy-downstream-service-node";
    let all = [("x-faulty", ""), (node, "n2")];
    assert!(!injected(&fault, &all).is_none());
    assert!(injected(&fault, &all[..1]).is_none());
    assert!(injected(&fault, &all[1..]).is_none());
    assert!(injected(&fault, &[("x-faulty", ""), (node, "n3")]).is_none());
    let headers = headers(&all);
    let mut rng = StdRng::seed_from_u64(SEED);
    for other in [Some("two"), None] {
        assert!(fault.draw(&view(&headers), other, &mut rng).is_none());
    }
}

#[test]
fn one_draw_decides_for_all_mirrors() {
    let mirror = |at, percent| Mirror {
        cluster: ClusterIndex(at),
        fraction: Fraction::new(percent, Denominator::Hundred),
        host: MirrorHost::Marked,
    };
    let mirrors = [mirror(0, 30), mirror(1, 30), mirror(2, 60), mirror(3, 100)];
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut hits = [0; 4];
    for _ in 0..DRAWS {
        let mut got = [false; 4];
        for Mirror { cluster, .. } in drawn(&mirrors, &mut rng) {
            got[cluster.0 as usize] = true;
            hits[cluster.0 as usize] += 1;
        }
        assert_eq!(got[0], got[1]);
        assert!(got[2] || !got[0]);
    }
    assert!(likely(hits[0], 0.3) && likely(hits[2], 0.6), "{hits:?}");
    assert!(!likely(hits[0], 0.32), "{hits:?}");
    assert_eq!(hits[3], DRAWS);
}

#[test]
fn the_host_of_a_copy_is_marked_before_its_port() {
    for (from, wanted) in [
        ("http://reviews/a?b", "http://reviews-shadow/a?b"),
        ("http://reviews:9080/", "http://reviews-shadow:9080/"),
        ("http://127.0.0.1:80/", "http://127.0.0.1-shadow:80/"),
        ("http://[::1]:80/", "http://[::1]:80/"),
    ] {
        let mut uri: Uri = from.parse().expect("a URI");
        let mut headers = headers(&[("host", "another")]);
        let done = MirrorHost::Marked.rewrite(&mut uri, &mut headers);
        assert!(done.is_ok(), "{from}");
        assert_eq!(uri, wanted);
    }
    let mut uri: Uri = "http://reviews:9080/".parse().expect("a URI");
    let literal = MirrorHost::Literal("other".parse().expect("a host"));
    literal
        .rewrite(&mut uri, &mut HeaderMap::new())
        .expect("a host");
    assert_eq!(uri, "http://other/");
    MirrorHost::Same
        .rewrite(&mut uri, &mut HeaderMap::new())
        .expect("nothing to do");
    assert_eq!(uri, "http://other/");
}
