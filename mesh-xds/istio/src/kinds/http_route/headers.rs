//! `Headers`: what is set, added and removed in requests and responses.

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::{Position, Value};

/// Checked `headers`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    pub(crate) request: Operations,
    pub(crate) response: Operations,
    /// `Host` or `:authority` among what requests get: it is a rewrite of the host, not a header.
    pub(crate) authority: Option<String>,
}

/// Checked `HeaderOperations`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operations {
    /// In the order of names.
    pub(crate) set: Vec<(String, String)>,
    /// In the order of names.
    pub(crate) add: Vec<(String, String)>,
    pub(crate) remove: Vec<String>,
}

const HEADERS: Schema = Schema {
    served: &["request", "response"],
    unserved: &[],
};
const OPERATIONS: Schema = Schema {
    served: &["set", "add", "remove"],
    unserved: &[],
};

/// `headers` of a route or of a destination.
pub(super) fn decode(route: &Fields<'_>, sink: &mut Sink) -> Option<Headers> {
    let fields = Fields::open(
        route.get("headers")?,
        route.path_of("headers"),
        HEADERS,
        sink,
    )?;
    let mut authority = None;
    let mut request = Operations::default();
    let mut response = Operations::default();
    if let Some(value) = fields.get("request") {
        request = operations(value, fields.path_of("request"), Some(&mut authority), sink);
    }
    if let Some(value) = fields.get("response") {
        response = operations(value, fields.path_of("response"), None, sink);
    }
    Some(Headers {
        request,
        response,
        authority,
    })
}

fn operations(
    value: &Value,
    path: String,
    mut authority: Option<&mut Option<String>>,
    sink: &mut Sink,
) -> Operations {
    let Some(fields) = Fields::open(value, path, OPERATIONS, sink) else {
        return Operations::default();
    };
    let mut values = |key: &str, sink: &mut Sink| {
        let mut out = Vec::new();
        for (name, text) in fields.labels(key, sink) {
            let at = place(&fields, key, &name, sink);
            let path = format!("{}.{name}", fields.path_of(key));
            check_value(&text, &path, at, sink);
            match authority.as_deref_mut().filter(|_| is_authority(&name)) {
                Some(known @ None) => *known = Some(text),
                Some(Some(other)) => sink.error(
                    at,
                    format!("{path}: the authority is {other:?} already; it can be written once"),
                ),
                None => {
                    check_name(&name, &path, at, sink);
                    out.push((name, text));
                }
            }
        }
        out
    };
    let set = values("set", sink);
    let add = values("add", sink);
    let mut remove = Vec::new();
    for (name, at) in fields.strings("remove", sink) {
        check_name(&name, &fields.path_of("remove"), at, sink);
        remove.push(name);
    }
    Operations { set, add, remove }
}

fn place(fields: &Fields<'_>, key: &str, name: &str, sink: &mut Sink) -> Position {
    let entries = fields.entries(key, sink);
    let entry = entries.iter().find(|entry| entry.key == name);
    entry.map_or(fields.at, |entry| entry.at)
}

/// Whether a name stands for the host that is called.
fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// Whether a byte may stand in the name of a header (RFC 9110 section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(crate) fn check_name(name: &str, path: &str, at: Position, sink: &mut Sink) {
    if is_authority(name) || name.starts_with(':') {
        sink.error(
            at,
            format!("{path}: {name:?} cannot be changed; only the authority of a request can, by set, add or rewrite"),
        );
    } else if name.is_empty() || !name.bytes().all(is_token) {
        sink.error(at, format!("{path}: {name:?} is no header name"));
    }
}

pub(crate) fn check_value(value: &str, path: &str, at: Position, sink: &mut Sink) {
    if value.bytes().any(|b| b != b'\t' && b.is_ascii_control()) {
        sink.error(at, format!("{path}: {value:?} is no header value"));
    } else if !variables_are_closed(value) {
        sink.error(
            at,
            format!(
                "{path}: {value:?} has a % that opens no %VARIABLE%; write %% for the character"
            ),
        );
    }
}

/// Envoy's substitutions in values: `%%` is the character, else `%NAME%` or `%NAME(ARGUMENTS)%`.
fn variables_are_closed(value: &str) -> bool {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let Some(end) = after.find(['%', '(']) else {
            return false;
        };
        rest = &after[end..];
        if rest.starts_with('(') {
            let Some((_, after)) = rest.split_once(')') else {
                return false;
            };
            rest = after;
        }
        let Some((_, after)) = rest.split_once('%') else {
            return false;
        };
        rest = after;
    }
    true
}
