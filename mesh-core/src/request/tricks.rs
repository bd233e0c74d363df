//! What each check is good for: without it a request is let in that an application reads as what the policy forbids.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::admit::admitted;
use super::checks::{Check, Checks};
use super::{Admitted, PathNormalization, split_port};

const FORBIDDEN_HOST: &str = "admin.internal";
const COOKIE: &str = "user=x; role=admin";

/// Tunnels, deletions, `/admin`, one host, one cookie, and what is for TLS are forbidden. A policy sees that if it is written so.
fn is_allowed(admitted: &Admitted) -> bool {
    let seen = admitted.seen().view();
    let host = split_port(seen.authority).0.to_ascii_lowercase();
    let mut cookies = seen.headers.get_all("cookie").iter();
    seen.method != Method::DELETE
        && !seen.path.starts_with("/admin")
        && host != FORBIDDEN_HOST
        && cookies.all(|value| value != COOKIE)
}

/// What an application makes of a head: it takes what is there for what was meant.
fn is_forbidden(head: &Parts) -> bool {
    let method = head.method.as_str().to_ascii_uppercase();
    let scheme = head.uri.scheme_str();
    let cookies = head.headers.get_all("cookie").iter();
    let cookies: Vec<&str> = cookies.map(|it| it.to_str().unwrap()).collect();
    matches!(&*method, "DELETE" | "CONNECT")
        || matches!(scheme, Some("https" | "file"))
        // The whole server.
        || head.uri.path() == "*"
        || read(head.uri.path()).starts_with("/admin")
        || hosts(head).iter().any(|host| host == FORBIDDEN_HOST)
        || cookies.join("; ") == COOKIE
}

fn hosts(head: &Parts) -> Vec<String> {
    let authority = head.uri.authority().map(|it| it.as_str());
    let headers = head.headers.get_all(HOST).iter();
    let mut all: Vec<&str> = headers.map(|host| host.to_str().unwrap()).collect();
    all.extend(authority);
    // Who is asked for nothing serves what it has.
    if all.is_empty() || all.contains(&"") {
        all.push(FORBIDDEN_HOST);
    }
    let bare = |host: &str| {
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        split_port(host).0.to_ascii_lowercase()
    };
    all.into_iter().map(bare).collect()
}

