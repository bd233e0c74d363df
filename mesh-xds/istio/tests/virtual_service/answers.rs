use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::{DirectResponseAction, RedirectAction};

use super::*;

fn redirect(fields: &str) -> RedirectAction {
    let routes = all(&format!("  - redirect: {{ {fields} }}\n"));
    match &routes[0].action {
        Some(route::Action::Redirect(redirect)) => redirect.clone(),
        other => panic!("{other:?}"),
    }
}

fn direct(fields: &str) -> DirectResponseAction {
    let routes = all(&format!("  - directResponse: {{ {fields} }}\n"));
    match &routes[0].action {
        Some(route::Action::DirectResponse(direct)) => direct.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn redirects() {
    let all = redirect("uri: /x, authority: a.b, scheme: https, port: 8443, redirectCode: 308");
    assert_eq!(
        (all.host_redirect.as_str(), all.port_redirect),
        ("a.b", 8443)
    );
    assert_eq!(all.response_code(), RedirectResponseCode::PermanentRedirect);
    let scheme = SchemeRewriteSpecifier::SchemeRedirect("https".to_owned());
    assert_eq!(all.scheme_rewrite_specifier, Some(scheme));
    let path = |text: &str| Some(PathRewriteSpecifier::PathRedirect(text.to_owned()));
    assert_eq!(all.path_rewrite_specifier, path("/x"));
    let least = redirect("authority: a.b");
    assert_eq!(
        least.response_code(),
        RedirectResponseCode::MovedPermanently
    );
    assert_eq!(least.path_rewrite_specifier, path(""));
    assert!(least.scheme_rewrite_specifier.is_none());
}

#[test]
fn codes_of_redirects() {
    for (code, expected) in [
        (0, RedirectResponseCode::MovedPermanently),
        (301, RedirectResponseCode::MovedPermanently),
        (302, RedirectResponseCode::Found),
        (303, RedirectResponseCode::SeeOther),
        (307, RedirectResponseCode::TemporaryRedirect),
        (308, RedirectResponseCode::PermanentRedirect),
    ] {
        let found = redirect(&format!("uri: /x, redirectCode: {code}"));
        assert_eq!(found.response_code(), expected);
    }
}

#[test]
fn ports_of_redirects() {
    for (fields, port) in [
        ("port: 80", 0),
        ("port: 443", 443),
        ("port: 443, scheme: https", 0),
        ("port: 80, scheme: https", 80),
        ("derivePort: FROM_REQUEST_PORT", 9080),
        ("derivePort: FROM_PROTOCOL_DEFAULT", 0),
    ] {
        assert_eq!(redirect(fields).port_redirect, port, "{fields}");
    }
}

#[test]
fn direct_responses() {
    assert_eq!(direct("status: 503").status, 503);
    assert!(direct("status: 503").body.is_none());
    let body = |fields: &str| direct(fields).body.unwrap().specifier.unwrap();
    assert_eq!(
        body("status: 200, body: { string: tea }"),
        Specifier::InlineString("tea".to_owned())
    );
    // Both alphabets, with and without padding.
    for bytes in ["AP__", "AP//", "AP_-", "AP/+"] {
        let last = if bytes.ends_with(['_', '/']) {
            255
        } else {
            254
        };
        let text = format!("status: 200, body: {{ bytes: {bytes} }}");
        assert_eq!(body(&text), Specifier::InlineBytes(vec![0, 255, last]));
    }
    for bytes in ["/w==", "_w"] {
        let text = format!("status: 200, body: {{ bytes: {bytes} }}");
        assert_eq!(body(&text), Specifier::InlineBytes(vec![255]));
    }
}
