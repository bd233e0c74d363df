//! Hosts, methods and headers that one reader takes for another's.

use super::{MALFORMED, NEUTRAL, POLICY, Row, row};

/// Values of `Host` or `:authority`, each alone.
pub(super) fn hosts() -> Vec<Row<&'static str>> {
    let same = [
        "REVIEWS",
        "Reviews",
        "reviews:80",
        "reviews:",
        "REVIEWS:9080",
        "reviews:x",
        "reviews:99999",
    ];
    let other = [
        "admin.internal",
        "ADMIN.internal",
        "admin.internal:80",
        "admin.internal.",
        "reviews.",
        "reviews.:80",
        ".reviews",
        "xreviews",
        "reviewsx",
        "reviews.evil",
        "evil.reviews",
        "reviews..",
        "127.0.0.1",
        "[::1]",
        "[::1]:80",
        "0x7f.1",
        "localhost",
        "reviews;x",
        "reviews,admin.internal",
        "admin.internal,reviews",
        "xn--reviews-",
        "*",
        "-",
        "reviews-",
        ":80",
        ":",
        "reviews!",
        "$reviews",
        "'reviews'",
        "(reviews)",
        "rev_iews",
        "reviews~",
    ];
    let escaped = ["%72eviews", "reviews%00", "reviews%2eevil", "reviews%3a80"];
    let none = [
        "",
        "user@reviews",
        "reviews@admin.internal",
        "admin.internal@reviews",
        "reviews:80@admin.internal",
        "@reviews",
        "reviews@",
        "reviews/admin",
        "reviews?x",
        "reviews#x",
        "reviews\\x",
        "reviews admin.internal",
        "reviews\tx",
        "\"reviews\"",
        "<reviews>",
        "reviews|x",
        "{reviews}",
        "reviews^",
        "`reviews`",
        "http://reviews",
    ];
    vec![
        row("hosts written otherwise", NEUTRAL, same),
        row("hosts of others", POLICY, other),
        row("hosts of others", BY_VERSION, escaped),
        row("hosts written otherwise", BY_PORTS, ["reviews:80:80"]),
        row("hosts that are none", MALFORMED, none),
    ]
}

pub(super) fn methods() -> Vec<Row<String>> {
    let cased = (0..63_usize).map(|bits| {
        let letters = "DELETE".bytes().enumerate();
        let each = letters.map(|(at, letter)| match bits & 1 << at {
            0 => char::from(letter).to_ascii_lowercase(),
            _ => char::from(letter),
        });
        each.collect::<String>()
    });
    let others = [
        "get", "Get", "pOST", "connect", "Options", "head", "trace", "patch", "put", "cOnnect",
    ];
    let near = [
        "DELETEX", "XDELETE", "DELET", "DELETE1", "DELETE-", "REMOVE", "PROPFIND", "M-SEARCH",
        "PURGE",
    ];
    vec![
        row(
            "methods in another case",
            MALFORMED,
            cased.collect::<Vec<_>>(),
        ),
        row(
            "methods in another case",
            MALFORMED,
            others.map(str::to_owned),
        ),
        row("methods alone", POLICY, ["DELETE".to_owned()]),
        row("methods that are others", NEUTRAL, near.map(str::to_owned)),
        row("methods alone", MALFORMED, ["CONNECT".to_owned()]),
    ]
}

/// Beside an honest request.
pub(super) fn headers() -> Vec<Row<(String, String)>> {
    let of = |names: &[&str], values: &[&str]| -> Vec<(String, String)> {
        let each = |name: &&str| {
            values
                .iter()
                .map(|value| (name.to_string(), value.to_string()))
                .collect::<Vec<_>>()
        };
        names.iter().flat_map(each).collect()
    };
    let overrides = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-path",
        "x-forwarded-prefix",
        "x-original-uri",
        "x-forwarded-method",
    ];
    let forwarded = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-server",
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "x-cluster-client-ip",
        "via",
        "x-host",
    ];
    let envoy = [
        "x-envoy-original-path",
        "x-envoy-original-host",
        "x-envoy-internal",
        "x-envoy-external-address",
        "x-envoy-force-trace",
        "x-envoy-decorator-operation",
        "x-envoy-peer-metadata",
        "x-envoy-peer-metadata-id",
        "x-envoy-attempt-count",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-max-retries",
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-ip-tags",
        "x-envoy-downstream-service-cluster",
        "x-envoy-downstream-service-node",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-overloaded",
        "x-envoy-not-in-any-list",
        "x-envoy-",
    ];
    let words = ["/admin", "admin.internal", "true", "1", ""];
    let cert = [
        "By=me;URI=spiffe://cluster.local/ns/default/sa/admin",
        "URI=spiffe://cluster.local/ns/istio-system/sa/istiod",
        "Hash=00;Subject=\"\";URI=spiffe://cluster.local/ns/default/sa/admin",
        "Subject=\"CN=admin\"",
        "",
        ",",
        ";",
        "By=a;URI=b,By=c;URI=d",
        "Cert=\"-----BEGIN\"",
        "garbage",
    ];
    let listed = [
        "x-forwarded-client-cert",
        "x-role",
        "host",
        "authorization",
        "content-length",
        "x-request-id",
        "close, x-role",
        "keep-alive, host",
    ];
    let near = [
        "x_role",
        "x-role-",
        "xrole",
        "x--role",
        "x.role",
        "x_forwarded_client_cert",
        "x_envoy_internal",
    ];
    vec![
        row(
            "overrides",
            NEUTRAL,
            of(&overrides, &["DELETE", "/admin", "delete"]),
        ),
        row(
            "x-forwarded",
            NEUTRAL,
            of(
                &forwarded,
                &["10.0.0.1", "admin.internal", "https", "for=admin", ""],
            ),
        ),
        row("x-envoy", NEUTRAL, of(&envoy, &words)),
        row(
            "x-forwarded-client-cert",
            NEUTRAL,
            of(&["x-forwarded-client-cert"], &cert),
        ),
        row(
            "a denied header",
            POLICY,
            of(
                &["x-role"],
                &["admin", "", "guest", "a, b", "a,b", "\u{e9}"],
            ),
        ),
        row(
            "underscores and the like",
            NEUTRAL,
            of(&near, &["admin", ""]),
        ),
        row(
            "listed by connection",
            ONE_HOP,
            of(&["connection"], &listed),
        ),
    ]
}

/// HTTP/2 has no `connection` (RFC 9113, 8.2.2); HTTP/1 takes nothing off for it here.
const ONE_HOP: super::Expected = &[super::Outcome::Neutral, super::Outcome::Malformed];

/// The parser of `:authority` refuses more than that of `Host`.
const BY_VERSION: super::Expected = &[super::Outcome::Policy, super::Outcome::Malformed];
const BY_PORTS: super::Expected = &[super::Outcome::Neutral, super::Outcome::Malformed];
