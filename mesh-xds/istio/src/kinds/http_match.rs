//! `HTTPMatchRequest` and `StringMatch`: which requests a route takes.

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::host;
use crate::yaml::{Data, Entry, Position, Value};

use super::http_route::is_token;
use super::virtual_service::{self, Scope};

/// A checked `HTTPMatchRequest`: all of its conditions must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpMatch {
    pub(crate) name: String,
    pub(crate) stat_prefix: String,
    pub(crate) uri: Option<StringMatch>,
    pub(crate) ignore_uri_case: bool,
    /// A prefix of the path is one of segments: `/a` takes `/a` and `/a/b`, not `/ab` (Gateway API's `PathPrefix`).
    pub(crate) whole_segments: bool,
    pub(crate) scheme: Option<StringMatch>,
    pub(crate) method: Option<StringMatch>,
    pub(crate) authority: Option<StringMatch>,
    pub(crate) headers: Vec<(String, StringMatch)>,
    pub(crate) without_headers: Vec<(String, StringMatch)>,
    /// `@request.auth.claims` among the two kinds of headers.
    pub(crate) claims: Vec<Claim>,
    pub(crate) query: Vec<(String, StringMatch)>,
    /// These decide whether a node sees the route at all.
    pub(crate) port: Option<u32>,
    pub(crate) source_labels: Labels,
    pub(crate) source_namespace: Option<String>,
    pub(crate) gateways: Vec<String>,
}

/// A condition on a token, which a gateway has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// As written in the rule.
    pub(crate) name: String,
    /// The claim, and those in it.
    pub(crate) path: Vec<String>,
    pub(crate) value: StringMatch,
    /// From `withoutHeaders`.
    pub(crate) invert: bool,
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
        "queryParams",
        "port",
        "sourceLabels",
        "sourceNamespace",
        "gateways",
        "statPrefix",
    ],
    unserved: &[],
};
const STRING: Schema = Schema {
    served: &["exact", "prefix", "regex"],
    unserved: &[],
};

/// HTTP/2's own, of which a request has four.
const PSEUDO: &[&str] = &[":method", ":scheme", ":authority", ":path", ":status"];

/// Istio's bound of a regular expression, below Envoy's on the program that it becomes.
const MAX_REGEX: usize = 1024;

pub(super) fn decode(
    value: &Value,
    path: String,
    scope: Scope,
    sink: &mut Sink,
) -> Option<HttpMatch> {
    let fields = Fields::open(value, path, MATCH, sink)?;
    let mut out = HttpMatch {
        name: fields.string("name", sink).unwrap_or_default(),
        stat_prefix: fields.string("statPrefix", sink).unwrap_or_default(),
        uri: uri(&fields, sink),
        ignore_uri_case: fields.bool("ignoreUriCase", sink),
        scheme: single(&fields, "scheme", sink),
        method: single(&fields, "method", sink),
        authority: single(&fields, "authority", sink),
        query: map(&fields, "queryParams", sink),
        port: fields.port("port", sink),
        source_labels: fields.labels("sourceLabels", sink),
        source_namespace: fields.string("sourceNamespace", sink),
        gateways: virtual_service::gateways(&fields, "gateways", sink),
        ..HttpMatch::default()
    };
    let namespace = out.source_namespace.as_deref().unwrap_or_default();
    if !namespace.is_empty() && host::check_label(namespace).is_err() {
        let path = fields.path_of("sourceNamespace");
        sink.error(
            fields.place("sourceNamespace"),
            format!("{path} must be a namespace, not {namespace:?}"),
        );
    }
    for key in ["headers", "withoutHeaders"] {
        for (name, value) in map(&fields, key, sink) {
            let entry = fields.entries(key, sink).iter().find(|e| e.key == name);
            let at = entry.map_or(fields.at, |entry: &Entry| entry.at);
            let invert = key == "withoutHeaders";
            match claim_path(&name) {
                Some(path) => {
                    check_claim(&value, &fields, (key, &name), scope, at, sink);
                    out.claims.push(Claim {
                        name,
                        path,
                        value,
                        invert,
                    });
                }
                None => {
                    check_name(&name, &fields.path_of(key), at, sink);
                    let list = match invert {
                        true => &mut out.without_headers,
                        false => &mut out.headers,
                    };
                    list.push((name, value));
                }
            }
        }
    }
    Some(out)
}

fn check_name(name: &str, path: &str, at: Position, sink: &mut Sink) {
    let good = !name.is_empty() && name.bytes().all(|b| is_token(b) && !b.is_ascii_uppercase());
    if !good && !PSEUDO.contains(&name) {
        sink.error(at, format!("{path}: {name:?} is no lower-case header name"));
    }
}

/// The claim that a name means: `@request.auth.claims.group.id` or `@request.auth.claims[group][id]`.
fn claim_path(name: &str) -> Option<Vec<String>> {
    const CLAIMS: &str = "@request.auth.claims";
    let (head, rest) = name.split_at_checked(CLAIMS.len())?;
    if !head.eq_ignore_ascii_case(CLAIMS) {
        return None;
    }
    let (inner, between) = match rest.strip_prefix('.') {
        Some(inner) => (inner, "."),
        None => (rest.strip_prefix('[')?.strip_suffix(']')?, "]["),
    };
    (!inner.is_empty()).then(|| inner.split(between).map(str::to_owned).collect())
}

fn check_claim(
    value: &StringMatch,
    fields: &Fields<'_>,
    (key, name): (&str, &str),
    scope: Scope,
    at: Position,
    sink: &mut Sink,
) {
    let path = fields.path_of(key);
    if scope != Scope::Gateways {
        sink.error(
            at,
            format!(
                "{path}: {name} is for gateways only; name them in spec.gateways, without mesh"
            ),
        );
    } else if *value == StringMatch::Present {
        sink.error(
            at,
            format!("{path}.{name} must have one of exact, prefix, regex"),
        );
    }
}

/// Unlike other texts a path may be asked to start with nothing, and `*` is not short for any.
fn uri(fields: &Fields<'_>, sink: &mut Sink) -> Option<StringMatch> {
    let value = fields.get("uri")?;
    let path = fields.path_of("uri");
    if value.get("prefix").and_then(Value::as_str) == Some("")
        && ["exact", "regex"]
            .iter()
            .all(|key| value.get(key).is_none())
    {
        Fields::open(value, path, STRING, sink)?;
        return Some(StringMatch::Prefix(String::new()));
    }
    if let Some(regex) = value.get("regex").filter(|r| r.as_str() == Some("*")) {
        check_regex("*", &format!("{path}.regex"), regex.at, sink);
    }
    string_match(value, path, sink)
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

pub(super) fn string_match(value: &Value, path: String, sink: &mut Sink) -> Option<StringMatch> {
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
            check_regex(&text, &fields.path_of(key), fields.place(key), sink);
            StringMatch::Regex(text)
        }
    })
}

/// A regular expression in the syntax of RE2.
pub(super) fn check_regex(
    text: &str,
    path: &str,
    at: Position,
    sink: &mut Sink,
) -> Option<regex::Regex> {
    if text.is_empty() || text.len() > MAX_REGEX {
        sink.error(
            at,
            format!(
                "{path} must have 1 to {MAX_REGEX} bytes, not {}",
                text.len()
            ),
        );
        return None;
    }
    match regex::Regex::new(text) {
        Ok(regex) => Some(regex),
        Err(error) => {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ");
            sink.error(
                at,
                format!("{path} {text:?} is no regular expression: {reason}"),
            );
            None
        }
    }
}
