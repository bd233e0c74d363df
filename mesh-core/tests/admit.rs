//! Which heads come in, and in which form policy and application see them. Each row is a trick by which one of the two would
//! see another request than the other.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use mesh_core::jwt;
use mesh_core::request::{Admitted, BadHead, HeaderKey, PathNormalization, admit};
use support::{headers, values};

#[path = "support/parts.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod support;

/// A head as a server of HTTP/1 is given it.
fn head(method: &str, target: &str, lines: &[(&str, &str)]) -> Parts {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = Request::builder().method(method).uri(target).body(());
    let (mut parts, ()) = request.expect("a request").into_parts();
    parts.headers = headers(lines);
    parts
}

/// A head as a server of HTTP/2 is given it.
fn head2(target: &str, lines: &[(&str, &str)]) -> Parts {
    let mut parts = head("GET", target, lines);
    parts.version = Version::HTTP_2;
    parts
}

fn base(parts: Parts) -> Result<Admitted, BadHead> {
    admit(parts, PathNormalization::Base, "http")
}

const A: (&str, &str) = ("host", "a");

#[test]
fn who_is_asked_is_one() {
    for (parts, expected) in [
        (head("GET", "/", &[A]), "a"),
        (head("GET", "/", &[("host", "a:80")]), "a:80"),
        (head("GET", "/", &[("host", "[::1]:80")]), "[::1]:80"),
        (head("GET", "http://a/", &[A]), "a"),
        (head("GET", "http://a/", &[]), "a"),
        (head2("http://a/", &[]), "a"),
        (head2("http://a/", &[A]), "a"),
        // Without :authority Host is it (gRFC A41).
        (head2("/", &[A]), "a"),
        // Case is kept: matchers say themselves whether it counts.
        (head("GET", "/", &[("host", "A.")]), "A."),
    ] {
        let told = format!("{parts:?}");
        let admitted = base(parts).unwrap_or_else(|error| panic!("{error}: {told}"));
        let seen = admitted.seen();
        assert_eq!(seen.view().authority, expected, "{told}");
        for name in [":authority", "host", "Host"] {
            let name = HeaderKey::parse(name).expect("a name");
            let lines: Vec<_> = seen.header(&name).collect();
            assert_eq!(lines, [expected.as_bytes()], "{name:?} of {told}");
        }
    }
}

#[test]
fn who_is_asked_must_be_clear() {
    let other = |host: &str| BadHead::TwoAuthorities {
        host: host.into(),
        authority: "a".into(),
    };
    let no_host = |text: &str| BadHead::Authority(text.into());
    for (parts, expected) in [
        (head("GET", "/", &[]), BadHead::NoAuthority),
        (head2("/", &[]), BadHead::NoAuthority),
        (head("GET", "/", &[("host", "")]), BadHead::NoAuthority),
        (
            head("GET", "/", &[A, ("host", "b")]),
            BadHead::SeveralHosts(2),
        ),
        (head("GET", "/", &[A, A]), BadHead::SeveralHosts(2)),
        (head2("http://a/", &[A, A, A]), BadHead::SeveralHosts(3)),
        (head("GET", "http://a/", &[("host", "b")]), other("b")),
        (head("GET", "http://a/", &[("host", "a:80")]), other("a:80")),
        (head("GET", "http://a/", &[("host", "")]), other("")),
        (head2("http://a/", &[("host", "b")]), other("b")),
        (head2("http://a/", &[("host", "A")]), other("A")),
        (head("GET", "/", &[("host", "a@b")]), no_host("a@b")),
        (head("GET", "http://u:p@a/", &[]), no_host("u:p@a")),
        (head2("http://u@a/", &[]), no_host("u@a")),
        (head("GET", "/", &[("host", "a/b")]), no_host("a/b")),
        (head("GET", "/", &[("host", "a b")]), no_host("a b")),
        (head("GET", "/", &[("host", "a?b")]), no_host("a?b")),
        (head("GET", "/", &[("host", "a#b")]), no_host("a#b")),
        (head("GET", "/", &[("host", "a\\b")]), no_host("a\\b")),
    ] {
        let told = format!("{parts:?}");
        let error = base(parts).err();
        let status = error.as_ref().map(BadHead::status);
        assert_eq!(error, Some(expected), "{told}");
        assert_eq!(status, Some(StatusCode::BAD_REQUEST), "{told}");
    }
    let mut parts = head("GET", "/", &[]);
    let bytes = HeaderValue::from_bytes(b"a\xff").expect("a value");
    parts.headers.insert("host", bytes);
    assert_eq!(base(parts).err(), Some(no_host("a\u{fffd}")));
}

