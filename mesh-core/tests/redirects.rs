//! Redirects and the `location` of direct responses. Each outcome was Envoy 1.40's.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use mesh_core::RequestView;
use mesh_core::matcher::{PathMatcher, Substitution};
use mesh_core::route::{
    Action, ClusterIndex, DirectResponse, Domain, Mutation, PathRewrite, Redirect, RedirectPath,
    Route, RouteMatch, VirtualHost,
};
use parts::parts;
use rand::SeedableRng;
use rand::rngs::StdRng;

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/parts.rs"]
mod parts;

fn view(parts: &Parts) -> RequestView<'_> {
    RequestView::of(&parts.method, &parts.uri, &parts.headers)
}

fn location(redirect: &Redirect, uri: &str, lines: &[(&str, &str)]) -> String {
    let parts = parts(uri, lines);
    let location = redirect.location(&view(&parts)).expect("a header value");
    location.to_str().expect("text").to_owned()
}

fn to(path: &str) -> Redirect {
    Redirect {
        path: RedirectPath::To(path.into()),
        ..Redirect::permanent()
    }
}

fn rewrite(path: PathRewrite) -> Redirect {
    Redirect {
        path: RedirectPath::Rewrite(path),
        ..Redirect::permanent()
    }
}

fn stripped(redirect: Redirect) -> Redirect {
    Redirect {
        strip_query: true,
        ..redirect
    }
}

fn hosted(host: Option<&str>, port: Option<u32>) -> Redirect {
    Redirect {
        host: host.map(Into::into),
        port,
        ..Redirect::permanent()
    }
}

fn schemed(scheme: &str, port: Option<u32>) -> Redirect {
    Redirect {
        scheme: Some(scheme.into()),
        port,
        ..Redirect::permanent()
    }
}

#[test]
fn locations_as_envoy_writes_them() {
    let prefix = || PathRewrite::prefix(&PathMatcher::Prefix("/p/".into()), "/n/");
    let regex = Substitution::new("^/p/(.*)$", r"/x/\1").expect("a pattern");
    for (redirect, expected) in [
        (to("/new"), "http://h/new?q=1"),
        (to("/new?a=1"), "http://h/new?a=1"),
        (stripped(to("/new?a=1")), "http://h/new?a=1"),
        (stripped(to("/new")), "http://h/new"),
        (to("/new#f"), "http://h/new#f?q=1"),
        (rewrite(prefix()), "http://h/n/x?q=1"),
        (stripped(rewrite(prefix())), "http://h/n/x"),
        (rewrite(PathRewrite::Regex(regex)), "http://h/x/x?q=1"),
        (
            rewrite(PathRewrite::prefix(&PathMatcher::Prefix("/p/".into()), "n")),
            "http://h/nx?q=1",
        ),
        (hosted(Some("new.host"), None), "http://new.host/p/x?q=1"),
        (
            hosted(Some("new.host:99"), None),
            "http://new.host:99/p/x?q=1",
        ),
        (hosted(None, Some(8080)), "http://h:8080/p/x?q=1"),
        (
            hosted(Some("new.host"), Some(80)),
            "http://new.host:80/p/x?q=1",
        ),
        (
            hosted(Some("new.host:1"), Some(80)),
            "http://new.host:1:80/p/x?q=1",
        ),
        (schemed("https", None), "https://h/p/x?q=1"),
        (schemed("HTTPS", None), "HTTPS://h/p/x?q=1"),
        (schemed("ftp", None), "ftp://h/p/x?q=1"),
        (schemed("https", Some(443)), "https://h:443/p/x?q=1"),
        (Redirect::permanent(), "http://h/p/x?q=1"),
        (stripped(Redirect::permanent()), "http://h/p/x"),
    ] {
        assert_eq!(
            location(&redirect, "http://h/p/x?q=1", &[]),
            expected,
            "{redirect:?}"
        );
    }
}

