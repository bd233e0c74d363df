//! What Istio's own validation refuses, with the path of the field.

use super::*;

#[track_caller]
fn refused(http: &str, expected: &[&str]) {
    let rejected = reject(&text(http));
    let found: Vec<_> = rejected
        .diagnostics
        .into_iter()
        .map(|d| d.message)
        .collect();
    assert_eq!(found, expected, "{http}");
}

/// A field of a route that is otherwise good.
#[track_caller]
fn field(rest: &str, expected: &str) {
    let expected = format!("spec.http[0]{expected}");
    let http = format!("  - {rest}\n    route: [ {{ destination: {{ host: reviews }} }} ]\n");
    refused(&http, &[&expected]);
}

#[test]
fn matches() {
    field(
        "match: [ { headers: { X-A: {} } } ]",
        ".match[0].headers: \"X-A\" is no lower-case header name",
    );
    field(
        "match: [ { headers: { ':port': {} } } ]",
        ".match[0].headers: \":port\" is no lower-case header name",
    );
    field(
        "match: [ { uri: { regex: '*' } } ]",
        ".match[0].uri.regex \"*\" is no regular expression: repetition operator missing expression",
    );
    field(
        "match: [ { uri: { regex: '' } } ]",
        ".match[0].uri.regex must have 1 to 1024 bytes, not 0",
    );
    field(
        "match: [ { method: { prefix: '' } } ]",
        ".match[0].method.prefix must not be empty",
    );
    field(
        "match: [ { sourceNamespace: a.b } ]",
        ".match[0].sourceNamespace must be a namespace, not \"a.b\"",
    );
    field(
        "match: [ { headers: { '@request.auth.claims.a': { exact: b } } } ]",
        ".match[0].headers: @request.auth.claims.a is for gateways only; name them in spec.gateways, without mesh",
    );
}

#[test]
fn durations() {
    let must = "must be of whole milliseconds, at least 1ms; leave it out for none";
    field("timeout: 0s", &format!(".timeout {must}"));
    field("timeout: 1.5ms", &format!(".timeout {must}"));
    field(
        "retries: { attempts: 1, backoff: 1us }",
        &format!(".retries.backoff {must}"),
    );
    field(
        "fault: { delay: { fixedDelay: 0s } }",
        &format!(".fault.delay.fixedDelay {must}"),
    );
    field(
        "corsPolicy: { maxAge: 1500ms }",
        ".corsPolicy.maxAge must be of whole seconds",
    );
}

#[test]
fn headers() {
    let only = "cannot be changed; only the authority of a request can, by set, add or rewrite";
    field(
        "headers: { request: { set: { ':path': /a } } }",
        &format!(".headers.request.set.:path: \":path\" {only}"),
    );
    field(
        "headers: { request: { remove: [Host] } }",
        &format!(".headers.request.remove: \"Host\" {only}"),
    );
    field(
        "headers: { response: { add: { host: a } } }",
        &format!(".headers.response.add.host: \"host\" {only}"),
    );
    field(
        "headers: { request: { set: { 'a b': a } } }",
        ".headers.request.set.a b: \"a b\" is no header name",
    );
    field(
        "headers: { request: { set: { a: \"b\\r\\nc\" } } }",
        ".headers.request.set.a: \"b\\r\\nc\" is no header value",
    );
    for value in ["abc%123", "%START_TIME%%", "%", "%REQ(a%", "%REQ(a)"] {
        field(
            &format!("headers: {{ request: {{ set: {{ a: '{value}' }} }} }}"),
            &format!(
                ".headers.request.set.a: {value:?} has a % that opens no %VARIABLE%; write %% for the character"
            ),
        );
    }
    field(
        "headers: { request: { set: { host: a }, add: { ':authority': b } } }",
        ".headers.request.add.:authority: the authority is \"a\" already; it can be written once",
    );
    field(
        "headers: { request: { set: { host: a } } }\n    rewrite: { authority: b }",
        " writes the authority twice, as \"b\" in rewrite and as \"a\" in headers",
    );
}

#[test]
fn rewrites() {
    field(
        "rewrite: {}",
        ".rewrite must have one of uri, uriRegexRewrite, authority",
    );
    field(
        "rewrite: { uri: /, uriRegexRewrite: { match: a, rewrite: b } }",
        ".rewrite may have uri or uriRegexRewrite, not both",
    );
    field(
        "rewrite: { uriRegexRewrite: { match: a } }",
        ".rewrite.uriRegexRewrite must have match and rewrite",
    );
    field(
        "rewrite: { uriRegexRewrite: { match: (, rewrite: b } }",
        ".rewrite.uriRegexRewrite.match \"(\" is no regular expression: unclosed group",
    );
    for substitution in [r"\2", r"\", r"\a"] {
        field(
            &format!("rewrite: {{ uriRegexRewrite: {{ match: (a), rewrite: '{substitution}' }} }}"),
            &format!(
                ".rewrite.uriRegexRewrite.rewrite {substitution:?} may hold \\0 to \\1 and \\\\"
            ),
        );
    }
}

#[test]
fn retries() {
    for key in [
        "perTryTimeout: 1s",
        "retryOn: 5xx",
        "retryRemoteLocalities: true",
    ] {
        let name = key.split(':').next().unwrap();
        let must = format!(".retries.{name} needs spec.http[0].retries.attempts of 1 or more");
        field(&format!("retries: {{ attempts: 0, {key} }}"), &must);
        field(&format!("retries: {{ {key} }}"), &must);
    }
    for word in ["sometimes", "999", " 5xx"] {
        let rejected = reject(&text(&format!(
            "  - retries: {{ attempts: 1, retryOn: 'reset,{word}' }}\n    route: [ {{ destination: {{ host: reviews }} }} ]\n"
        )));
        let message = &rejected.diagnostics[0].message;
        assert!(
            message.contains(&format!(
                "{word:?} is no status code and none of 5xx, gateway-error"
            )),
            "{message}"
        );
    }
}