#[test]
fn methods_are_told_apart_by_case() {
    for method in [
        "GET", "POST", "PATCH", "PROPFIND", "propfind", "GETS", "get2",
    ] {
        let admitted = base(head(method, "/", &[A])).expect("a good method");
        assert_eq!(admitted.seen().view().method.as_str(), method);
    }
    for method in [
        "get", "Get", "pOST", "delete", "connect", "Options", "trace", "patch",
    ] {
        let error = base(head(method, "/", &[A])).err();
        assert_eq!(error, Some(BadHead::Method(method.into())));
    }
}

#[test]
fn policy_never_sees_a_request_without_a_path() {
    for (method, target, lines, expected) in [
        ("CONNECT", "a:80", &[A][..], BadHead::Connect),
        // The extended one of HTTP/2 (RFC 8441) has a path.
        ("CONNECT", "http://a/", &[][..], BadHead::Connect),
        ("OPTIONS", "*", &[A][..], BadHead::Target("*".into())),
        ("GET", "*", &[A][..], BadHead::Target("*".into())),
        ("GET", "a", &[], BadHead::Target("".into())),
    ] {
        let parts = head(method, target, lines);
        let error = base(parts).err();
        let status = error.as_ref().map(BadHead::status);
        assert_eq!(error, Some(expected), "{target}");
        assert!(
            matches!(status, Some(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)),
            "{target}: {status:?}"
        );
    }
}

#[test]
fn the_application_sees_the_path_that_policy_saw() {
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
    for (target, paths, path, query) in [
        ("/a/../b", Base, "/b", Option::None),
        ("/a/../b?x=/../", Base, "/b", Some("x=/../")),
        ("/%61dmin", Base, "/admin", Option::None),
        ("/a\\..\\b", Base, "/b", Option::None),
        ("/a//b", Base, "/a//b", Option::None),
        ("/a//b", MergeSlashes, "/a/b", Option::None),
        ("//b?", MergeSlashes, "/b", Some("")),
        ("/a%2Fb", MergeSlashes, "/a%2Fb", Option::None),
        ("/a%2fb", DecodeAndMergeSlashes, "/a/b", Option::None),
        ("/a/../b", None, "/a/../b", Option::None),
        ("http://a", Base, "/", Option::None),
        ("http://a/x/..", Base, "/", Option::None),
        ("http://a?x", None, "/", Some("x")),
        ("http://a?x", Base, "/", Some("x")),
        // The fragment is cut before: neither sees it.
        ("/admin#x", Base, "/admin", Option::None),
        ("/admin?y#x", Base, "/admin", Some("y")),
        ("/{x}", Base, "/%7Bx%7D", Option::None),
    ] {
        let Ok(uri) = target.parse() else {
            panic!("{target} is a target")
        };
        let mut parts = head("GET", "/", &[A]);
        parts.uri = uri;
        let admitted = admit(parts, paths, "http").expect(target);
        let view = admitted.seen().view();
        assert_eq!((view.path, view.query), (path, query), "{target}");
        let whole = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let seen: Vec<_> = admitted.seen().header(&HeaderKey::Path).collect();
        assert_eq!(seen, [whole.as_bytes()], "{target}");
        assert_eq!(admitted.seen().path_and_query(), whole, "{target}");
        let uri = admitted.into_parts().uri;
        assert_eq!((uri.path(), uri.query()), (path, query), "{target}");
        let given = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
        assert_eq!(given, Some(&*whole), "{target}");
    }
}

#[test]
fn a_target_is_ascii() {
    for target in ["/\u{e9}", "/a?\u{e9}"] {
        let error = base(head("GET", target, &[A])).err();
        assert_eq!(error, Some(BadHead::NotAscii(target.into())));
    }
}

