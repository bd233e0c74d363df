//! `HTTPCORSFilter`: Gateway API's words for what a `corsPolicy` says.

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

use super::super::http_match::StringMatch;
use super::super::http_route::Cors;

const CORS: Schema = Schema {
    served: &[
        "allowOrigins",
        "allowCredentials",
        "allowMethods",
        "allowHeaders",
        "exposeHeaders",
        "maxAge",
    ],
    unserved: &[],
};

/// Of an answer to a preflight where nothing is said, in seconds.
const MAX_AGE: u32 = 5;

pub(super) fn decode(value: &Value, path: String, sink: &mut Sink) -> Option<Cors> {
    let fields = Fields::open(value, path, CORS, sink)?;
    let mut origins = Vec::new();
    for (text, at) in fields.strings("allowOrigins", sink) {
        if text != "*" && !text.contains("://") {
            let path = fields.path_of("allowOrigins");
            sink.error(
                at,
                format!("{path}: {text:?} is no origin; write * or SCHEME://HOST"),
            );
        }
        origins.push(origin(&text));
    }
    let words = |key, sink: &mut Sink| {
        let found = fields.strings(key, sink).into_iter();
        found.map(|(word, _)| word).collect::<Vec<_>>()
    };
    let age = fields.integer("maxAge", 1, i32::MAX as u32, sink);
    Some(Cors {
        origins,
        methods: words("allowMethods", sink),
        headers: words("allowHeaders", sink),
        expose: words("exposeHeaders", sink),
        max_age: Some(u64::from(age.unwrap_or(MAX_AGE))),
        credentials: fields.bool("allowCredentials", sink).then_some(true),
        forward: false,
    })
}

/// An origin in which `*` stands for any text.
fn origin(text: &str) -> StringMatch {
    if text == "*" {
        // Anything of the form of an origin (RFC 6454 section 6.2).
        return StringMatch::Regex(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]+".to_owned());
    }
    let parts: Vec<&str> = text.split('*').collect();
    match parts[..] {
        [whole] => StringMatch::Exact(whole.to_owned()),
        [start, ""] => StringMatch::Prefix(start.to_owned()),
        _ => {
            let parts: Vec<_> = parts.into_iter().map(regex::escape).collect();
            StringMatch::Regex(parts.join(".*"))
        }
    }
}
