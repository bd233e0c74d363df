//! `Route.redirect`.

use envoy_types::pb::envoy::config::route::v3::RedirectAction;
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, SchemeRewriteSpecifier,
};

use super::rewrite;
use crate::dice::Dice;
use crate::feature::{Feature, Features};

/// Any redirect.
pub(super) fn redirect(d: &mut Dice, features: &Features) -> RedirectAction {
    RedirectAction {
        scheme_rewrite_specifier: match d.below(4) {
            0 => Some(SchemeRewriteSpecifier::HttpsRedirect(d.once_in(2))),
            1 => Some(SchemeRewriteSpecifier::SchemeRedirect(
                d.text(&["https", "http", "HTTPS", "ftp"]),
            )),
            _ => None,
        },
        host_redirect: d.text(&["", "", "other.test", "Other.Test:8080", "[::1]"]),
        port_redirect: *d.of(&[0, 0, 80, 443, 8080, 9080]),
        path_rewrite_specifier: match d.below(5) {
            0 => Some(PathRewriteSpecifier::PathRedirect(
                d.text(&["", "/new", "/new?y=2", "new", "/new#f"]),
            )),
            1 => Some(PathRewriteSpecifier::PrefixRewrite(
                d.text(&["", "/", "/new", "/new/"]),
            )),
            2 if features.has(Feature::RedirectToNoPath) && d.once_in(2) => {
                Some(PathRewriteSpecifier::RegexRewrite(rewrite::to_no_path()))
            }
            2 => Some(PathRewriteSpecifier::RegexRewrite(rewrite::substitution(d))),
            _ => None,
        },
        response_code: d.below(5) as i32,
        strip_query: d.once_in(3),
    }
}