#[test]
fn the_scheme_is_that_of_the_connection() {
    for (target, scheme, given) in [
        ("/", "http", None),
        ("/", "https", None),
        ("http://a/", "https", Some("https")),
        ("https://a/", "http", Some("http")),
        ("https://a/", "https", Some("https")),
    ] {
        let parts = head("GET", target, &[A]);
        let admitted = admit(parts, PathNormalization::Base, scheme).expect(target);
        assert_eq!(admitted.seen().view().scheme, scheme, "{target}");
        assert_eq!(admitted.into_parts().uri.scheme_str(), given, "{target}");
    }
    let error = base(head("GET", "ftp://a/", &[A])).err();
    assert_eq!(error, Some(BadHead::Scheme("ftp".into())));
}

#[test]
fn crumbs_of_http_2_are_one_cookie() {
    let crumbs = &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
    let mut parts = head2("http://a/", crumbs);
    parts
        .headers
        .append("x-other", HeaderValue::from_static("x"));
    let admitted = base(parts).expect("a good head");
    let name = HeaderKey::parse("cookie").expect("a name");
    let seen: Vec<_> = admitted.seen().header(&name).collect();
    assert_eq!(seen, [&b"a=1; b=2; c=3"[..]]);
    assert_eq!(admitted.version(), Version::HTTP_2);
    let parts = admitted.into_parts();
    assert_eq!(values(&parts.headers, "cookie"), ["a=1; b=2; c=3"]);
    assert_eq!(values(&parts.headers, "x-other"), ["x"]);
    // HTTP/1 has no crumbs: its lines are looked at one by one, as Envoy does.
    let lines = &[A, ("cookie", "a=1"), ("cookie", "b=2")];
    let parts = base(head("GET", "/", lines)).expect("a good head");
    let parts = parts.into_parts();
    assert_eq!(values(&parts.headers, "cookie"), ["a=1", "b=2"]);
}

/// What a filter in front changes is what policy and application see.
#[test]
fn a_change_is_seen_by_both() {
    const KEY: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = jwt::Jwks::parse(KEY.as_bytes()).expect("keys");
    let provider = jwt::Provider {
        name: "p".into(),
        issuer: None,
        audiences: None,
        subjects: None,
        expiration: jwt::Expiration::Optional,
        clock_skew: 0,
        keys: jwt::Keys::Local(Arc::new(keys)),
        places: jwt::Places::default(),
        forward: true,
        payload_header: Some(jwt::PayloadHeader {
            name: HeaderName::from_static("x-payload"),
            padded: false,
        }),
        claim_to_headers: Box::default(),
        payload_in_metadata: None,
        header_in_metadata: None,
        space_delimited_claims: Box::default(),
    };
    let key = HeaderKey::parse("x-payload").expect("a name");
    let filled = || base(head("GET", "/", &[A, ("x-payload", "forged")])).expect("a good head");
    // A header that only a good token may fill; the control has no such provider.
    for (providers, left) in [(vec![Arc::new(provider)], &[][..]), (vec![], &["forged"])] {
        let rules = jwt::Rules::new(providers, [], false, false);
        let mut admitted = filled();
        admitted.apply(&rules, None);
        let seen: Vec<_> = admitted.seen().header(&key).map(|it| it.to_vec()).collect();
        assert_eq!(
            seen,
            left.iter().map(|it| it.as_bytes()).collect::<Vec<_>>()
        );
        assert_eq!(values(&admitted.into_parts().headers, "x-payload"), left);
    }
    let mut admitted = filled();
    let ours = HeaderValue::from_static("ours");
    admitted.set(HeaderName::from_static("x-payload"), ours);
    let seen: Vec<_> = admitted.seen().header(&key).map(|it| it.to_vec()).collect();
    assert_eq!(seen, [b"ours"]);
    assert_eq!(
        values(&admitted.into_parts().headers, "x-payload"),
        ["ours"]
    );
}

/// A second pass changes nothing of what a first one made.
#[test]
fn what_is_admitted_is_admitted_as_it_is() {
    for target in ["/a/../b?x", "http://a/%61//x", "/", "http://a?q"] {
        let once = base(head2(target, &[A, ("cookie", "a"), ("cookie", "b")]));
        let once = once.expect(target).into_parts();
        let (uri, lines) = (once.uri.clone(), once.headers.clone());
        let twice = base(once).expect(target).into_parts();
        assert_eq!((twice.uri, twice.headers), (uri, lines), "{target}");
    }
}