/// Wide letters are letters, escapes are decoded, `\` is a slash, parameters of dots are nothing, slashes are merged, dots resolved.
fn read(path: &str) -> String {
    let narrow = |letter: char| match u32::from(letter) {
        wide @ 0xff01..=0xff5e => char::from_u32(wide - 0xfee0).unwrap(),
        _ => letter,
    };
    let path: String = path.chars().map(narrow).collect();
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = super::escaped(rest).unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments = Vec::new();
    for segment in text.split('/') {
        let bare = segment.split(';').next();
        match bare
            .filter(|bare| matches!(*bare, "." | ".."))
            .unwrap_or(segment)
        {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

struct Trick {
    check: Check,
    head: Parts,
}

fn head(method: &str, uri: Uri, lines: &[(&str, &str)]) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method.parse().unwrap();
    parts.uri = uri;
    let line = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    };
    parts.headers = HeaderMap::new();
    for (name, value) in lines.iter().map(line) {
        parts.headers.append(name, value);
    }
    parts
}

const A: (&str, &str) = ("host", "a");

fn tricks() -> Vec<Trick> {
    let get = |target: &str, lines: &[(&str, &str)]| head("GET", target.parse().unwrap(), lines);
    let to = |host| ("host", host);
    let mut crumbs = get("/", &[A, ("cookie", "user=x"), ("cookie", "role=admin")]);
    crumbs.version = Version::HTTP_2;
    let all = [
        (
            Check::Connect,
            head("CONNECT", "http://a/".parse().unwrap(), &[A]),
        ),
        (
            Check::MethodCase,
            head("delete", "/".parse().unwrap(), &[A]),
        ),
        (
            Check::MethodCase,
            head("Delete", "/".parse().unwrap(), &[A]),
        ),
        (Check::OneHost, get("/", &[A, to(FORBIDDEN_HOST)])),
        (
            Check::OneHost,
            get("/", &[to("b"), A, to("ADMIN.internal:80")]),
        ),
        (Check::OneAuthority, get("http://a/", &[to(FORBIDDEN_HOST)])),
        (Check::AnAuthority, get("/", &[])),
        (Check::AnAuthority, get("/", &[to("")])),
        (Check::HostCharacters, get("/", &[to("a@admin.internal")])),
        (Check::HostCharacters, get("http://a@admin.internal/", &[])),
        (Check::SchemeOfHttp, get("file://a/", &[])),
        (Check::SchemeOfConnection, get("https://a/", &[])),
        (Check::Ascii, get("/\u{ff41}dmin", &[A])),
        (Check::OneForm, get("/%%361dmin", &[A])),
        (Check::OneForm, get("/%6%31dmin", &[A])),
        (Check::OneForm, get("/x/%2e%2e;/admin", &[A])),
        (Check::OneForm, get("/.%2e;y/admin", &[A])),
        (Check::Crumbs, crumbs),
        (Check::EscapedSlashes, get("/%2fadmin", &[A])),
        (Check::EscapedSlashes, get("/x%2F..%5cadmin", &[A])),
        (Check::DotParameters, get("/x/..;/admin", &[A])),
        (Check::DotParameters, get("/.;y=1/admin", &[A])),
        (Check::Unreserved, get("/%61dmin", &[A])),
        (Check::Unreserved, get("/adm%69n", &[A])),
        (Check::Backslashes, get("/\\admin", &[A])),
        (Check::Dots, get("/x/../admin", &[A])),
        (Check::Dots, get("/./admin", &[A])),
        (
            Check::PathBegins,
            head("OPTIONS", Uri::from_static("*"), &[A]),
        ),
        (Check::PathBegins, get("*", &[A])),
        (Check::DoubleSlashes, get("//admin", &[A])),
        (Check::DoubleSlashes, get("/x/..///admin", &[A])),
    ];
    let trick = |(check, head)| Trick { check, head };
    all.into_iter().map(trick).collect()
}

/// Whether the application is given a head that it takes for something forbidden.
fn gets_through(head: &Parts, checks: Checks) -> bool {
    let paths = PathNormalization::DecodeAndMergeSlashes;
    let admitted = admitted(head.clone(), paths, "http", checks);
    admitted.is_ok_and(|admitted| is_allowed(&admitted) && is_forbidden(&admitted.into_parts()))
}

#[test]
fn none_gets_through() {
    for Trick { check, head } in tricks() {
        assert!(!gets_through(&head, Checks::ALL), "{check:?}: {head:?}");
    }
}

#[test]
fn each_gets_through_without_its_check() {
    for Trick { check, head } in tricks() {
        let without = Checks::without(check);
        assert!(
            gets_through(&head, without),
            "{check:?} does nothing: {head:?}"
        );
    }
}

/// A check that nothing needs would not be missed.
#[test]
fn every_check_has_a_trick() {
    let tricks = tricks();
    let bites = |check: Check, checks| {
        let mut own = tricks.iter().filter(|trick| trick.check == check);
        own.any(|trick| gets_through(&trick.head, checks))
    };
    for check in Check::EACH {
        assert!(bites(*check, Checks::without(*check)), "{check:?} has none");
        assert!(!bites(*check, Checks::ALL), "{check:?}");
    }
}

#[test]
fn an_honest_request_passes() {
    let head = head(
        "GET",
        Uri::from_static("/reviews/0?x"),
        &[A, ("cookie", "user=x")],
    );
    assert!(!is_forbidden(&head));
    let paths = PathNormalization::DecodeAndMergeSlashes;
    let admitted = admitted(head, paths, "http", Checks::ALL).unwrap();
    assert!(is_allowed(&admitted));
}
