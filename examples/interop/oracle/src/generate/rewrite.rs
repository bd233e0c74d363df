//! Rewrites of path and host.

use envoy_types::pb::envoy::config::route::v3::RouteAction;
use envoy_types::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};

use crate::dice::Dice;

const SUBSTITUTIONS: &[(&str, &str)] = &[
    ("/a", "/z"),
    ("^/a/(.*)$", r"/\1"),
    ("(/[ab])(/c)?", r"\0\1"),
    ("/", "//"),
    (r"\d", "n"),
    ("b", ""),
    (r"(\w)", r"\\\1"),
];

/// The header that a host is rewritten to: what is no host is refused by ours and sent by Envoy.
pub(super) const HOST_HEADER: &str = "x-host";

/// A pattern and what takes its place.
pub(super) fn substitution(d: &mut Dice) -> RegexMatchAndSubstitute {
    let (pattern, substitution) = *d.of(SUBSTITUTIONS);
    RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher {
            regex: pattern.to_owned(),
            ..RegexMatcher::default()
        }),
        substitution: substitution.to_owned(),
    }
}

/// What makes of a path one without its first slash. Sent to a backend that would be no request.
pub(super) fn to_no_path() -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher {
            regex: "x*".to_owned(),
            ..RegexMatcher::default()
        }),
        substitution: "-".to_owned(),
    }
}

/// A host from any path. What is no host is refused by ours and sent by Envoy.
fn host_of_path(d: &mut Dice) -> RegexMatchAndSubstitute {
    let (pattern, substitution) = *d.of(&[
        ("^.*$", "fixed.test"),
        ("^/([a-zA-Z0-9]*).*$", r"h\1.test"),
        ("^/(a?)(/b)?.*$", r"x\1.test:80"),
    ]);
    RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher {
            regex: pattern.to_owned(),
            ..RegexMatcher::default()
        }),
        substitution: substitution.to_owned(),
    }
}

/// `prefix_rewrite` or `regex_rewrite`
pub(super) fn path(d: &mut Dice, action: &mut RouteAction) {
    match d.below(4) {
        0 => action.prefix_rewrite = d.text(&["/", "/new", "/new/", "/a", "/new?y=2"]),
        1 => action.regex_rewrite = Some(substitution(d)),
        _ => {}
    }
}

/// One of the host rewrites, and `append_x_forwarded_host`.
pub(super) fn host(d: &mut Dice, action: &mut RouteAction) {
    action.host_rewrite_specifier = match d.below(6) {
        0 => Some(HostRewriteSpecifier::HostRewriteLiteral(
            d.text(&["other.test", "Other.Test:8080"]),
        )),
        1 => Some(HostRewriteSpecifier::HostRewriteHeader(
            d.text(&[HOST_HEADER, "X-Host"]),
        )),
        2 => Some(HostRewriteSpecifier::HostRewritePathRegex(host_of_path(d))),
        _ => None,
    };
    action.append_x_forwarded_host = d.once_in(4);
}
