//! `RedirectAction` and `DirectResponseAction`.

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::config::route::v3 as pb;

use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use crate::compile::matcher;
use crate::kinds::http_route::{Body, DirectResponse, PathRewrite, Redirect, RedirectPort};

/// A redirect of the requests that come in on a port.
pub(super) fn redirect(to: &Redirect, port: u32) -> pb::RedirectAction {
    use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let code = match to.code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    let new_port = match to.port {
        RedirectPort::OfScheme => 0,
        RedirectPort::OfRequest => port,
        RedirectPort::Number(number) => number,
    };
    // What a scheme implies is not written. Gateways here take plaintext alone.
    let implied = match to.scheme.unwrap_or("http") {
        "https" => 443,
        _ => 80,
    };
    let scheme = to.scheme.map(str::to_owned);
    let path = to.uri.clone().unwrap_or_default();
    pb::RedirectAction {
        host_redirect: to.authority.clone().unwrap_or_default(),
        port_redirect: if new_port == implied { 0 } else { new_port },
        response_code: code.into(),
        scheme_rewrite_specifier: scheme.map(SchemeRewriteSpecifier::SchemeRedirect),
        // An empty one leaves the path as it is.
        path_rewrite_specifier: Some(match &to.rewrite {
            None => PathRewriteSpecifier::PathRedirect(path),
            Some(PathRewrite::Prefix(prefix)) => {
                PathRewriteSpecifier::PrefixRewrite(prefix.clone())
            }
            Some(PathRewrite::Regex {
                pattern,
                substitution,
            }) => PathRewriteSpecifier::RegexRewrite(RegexMatchAndSubstitute {
                pattern: Some(matcher::regex_matcher(pattern)),
                substitution: substitution.clone(),
            }),
        }),
        ..pb::RedirectAction::default()
    }
}

/// `directResponse` of a rule.
pub(super) fn respond(with: &DirectResponse) -> pb::DirectResponseAction {
    let body = with.body.as_ref().map(|body| DataSource {
        specifier: Some(match body {
            Body::Text(text) => Specifier::InlineString(text.clone()),
            Body::Bytes(bytes) => Specifier::InlineBytes(bytes.clone()),
        }),
        ..DataSource::default()
    });
    pb::DirectResponseAction {
        body,
        ..plain(with.status)
    }
}

/// A status without a body.
pub(super) fn plain(status: u32) -> pb::DirectResponseAction {
    pb::DirectResponseAction {
        status,
        ..pb::DirectResponseAction::default()
    }
}
