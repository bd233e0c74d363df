//! The rewrites of a `RouteAction`.

use envoy_types::pb::envoy::config::route::v3::{
    self as pb, route_action::HostRewriteSpecifier as Specifier,
};
use http::HeaderName;
use http::uri::Authority;
use mesh_core::matcher::PathMatcher;
use mesh_core::route::{HostRewrite, PathRewrite, Template, TemplateError};

use super::ignored::Ignored;
use super::{one_line, substitution};
use crate::decode::Invalid;

pub(super) fn path(
    action: &pb::RouteAction,
    path: &PathMatcher,
    ignored: &mut Ignored,
) -> Result<PathRewrite, Invalid> {
    one_line("prefix_rewrite", &action.prefix_rewrite)?;
    let (prefix, whole) = (&action.prefix_rewrite, &action.path_rewrite);
    match (prefix.is_empty(), &action.regex_rewrite, whole.is_empty()) {
        (true, None, true) => Ok(PathRewrite::Keep),
        (false, None, true) => Ok(PathRewrite::prefix(path, prefix)),
        (true, Some(regex), true) => substitution("regex_rewrite", regex).map(PathRewrite::Regex),
        (true, None, false) => {
            let template = template("path_rewrite", whole, ignored)?;
            Ok(template.map_or(PathRewrite::Keep, PathRewrite::Whole))
        }
        _ => Err(Invalid::new(
            "prefix_rewrite",
            "only one of prefix_rewrite, regex_rewrite and path_rewrite may be set",
        )),
    }
}

pub(super) fn host(
    action: &pb::RouteAction,
    ignored: &mut Ignored,
) -> Result<HostRewrite, Invalid> {
    Ok(match &action.host_rewrite_specifier {
        None => HostRewrite::Keep,
        Some(Specifier::AutoHostRewrite(yes)) if yes.value => {
            ignored.add("auto_host_rewrite has no effect yet");
            HostRewrite::Endpoint
        }
        Some(Specifier::AutoHostRewrite(_)) => HostRewrite::Keep,
        Some(Specifier::HostRewriteLiteral(text)) => {
            literal(text, ignored)?.map_or(HostRewrite::Keep, HostRewrite::Literal)
        }
        Some(Specifier::HostRewriteHeader(name)) => {
            one_line("host_rewrite_header", name)?;
            // A name that no request has leaves the host.
            HeaderName::try_from(name.as_str()).map_or(HostRewrite::Keep, HostRewrite::Header)
        }
        Some(Specifier::HostRewritePathRegex(regex)) => {
            HostRewrite::Path(substitution("host_rewrite_path_regex", regex)?)
        }
        Some(Specifier::HostRewrite(text)) => {
            let template = template("host_rewrite", text, ignored)?;
            template.map_or(HostRewrite::Keep, HostRewrite::Made)
        }
    })
}

/// `host_rewrite_literal` of a route and of a cluster's entry; `None` for what leaves the host.
pub(super) fn literal(text: &str, ignored: &mut Ignored) -> Result<Option<Authority>, Invalid> {
    one_line("host_rewrite_literal", text)?;
    if text.is_empty() {
        return Ok(None);
    }
    // User information has no place in a host header.
    let host = Authority::try_from(text)
        .ok()
        .filter(|_| !text.contains('@'));
    if host.is_none() {
        ignored.add(format!("{text:?} is no host to rewrite to"));
    }
    Ok(host)
}

/// `None` for a value that uses what is not served.
fn template(field: &str, text: &str, ignored: &mut Ignored) -> Result<Option<Template>, Invalid> {
    one_line(field, text)?;
    match Template::new(text.as_bytes(), false) {
        Ok(template) => Ok(Some(template)),
        Err(error @ TemplateError::NotServed { .. }) => {
            ignored.add(format!("{field} is left out: {error}"));
            Ok(None)
        }
        Err(error @ TemplateError::Invalid { .. }) => Err(Invalid::new(field, error)),
    }
}