#[test]
fn the_hosts_own_port_stays_unless_it_is_the_left_schemes() {
    let port = || hosted(None, Some(8080));
    let https = || schemed("https", None);
    for (redirect, authority, expected) in [
        (port(), "a:80", "http://a:8080/"),
        (port(), "a:443", "http://a:8080/"),
        (port(), "[::1]:80", "http://[::1]:8080/"),
        (port(), "[::1]", "http://[::1]:8080/"),
        (https(), "a:80", "https://a/"),
        (https(), "a:443", "https://a:443/"),
        (https(), "a:8080", "https://a:8080/"),
        (https(), "[::1]:80", "https://[::1]/"),
        (https(), "[::1]", "https://[::1]/"),
        (Redirect::permanent(), "a:80", "http://a:80/"),
        (Redirect::permanent(), "[::1]:80", "http://[::1]:80/"),
        (hosted(Some("new.host"), None), "a:8080", "http://new.host/"),
    ] {
        let uri = format!("http://{authority}/");
        assert_eq!(
            location(&redirect, &uri, &[]),
            expected,
            "{redirect:?} {authority}"
        );
    }
    let came_by_tls = [("x-forwarded-proto", "https")];
    assert_eq!(
        location(&https(), "http://a:80/", &came_by_tls),
        "https://a:80/"
    );
}

/// Where a virtual host that requires TLS sends a request, if it does.
fn sent_to(host: &VirtualHost, uri: &str, lines: &[(&str, &str)]) -> Option<String> {
    let parts = parts(uri, lines);
    let mut rng = StdRng::seed_from_u64(1);
    let route = host.find(&view(&parts), &mut rng)?;
    let Action::Redirect(redirect) = &route.action else {
        return None;
    };
    assert_eq!(redirect.status, StatusCode::MOVED_PERMANENTLY);
    let location = redirect.location(&view(&parts)).expect("a header value");
    Some(location.to_str().expect("text").to_owned())
}

#[test]
fn a_host_that_requires_tls_sends_all_else_to_https() {
    let route = Route {
        name: "-".into(),
        matches: RouteMatch::path(PathMatcher::Prefix("/only".into())),
        action: Action::forward(ClusterIndex(0)),
        source: None,
        fault: None,
    };
    let clusters: [Arc<str>; 1] = ["one".into()];
    let open = VirtualHost::new("a".into(), [], clusters, [route]);
    // The control: it is the requirement that redirects.
    assert_eq!(sent_to(&open, "http://a/only", &[]), None);
    let host = open.requiring_tls();
    for (uri, expected) in [
        ("http://a/only?q=1", "https://a/only?q=1"),
        // Before any route is asked.
        ("http://a/other", "https://a/other"),
        // Host and port as they came: Envoy writes no other.
        ("http://a:80/", "https://a:80/"),
        ("http://a:8080/%2F", "https://a:8080/%2F"),
        ("http://[::1]:80/", "https://[::1]:80/"),
    ] {
        assert_eq!(sent_to(&host, uri, &[]).as_deref(), Some(expected));
        let by_tls = [("x-forwarded-proto", "https")];
        assert_eq!(sent_to(&host, uri, &by_tls), None, "{uri}");
        let by_none = [("x-forwarded-proto", "http")];
        assert!(sent_to(&host, &uri.replace("http:", "https:"), &by_none).is_some());
        assert_eq!(sent_to(&host, &uri.replace("http:", "https:"), &[]), None);
    }
    // The same host for one target keeps it.
    let serving = host.serving("b".into(), Domain::parse("b").expect("a domain"));
    assert!(sent_to(&serving, "http://b/", &[]).is_some());
}

#[test]
fn direct_responses_of_some_statuses_have_a_location() {
    let parts = parts("http://h/p?q=1", &[]);
    for (status, expected) in [
        (200, false),
        (201, true),
        (301, true),
        (304, true),
        (404, false),
    ] {
        let direct = DirectResponse {
            status: StatusCode::from_u16(status).expect("a status"),
            body: Bytes::new(),
            headers: Mutation::default(),
        };
        let location = direct.location(&view(&parts));
        let expected = expected.then_some("http://h/p?q=1");
        assert_eq!(
            location.as_ref().map(|l| l.to_str().expect("text")),
            expected,
            "{status}"
        );
    }
}

#[test]
fn a_location_that_is_no_header_value_is_none() {
    let parts = parts("http://h/", &[]);
    assert_eq!(to("/a\u{1}").location(&view(&parts)), None);
}
