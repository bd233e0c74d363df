//! What is wrong is told with the path of the field and what is allowed.

use super::*;

#[track_caller]
fn refused(rule: &str, expected: &str) {
    let rejected = reject(&text(&format!("  - {rule}\n")));
    let found: Vec<_> = rejected
        .diagnostics
        .iter()
        .map(|d| d.message.as_str())
        .collect();
    let expected = format!("spec.rules[0]{expected}");
    assert!(
        found.iter().any(|m| m.contains(&expected)),
        "{rule}: {found:#?}"
    );
    assert!(
        rejected
            .diagnostics
            .iter()
            .all(|d| d.line > 0 && d.object == "HTTPRoute default/r")
    );
}

#[test]
fn fields() {
    refused(
        "matchs: []",
        "; allowed are: backendRefs, filters, matches, name, retry, sessionPersistence, timeouts",
    );
    refused(
        "matches: [ { path: { type: Prefix } } ]",
        ".matches[0].path.type must be one of Exact, PathPrefix, RegularExpression",
    );
    refused(
        "matches: [ { path: { value: a } } ]",
        ".matches[0].path.value: \"a\" must start with /",
    );
    refused(
        "matches: [ { path: { value: /a//b } } ]",
        ".matches[0].path.value: \"/a//b\" must have no empty segments",
    );
    refused(
        "matches: [ { path: { type: RegularExpression, value: '(' } } ]",
        ".matches[0].path.value \"(\" is no regular expression",
    );
    refused(
        "matches: [ { method: get } ]",
        ".matches[0].method must be one of GET",
    );
    refused(
        "matches: [ { headers: [ { name: 'a b', value: c } ] } ]",
        ".matches[0].headers[0].name: \"a b\" is no header name",
    );
    refused(
        "matches: [ { queryParams: [ { name: a } ] } ]",
        ".matches[0].queryParams[0].value must not be empty",
    );
    refused(
        "filters: [ { type: ExtensionRef, extensionRef: {} } ]",
        ".filters[0].type must be one of RequestHeaderModifier",
    );
    refused("filters: [ { type: CORS } ]", ".filters[0].cors is missing");
    refused(
        "filters: [ { type: CORS, cors: { allowOrigins: [ a ] } } ]",
        ".filters[0].cors.allowOrigins: \"a\" is no origin",
    );
    refused(
        "filters: [ { type: CORS, cors: {}, urlRewrite: {} } ]",
        ".filters[0] of type CORS may not have urlRewrite",
    );
    refused(
        "filters: [ { type: CORS, cors: {} }, { type: CORS, cors: {} } ]",
        ".filters[1]: CORS stands there twice",
    );
    refused(
        "filters: [ { type: RequestRedirect, requestRedirect: {} }, { type: URLRewrite, urlRewrite: {} } ]",
        ".filters may have RequestRedirect or URLRewrite, not both",
    );
    refused(
        "filters: [ { type: RequestRedirect, requestRedirect: { statusCode: 304 } } ]",
        ".filters[0].requestRedirect.statusCode must be one of 301",
    );
    refused(
        "{ filters: [ { type: RequestRedirect, requestRedirect: {} } ], backendRefs: [ { name: a, port: 1 } ] }",
        " may have RequestRedirect or backendRefs, not both",
    );
    refused(
        "{ matches: [ { path: { type: Exact } } ], filters: [ { type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /a } } } ] }",
        ": ReplacePrefixMatch needs exactly one match",
    );
    refused(
        "filters: [ { type: RequestMirror, requestMirror: { backendRef: { name: a, port: 1 }, percent: 1, fraction: {} } } ]",
        ".filters[0].requestMirror may have percent or fraction, not both",
    );
    refused(
        "backendRefs: [ { name: a } ]",
        ".backendRefs[0].port is missing",
    );
    refused(
        "backendRefs: [ { port: 1 } ]",
        ".backendRefs[0].name is missing",
    );
    refused(
        "backendRefs: [ { name: a.b, port: 1 } ]",
        ".backendRefs[0].name \"a.b\": ",
    );
    refused(
        "backendRefs: [ { name: a, port: 1, weight: -1 } ]",
        ".backendRefs[0].weight must be a number from 0 to 1000000",
    );
    refused(
        "backendRefs: [ { name: a, port: 1, filters: [ { type: CORS, cors: {} } ] } ]",
        ".backendRefs[0].filters[0].type must be one of RequestHeaderModifier, ResponseHeaderModifier",
    );
    refused(
        "timeouts: { request: 1.5s }",
        ".timeouts.request must be a duration such as",
    );
    refused(
        "timeouts: { request: 1s, backendRequest: 2s }",
        ".timeouts.backendRequest must not be more than request",
    );
    refused(
        "retry: { codes: [ 200 ] }",
        ".retry.codes[0] must be a number from 400 to 599",
    );
}

#[test]
fn versions() {
    let found = |kind: &str, version: &str| {
        let text = services()
            + &object(kind, "r", "  - {}\n").replace("k8s.io/v1", &format!("k8s.io/{version}"));
        let parsed = mesh_istio::Config::parse([("a.yaml".into(), text)]);
        parsed.map_or_else(|e| e.diagnostics[0].message.clone(), |_| String::new())
    };
    for (kind, version) in [
        ("HTTPRoute", "v1"),
        ("HTTPRoute", "v1beta1"),
        ("GRPCRoute", "v1"),
        ("GRPCRoute", "v1alpha2"),
    ] {
        assert_eq!(found(kind, version), "", "{kind} {version}");
    }
    let allowed = "apiVersion must be one of gateway.networking.k8s.io/v1, gateway.networking.k8s.io/v1beta1, not ";
    assert!(found("HTTPRoute", "v2").starts_with(allowed));
    let text = services() + &object("GRPCRoute", "r", "  - matches: [ { method: {} } ]\n");
    let message = &reject(&text).diagnostics[0].message;
    assert_eq!(
        message,
        "spec.rules[0].matches[0].method must have service or method"
    );
}
