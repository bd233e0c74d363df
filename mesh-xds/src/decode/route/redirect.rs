//! `envoy.config.route.v3.RedirectAction`.

use envoy_types::pb::envoy::config::route::v3::{
    self as pb,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
};
use http::StatusCode;
use mesh_core::matcher::PathMatcher;
use mesh_core::route::{PathRewrite, Redirect, RedirectPath};

use super::one::Levels;
use super::{one_line, substitution};
use crate::decode::{Faults, Invalid};

pub(super) fn decode(
    redirect: &pb::RedirectAction,
    path: &PathMatcher,
    levels: &Levels,
) -> Result<Redirect, Invalid> {
    let mut faults = Faults::default();
    faults.take(one_line("host_redirect", &redirect.host_redirect));
    let status = faults.take(status(redirect.response_code));
    let target = faults.take(target(redirect, path));
    let (status, path) = faults.or(status.zip(target))?;
    let text = |text: &str| (!text.is_empty()).then(|| Box::from(text));
    let scheme = match &redirect.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => text("https"),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => text(scheme),
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
    };
    Ok(Redirect {
        status,
        headers: levels.response(None),
        scheme,
        host: text(&redirect.host_redirect),
        port: Some(redirect.port_redirect).filter(|port| *port != 0),
        path,
        strip_query: redirect.strip_query,
        keeps_port: false,
    })
}

fn status(code: i32) -> Result<StatusCode, Invalid> {
    Ok(match RedirectResponseCode::try_from(code) {
        Ok(RedirectResponseCode::MovedPermanently) => StatusCode::MOVED_PERMANENTLY,
        Ok(RedirectResponseCode::Found) => StatusCode::FOUND,
        Ok(RedirectResponseCode::SeeOther) => StatusCode::SEE_OTHER,
        Ok(RedirectResponseCode::TemporaryRedirect) => StatusCode::TEMPORARY_REDIRECT,
        Ok(RedirectResponseCode::PermanentRedirect) => StatusCode::PERMANENT_REDIRECT,
        Err(_) => {
            return Err(Invalid::new(
                "response_code",
                format_args!("{code} is unknown"),
            ));
        }
    })
}

fn target(redirect: &pb::RedirectAction, path: &PathMatcher) -> Result<RedirectPath, Invalid> {
    Ok(match &redirect.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(text)) if !text.is_empty() => {
            one_line("path_redirect", text)?;
            // Envoy puts the slash in front itself.
            let slash = if text.starts_with('/') { "" } else { "/" };
            RedirectPath::To([slash, text].concat().into())
        }
        Some(PathRewriteSpecifier::PrefixRewrite(text)) if !text.is_empty() => {
            one_line("prefix_rewrite", text)?;
            RedirectPath::Rewrite(PathRewrite::prefix(path, text))
        }
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => {
            RedirectPath::Rewrite(PathRewrite::Regex(substitution("regex_rewrite", regex)?))
        }
        _ => RedirectPath::Rewrite(PathRewrite::Keep),
    })
}
