//! `HTTPMatchRequest` and `StringMatch`: which requests a route takes.

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::yaml::{Data, Value};

use super::virtual_service;

/// A checked `HTTPMatchRequest`: all of its conditions must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpMatch {
    pub(crate) name: String,
    pub(crate) uri: Option<StringMatch>,
    pub(crate) ignore_uri_case: bool,
    pub(crate) scheme: Option<StringMatch>,
    pub(crate) method: Option<StringMatch>,
    pub(crate) authority: Option<StringMatch>,
    pub(crate) headers: Vec<(String, StringMatch)>,
    pub(crate) without_headers: Vec<(String, StringMatch)>,
    pub(crate) query: Vec<(String, StringMatch)>,
    /// These decide whether a node sees the route at all.
    pub(crate) port: Option<u32>,
    pub(crate) source_labels: Labels,
    pub(crate) source_namespace: Option<String>,
    pub(crate) gateways: Vec<String>,
}

/// A checked `StringMatch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StringMatch {
    Exact(String),
    Prefix(String),
    Regex(String),
    /// `{}`, or the regex `*`: any value.
    Present,
}

const MATCH: Schema = Schema {
    served: &[
        "name",
        "uri",
        "ignoreUriCase",
        "scheme",
        "method",
        "authority",
        "headers",
        "withoutHeaders",
        "port",
        "sourceLabels",
        "sourceNamespace",
        "gateways",
    ],
    // Emitted as istiod does, for proxies that honour them.
    unserved: &["queryParams", "statPrefix"],
};
const STRING: Schema = Schema {
    served: &["exact", "prefix", "regex"],
    unserved: &[],
};

pub(super) fn decode(value: &Value, path: String, sink: &mut Sink) -> Option<HttpMatch> {
    let fields = Fields::open(value, path, MATCH, sink)?;
    for key in ["headers", "withoutHeaders"] {
        for entry in fields.entries(key, sink) {
            if entry.key.is_empty()
                || entry
                    .key
                    .bytes()
                    .any(|b| b.is_ascii_uppercase() || !token(b))
            {
                let path = fields.path_of(key);
                sink.error(
                    entry.at,
                    format!("{path}: {:?} is no lower-case header name", entry.key),
                );
            }
        }
    }
    Some(HttpMatch {
        name: fields.string("name", sink).unwrap_or_default(),
        uri: single(&fields, "uri", sink),
        ignore_uri_case: fields.bool("ignoreUriCase", sink),
        scheme: single(&fields, "scheme", sink),
        method: single(&fields, "method", sink),
        authority: single(&fields, "authority", sink),
        headers: map(&fields, "headers", sink),
        without_headers: map(&fields, "withoutHeaders", sink),
        query: map(&fields, "queryParams", sink),
        port: fields.port("port", sink),
        source_labels: fields.labels("sourceLabels", sink),
        source_namespace: fields.string("sourceNamespace", sink),
        gateways: virtual_service::gateways(&fields, "gateways", sink),
    })
}

/// Whether a byte may stand in a header name; `@` opens Istio's claims, `[`, `]` and `:` stand in them.
fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~@[]:".contains(&b)
}

fn single(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<StringMatch> {
    let value = fields.get(key)?;
    string_match(value, fields.path_of(key), sink)
}

fn map(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Vec<(String, StringMatch)> {
    let mut out = Vec::new();
    for entry in fields.entries(key, sink) {
        let path = format!("{}.{}", fields.path_of(key), entry.key);
        // `end-user:` with nothing after it is a presence match in Istio as well.
        let matcher = match &entry.value.data {
            Data::Null => Some(StringMatch::Present),
            _ => string_match(&entry.value, path, sink),
        };
        out.extend(matcher.map(|matcher| (entry.key.clone(), matcher)));
    }
    // istiod's order.
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

fn string_match(value: &Value, path: String, sink: &mut Sink) -> Option<StringMatch> {
    let fields = Fields::open(value, path, STRING, sink)?;
    let given: Vec<&str> = ["exact", "prefix", "regex"]
        .into_iter()
        .filter(|k| fields.get(k).is_some())
        .collect();
    let [key] = given[..] else {
        if given.is_empty() {
            return Some(StringMatch::Present);
        }
        sink.error(
            fields.at,
            format!(
                "{} must have one of exact, prefix, regex, not {}",
                fields.path,
                given.len()
            ),
        );
        return None;
    };
    let text = fields.string(key, sink)?;
    Some(match key {
        "exact" => StringMatch::Exact(text),
        "prefix" => {
            if text.is_empty() {
                sink.error(
                    fields.place(key),
                    format!("{} must not be empty", fields.path_of(key)),
                );
            }
            StringMatch::Prefix(text)
        }
        _ if text == "*" => StringMatch::Present,
        _ => {
            if let Err(error) = regex::Regex::new(&text) {
                let error = error.to_string();
                let reason = error
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                sink.error(
                    fields.place(key),
                    format!(
                        "{} {text:?} is no regular expression: {reason}",
                        fields.path_of(key)
                    ),
                );
            }
            StringMatch::Regex(text)
        }
    })
}
