//! `CorsPolicy`: which pages of other origins may call (Fetch standard, section 3.2).

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Position;

use super::headers::is_token;
use super::http_match::{StringMatch, string_match};
use super::values::{duration, flag};

/// A checked `corsPolicy`.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    pub(crate) origins: Vec<StringMatch>,
    pub(crate) methods: Vec<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) expose: Vec<String>,
    /// In seconds.
    pub(crate) max_age: Option<u64>,
    pub(crate) credentials: Option<bool>,
    /// Whether preflights of other origins are forwarded; on where nothing is said.
    pub(crate) forward: bool,
}

const CORS: Schema = Schema {
    served: &[
        "allowOrigin",
        "allowOrigins",
        "allowMethods",
        "allowHeaders",
        "exposeHeaders",
        "maxAge",
        "allowCredentials",
        "unmatchedPreflights",
    ],
    unserved: &[],
};

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
];

/// `corsPolicy` of a route.
pub(super) fn decode(route: &Fields<'_>, sink: &mut Sink) -> Option<Cors> {
    let fields = Fields::open(
        route.get("corsPolicy")?,
        route.path_of("corsPolicy"),
        CORS,
        sink,
    )?;
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_token);
    let kinds = ["UNSPECIFIED", "FORWARD", "IGNORE"];
    let unmatched = fields.word("unmatchedPreflights", &kinds, sink);
    Some(Cors {
        origins: origins(&fields, sink),
        methods: words(&fields, "allowMethods", sink, |name| {
            METHODS.contains(&name)
        }),
        headers: words(&fields, "allowHeaders", sink, is_name),
        expose: words(&fields, "exposeHeaders", sink, is_name),
        max_age: max_age(&fields, sink),
        credentials: flag(&fields, "allowCredentials", sink),
        forward: unmatched != Some("IGNORE"),
    })
}

/// `allowOrigins`, or the older list of exact ones where that is absent.
fn origins(fields: &Fields<'_>, sink: &mut Sink) -> Vec<StringMatch> {
    let exact = fields.strings("allowOrigin", sink);
    if fields.get("allowOrigins").is_none() {
        let exact = exact.into_iter().map(|(origin, _)| origin);
        return exact.map(StringMatch::Exact).collect();
    }
    let mut out = Vec::new();
    for (i, item) in fields.list("allowOrigins", sink).iter().enumerate() {
        let path = format!("{}.allowOrigins[{i}]", fields.path);
        let found = string_match(item, path.clone(), sink);
        let empty = match &found {
            Some(StringMatch::Present) => true,
            Some(StringMatch::Exact(text)) => text.is_empty(),
            // Those are told already.
            Some(StringMatch::Prefix(_) | StringMatch::Regex(_)) | None => false,
        };
        if empty {
            sink.error(
                item.at,
                format!("{path} must have exact, prefix or regex, and not an empty one"),
            );
        }
        out.extend(found);
    }
    out
}

fn words(
    fields: &Fields<'_>,
    key: &str,
    sink: &mut Sink,
    good: impl Fn(&str) -> bool,
) -> Vec<String> {
    let found: Vec<(String, Position)> = fields.strings(key, sink);
    for (word, at) in found.iter().filter(|(word, _)| !good(word)) {
        let what = match key {
            "allowMethods" => "method of HTTP",
            _ => "header name",
        };
        sink.error(
            *at,
            format!("{}: {word:?} is no {what}", fields.path_of(key)),
        );
    }
    found.into_iter().map(|(word, _)| word).collect()
}

fn max_age(fields: &Fields<'_>, sink: &mut Sink) -> Option<u64> {
    let age = duration(fields, "maxAge", sink)?;
    if age.subsec_nanos() > 0 {
        sink.error(
            fields.place("maxAge"),
            format!("{} must be of whole seconds", fields.path_of("maxAge")),
        );
    }
    Some(age.as_secs())
}