#[test]
fn faults_and_mirrors() {
    field("fault: {}", ".fault must have delay, abort or both");
    for (value, found) in [
        ("-1", "the number -1"),
        ("100.1", "the number 100.1"),
        ("0.00001", "the number 0.00001"),
        ("x", "the string \"x\""),
    ] {
        let must = format!("must be 0 or a number from 0.0001 to 100, not {found}");
        field(
            &format!("fault: {{ delay: {{ fixedDelay: 1s, percentage: {{ value: {value} }} }} }}"),
            &format!(".fault.delay.percentage.value {must}"),
        );
        field(
            &format!("mirror: {{ host: a }}\n    mirrorPercentage: {{ value: {value} }}"),
            &format!(".mirrorPercentage.value {must}"),
        );
    }
    field(
        "fault: { abort: { httpStatus: 600 } }",
        ".fault.abort.httpStatus must be a number from 200 to 599, not the number 600",
    );
    field(
        "fault: { abort: { httpStatus: 500, grpcStatus: OK } }",
        ".fault.abort must have one of httpStatus, grpcStatus, http2Error, not 2",
    );
    field(
        "mirrors: [ { percentage: {} } ]",
        ".mirrors[0].destination is missing",
    );
    field(
        "mirror: { host: a }\n    mirrors: [ { destination: { host: b } } ]",
        " may have mirror or mirrors, not both",
    );
    field(
        "mirrorPercent: 101",
        ".mirrorPercent must be a number from 0 to 100, not the number 101",
    );
    field(
        "mirror: { host: '*' }",
        ".mirror.host must be one host, not \"*\"",
    );
}

#[test]
fn cors() {
    field(
        "corsPolicy: { allowMethods: [FETCH] }",
        ".corsPolicy.allowMethods: \"FETCH\" is no method of HTTP",
    );
    field(
        "corsPolicy: { allowHeaders: ['a b'] }",
        ".corsPolicy.allowHeaders: \"a b\" is no header name",
    );
    field(
        "corsPolicy: { exposeHeaders: [''] }",
        ".corsPolicy.exposeHeaders: \"\" is no header name",
    );
    for origin in ["{}", "{ exact: '' }"] {
        field(
            &format!("corsPolicy: {{ allowOrigins: [ {origin} ] }}"),
            ".corsPolicy.allowOrigins[0] must have exact, prefix or regex, and not an empty one",
        );
    }
}

#[test]
fn answers() {
    refused(
        "  - redirect: { scheme: ftp, redirectCode: 304, port: 1, derivePort: FROM_REQUEST_PORT }\n  - redirect: {}\n",
        &[
            "spec.http[0].redirect.scheme must be one of http, https, not the string \"ftp\"",
            "spec.http[0].redirect.redirectCode must be one of 301, 302, 303, 307, 308, not 304",
            "spec.http[0].redirect may have port or derivePort, not both",
            "spec.http[1].redirect must have one of uri, authority, scheme, port, derivePort",
        ],
    );
    refused(
        "  - redirect: { uri: /x }\n    fault: { abort: { httpStatus: 500 } }\n    rewrite: { uri: / }\n  - directResponse: { status: 200, body: { bytes: '?' } }\n    fault: { abort: { httpStatus: 500 } }\n",
        &[
            "spec.http[0] may have redirect or fault, not both",
            "spec.http[0] may have redirect or rewrite, not both",
            "spec.http[1].directResponse.body.bytes must be base64",
            "spec.http[1] may have directResponse or fault, not both",
        ],
    );
    let large = "x".repeat((1 << 20) + 1);
    refused(
        &format!("  - directResponse: {{ status: 200, body: {{ string: {large} }} }}\n"),
        &["spec.http[0].directResponse.body has 1048577 bytes; allowed are 1048576"],
    );
}

#[test]
fn delegates() {
    refused(
        "  - delegate: { name: a }\n    route: [ { destination: { host: b } } ]\n  - delegate: {}\n",
        &[
            "spec.http[0] must have one of route, redirect, directResponse, delegate, not 2",
            "spec.http[1].delegate.name is missing",
        ],
    );
    let alone = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: x }\nspec:\n  gateways: [mesh]\n  tcp: []\n  http: [ { delegate: { name: a } } ]\n";
    let found: Vec<_> = reject(alone)
        .diagnostics
        .into_iter()
        .map(|d| d.message)
        .collect();
    assert_eq!(
        found,
        [
            "spec.gateways needs spec.hosts; without hosts the object is a delegate, which may have http and exportTo",
            "spec.tcp needs spec.hosts; without hosts the object is a delegate, which may have http and exportTo",
            "spec.http[0].delegate: an object without hosts is a delegate itself, and cannot name another",
        ]
    );
}

#[test]
fn hosts_that_cover_each_other() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: x }\nspec:\n  hosts: [a.example.com, '*.example.com', '*.org', A.example.com]\n  http: [ { route: [ { destination: { host: a } } ] } ]\n";
    let found: Vec<_> = reject(text)
        .diagnostics
        .into_iter()
        .map(|d| d.message)
        .collect();
    assert_eq!(
        found,
        [
            "spec.hosts: \"*.example.com\" and \"a.example.com\": one covers the other",
            "spec.hosts: \"A.example.com\" stands there twice",
        ]
    );
}
