//! Headers that are not compared, each with the reason. Everything else must be equal.

/// Whether a name is listed; an entry that ends in `*` stands for all that begin so.
pub(crate) fn has(list: &[(&str, &str)], name: &str) -> bool {
    list.iter().any(|(entry, _)| match entry.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => *entry == name,
    })
}

/// What the backend got.
pub(crate) const REQUEST: &[(&str, &str)] = &[
    ("x-request-id", "added by Envoy's HTTP connection manager"),
    (
        "x-forwarded-proto",
        "added by Envoy's HTTP connection manager",
    ),
    (
        "x-envoy-expected-rq-timeout-ms",
        "Envoy's router tells the upstream its timeout; a hint, no part of the route",
    ),
    ("x-oracle-number", "by which the harness knows a request"),
    ("content-length", "framing; the bodies are compared"),
    ("transfer-encoding", "framing; the bodies are compared"),
];

/// What the backend got of a copy, beside these.
pub(crate) const COPY: &[(&str, &str)] = &[
    (
        "x-envoy-internal",
        "added by Envoy's client that sends copies",
    ),
    (
        "x-forwarded-for",
        "added by Envoy's client that sends copies",
    ),
];

/// What the caller got.
pub(crate) const RESPONSE: &[(&str, &str)] = &[
    ("date", "the time of two moments"),
    ("server", "Envoy's HTTP connection manager names itself"),
    (
        "x-envoy-upstream-service-time",
        "a measurement of Envoy's router",
    ),
    ("content-length", "framing; the bodies are compared"),
    ("transfer-encoding", "framing; the bodies are compared"),
    ("connection", "framing: whether Envoy keeps our connection"),
    ("x-oracle-*", "what the harness has Envoy tell about itself"),
];
