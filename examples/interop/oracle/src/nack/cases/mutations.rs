//! Headers added and removed, rewrites, redirects.

use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::config::route::v3::redirect_action::PathRewriteSpecifier;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::{RedirectAction, Route, RouteAction};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::{regex, route};
use crate::feature::Feature;
use crate::nack::Case;

const NAMES: &[&str] = &[
    "",
    "x-a",
    ":path",
    ":authority",
    "host",
    "Host",
    ":method",
    ":foo",
    "a b",
    "é",
    "x:y",
    "a\nb",
];

/// Envoy answers such a request with 503 `invalid header name`, and writes such a response header as it is.
const NO_NAME: &str = "ours leaves out what is no header's name; Envoy tries to send it";

const BACKSLASH: &str = "ours leaves the path alone; Envoy substitutes and drops the backslash";

const VALUES: &[&str] = &[
    "",
    "%",
    "%%",
    "%FOO%",
    "%REQ(x-a)%",
    "%REQ(",
    "é",
    "a\nb",
    "a\tb",
    "%PROTOCOL%",
];

/// All of these.
pub(super) fn all() -> Vec<Case> {
    let mut all: Vec<Case> = NAMES.iter().flat_map(|name| names(name)).collect();
    all.extend(VALUES.iter().map(|value| {
        case(format!("request header value {value:?}"), move |route| {
            route.request_headers_to_add.push(option("x-a", value, 0));
        })
    }));
    all.extend([
        case("header option without header".to_owned(), |route| {
            route
                .request_headers_to_add
                .push(HeaderValueOption::default());
        }),
        case("header option of an unknown action".to_owned(), |route| {
            route.request_headers_to_add.push(option("x-a", "", 9));
        }),
    ]);
    all.extend(rewrites());
    all
}

fn case(name: String, change: impl Fn(&mut Route) + Send + Sync + 'static) -> Case {
    Case::new(Feature::Mutation, name, move |c| change(route(c)))
}

fn option(key: &str, value: &str, append_action: i32) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append_action,
        ..HeaderValueOption::default()
    }
}

fn names(name: &'static str) -> [Case; 4] {
    let add = |case: Case| match http::HeaderName::try_from(name) {
        Ok(_) => case,
        Err(_) => case.unasked(NO_NAME),
    };
    [
        add(case(
            format!("request header added {name:?}"),
            move |route| {
                route.request_headers_to_add.push(option(name, "a", 0));
            },
        )),
        add(case(
            format!("response header added {name:?}"),
            move |route| {
                route.response_headers_to_add.push(option(name, "a", 0));
            },
        )),
        case(format!("request header removed {name:?}"), move |route| {
            route.request_headers_to_remove.push(name.to_owned());
        }),
        case(format!("response header removed {name:?}"), move |route| {
            route.response_headers_to_remove.push(name.to_owned());
        }),
    ]
}

fn rewrites() -> Vec<Case> {
    let path = |name: &str, change: fn(&mut RouteAction)| {
        Case::new(Feature::PathRewrite, name, move |c| {
            if let Some(Action::Route(action)) = &mut route(c).action {
                change(action);
            }
        })
    };
    let redirect = |name: &str, redirect: RedirectAction| {
        Case::new(Feature::Redirect, format!("redirect {name}"), move |c| {
            route(c).action = Some(Action::Redirect(redirect.clone()));
        })
    };
    let to = |specifier| RedirectAction {
        path_rewrite_specifier: Some(specifier),
        ..RedirectAction::default()
    };
    vec![
        path("prefix_rewrite and regex_rewrite", |action| {
            action.prefix_rewrite = "/b".to_owned();
            action.regex_rewrite = Some(substitution("a", "b"));
        }),
        path("regex_rewrite (", |action| {
            action.regex_rewrite = Some(substitution("(", ""))
        }),
        path(r"regex_rewrite \1 of none", |action| {
            action.regex_rewrite = Some(substitution("a", r"\1"));
        }),
        path(r"regex_rewrite \ at the end", |action| {
            action.regex_rewrite = Some(substitution("a", r"b\"));
        })
        .unasked(BACKSLASH),
        path("regex_rewrite without pattern", |action| {
            action.regex_rewrite = Some(RegexMatchAndSubstitute::default());
        }),
        redirect(
            "of an unknown code",
            RedirectAction {
                response_code: 9,
                ..RedirectAction::default()
            },
        ),
        redirect(
            "to a port too large",
            RedirectAction {
                port_redirect: 70_000,
                ..RedirectAction::default()
            },
        ),
        redirect(
            "regex (",
            to(PathRewriteSpecifier::RegexRewrite(substitution("(", ""))),
        ),
        redirect(
            "of path with a line break",
            to(PathRewriteSpecifier::PathRedirect("/a\nb".to_owned())),
        ),
    ]
}

fn substitution(pattern: &str, by: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(regex(pattern)),
        substitution: by.to_owned(),
    }
}
