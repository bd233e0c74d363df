//! An application that takes what is there for what was meant, and policies that would keep something from it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use http::{StatusCode, Version, header};
use mesh_core::authz::{Action, Operation, Permission, Principal};
use mesh_core::matcher::{HeaderMatcher, HeaderTest, StringMatcher};
use mesh_core::request::{HeaderKey, PathNormalization};
use mesh_core::server::{Inbound, Pipeline, Remote, Step, Xfcc};

use crate::server::tests::scene::{in_mesh, mtls, plain, rbac, rules};

pub(super) const HOST: &str = "reviews";
pub(super) const COOKIE: &str = "user=x; role=admin";

fn header(name: &str, test: HeaderTest) -> Permission {
    Permission::Is(Operation::Header(HeaderMatcher {
        name: HeaderKey::parse(name).unwrap(),
        test,
        invert: false,
        missing_is_empty: false,
    }))
}

fn exact(text: &str) -> StringMatcher {
    StringMatcher::Exact(text.as_bytes().into())
}

fn prefix(text: &str) -> StringMatcher {
    StringMatcher::Prefix(text.as_bytes().into())
}

/// `/admin`, deletions, a header and a cookie are denied, and one host is allowed, as Istio writes it.
pub(super) fn policies() -> Inbound {
    let deny = |what| rbac(Action::Deny, what, Principal::Any);
    let host = |matcher: StringMatcher| HeaderTest::String(matcher.ignoring_case());
    let hosts = [exact(HOST), prefix("reviews:")].map(|it| header(":authority", host(it)));
    let steps: Vec<Step> = vec![
        deny(Permission::Is(Operation::UrlPath(prefix("/admin")))),
        deny(header(":method", HeaderTest::String(exact("DELETE")))),
        deny(header("x-role", HeaderTest::Present(true))),
        deny(header("cookie", HeaderTest::String(exact(COOKIE)))),
        rbac(Action::Allow, Permission::Or(hosts.into()), Principal::Any),
    ];
    let pipeline = Arc::new(Pipeline {
        name: "listener virtualInbound".into(),
        paths: PathNormalization::DecodeAndMergeSlashes,
        xfcc: Xfcc::AppendForward,
        remote: Remote::default(),
        gateway: None,
        steps: steps.into(),
    });
    rules([mtls(in_mesh(), true, &pipeline), plain(&pipeline)])
}

/// What it has served that was forbidden.
pub(super) type Served = Arc<Mutex<Vec<String>>>;

pub(super) fn app(served: &Served) -> Router {
    let served = Arc::clone(served);
    Router::new().fallback(move |request: Request| {
        if let Some(forbidden) = forbidden(&request) {
            let told = format!("{forbidden}: {request:?}");
            served.lock().unwrap().push(told);
        }
        async { StatusCode::OK }
    })
}

fn forbidden(request: &Request) -> Option<&'static str> {
    let method = request.method().as_str().to_ascii_uppercase();
    let headers = request.headers();
    let says = |name: &str| name.starts_with("x-envoy-") || name == "x-forwarded-client-cert";
    let all = [
        ("a path", read(request.uri().path()).starts_with("/admin")),
        ("all paths", request.uri().path() == "*"),
        ("a method", matches!(&*method, "DELETE" | "CONNECT")),
        ("a host", hosts(request).iter().any(|host| host != HOST)),
        (
            "a scheme",
            request.uri().scheme_str().is_some_and(|it| it != "http"),
        ),
        ("a role", headers.contains_key("x-role")),
        (
            "a cookie",
            cookies(request).iter().any(|it| it == COOKIE.as_bytes()),
        ),
        (
            "a proxy's word",
            headers.keys().any(|name| says(name.as_str())),
        ),
    ];
    let found = all.into_iter().find(|(_, is_so)| *is_so);
    found.map(|(what, _)| what)
}

/// What is crumbs in HTTP/2 is one line (RFC 9113, 8.2.3); HTTP/1 has one line and knows no other way (RFC 6265, 5.4).
fn cookies(request: &Request) -> Vec<Vec<u8>> {
    let lines = request.headers().get_all(header::COOKIE).iter();
    let lines: Vec<Vec<u8>> = lines.map(|it| it.as_bytes().to_vec()).collect();
    match request.version() < Version::HTTP_2 {
        true => lines,
        false => vec![lines.join(&b"; "[..])],
    }
}

/// By each place in which a host may stand.
fn hosts(request: &Request) -> Vec<String> {
    let headers = request.headers().get_all(header::HOST).iter();
    let mut all: Vec<String> = headers
        .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
        .collect();
    all.extend(request.uri().authority().map(ToString::to_string));
    if all.is_empty() {
        all.push(String::new());
    }
    all.iter().map(|host| bare(host)).collect()
}

fn bare(host: &str) -> String {
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = host
        .split([':', '/', '?', '#', '\\', ',', ' ', '\t'])
        .next();
    let host = host.unwrap_or_default();
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Escapes are decoded once, `\` is a slash, slashes are merged, dots are resolved.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*rest.get(at)?).to_digit(16);
        let escaped = || u8::try_from(digit(1)? * 16 + digit(2)?).ok();
        let (byte, after) = match (*first == b'%').then(escaped).flatten() {
            Some(byte) => (byte, &rest[3..]),
            None => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[test]
fn it_reads_as_many_do() {
    for path in [
        "/admin",
        "//admin",
        "/x/../admin",
        "/%61dmin",
        "/%2fadmin",
        "\\admin",
    ] {
        assert_eq!(read(path), "/admin", "{path}");
    }
    for host in [
        "REVIEWS",
        "reviews:80",
        "reviews.",
        "evil@reviews",
        "reviews,x",
    ] {
        assert_eq!(bare(host), HOST, "{host}");
    }
}
