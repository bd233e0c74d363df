//! Rules of a `GRPCRoute`. The path of a call is `/SERVICE/METHOD`.

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

use super::super::http_match::{HttpMatch, StringMatch, check_regex};
use super::super::http_route::{HttpRoute, Mirrors, Policy};
use super::{Precedence, Ranked, Scene, backends, filters, forward, http};

const RULE: Schema = Schema {
    served: &["name", "matches", "filters", "backendRefs"],
    unserved: &["sessionPersistence"],
};
const MATCH: Schema = Schema {
    served: &["method", "headers"],
    unserved: &[],
};
const METHOD: Schema = Schema {
    served: &["type", "service", "method"],
    unserved: &[],
};

/// A rule, once for each of its matches.
pub(super) fn rule(
    item: &Value,
    at: usize,
    scene: &mut Scene<'_>,
    sink: &mut Sink,
) -> Option<Vec<Ranked>> {
    let fields = Fields::open(item, format!("spec.rules[{at}]"), RULE, sink)?;
    let name = scene.rule_name(&fields, at, sink);
    let mut matches = Vec::new();
    for (i, item) in fields.list("matches", sink).iter().enumerate() {
        let path = format!("{}.matches[{i}]", fields.path);
        if let Some(fields) = Fields::open(item, path, MATCH, sink) {
            matches.push(one(&fields, sink));
        }
    }
    if fields.list("matches", sink).is_empty() {
        matches.push(every_call());
    }
    let filters = filters::decode(&fields, filters::OF_GRPC, scene, sink);
    let action = forward(backends::decode(&fields, scene, sink));
    let policy = Policy {
        name,
        headers: filters.headers,
        mirrors: Mirrors {
            many: filters.mirrors,
            ..Mirrors::default()
        },
        ..Policy::default()
    };
    let ranked = |(call, precedence)| Ranked {
        precedence,
        route: HttpRoute {
            policy: Policy {
                matches: vec![call],
                ..policy.clone()
            },
            action: action.clone(),
        },
    };
    Some(matches.into_iter().map(ranked).collect())
}

fn every_call() -> (HttpMatch, Precedence) {
    let precedence = Precedence::Grpc {
        service_length: 0,
        method_length: 0,
        headers: 0,
    };
    (HttpMatch::default(), precedence)
}

fn one(fields: &Fields<'_>, sink: &mut Sink) -> (HttpMatch, Precedence) {
    let headers = http::headers(fields, sink);
    let (uri, service_length, method_length) = match fields.sub("method", METHOD, sink) {
        Some(method) => path(&method, sink),
        None => (None, 0, 0),
    };
    let precedence = Precedence::Grpc {
        service_length,
        method_length,
        headers: headers.len(),
    };
    let call = HttpMatch {
        uri,
        whole_segments: true,
        headers,
        ..HttpMatch::default()
    };
    (call, precedence)
}

/// The path that a `GRPCMethodMatch` means, and how much its two parts say.
fn path(fields: &Fields<'_>, sink: &mut Sink) -> (Option<StringMatch>, usize, usize) {
    let kind = fields.word("type", &["Exact", "RegularExpression"], sink);
    let part = |key: &str, sink: &mut Sink| {
        let text = fields.string(key, sink).filter(|text| !text.is_empty())?;
        let (path, at) = (fields.path_of(key), fields.place(key));
        if kind == Some("RegularExpression") {
            check_regex(&text, &path, at, sink);
        } else if !is_name(&text, key) {
            sink.error(at, format!("{path}: {text:?} is no name of a gRPC {key}"));
        }
        Some(text)
    };
    let (service, method) = (part("service", sink), part("method", sink));
    let lengths = [&service, &method].map(|part| part.as_ref().map_or(0, String::len));
    let uri = match (kind, &service, &method) {
        (_, None, None) => {
            let message = format!("{} must have service or method", fields.path);
            sink.error(fields.at, message);
            None
        }
        (Some("RegularExpression"), service, method) => {
            let service = service.as_deref().map_or_else(|| "[^/]+".to_owned(), group);
            let method = method.as_deref().map_or_else(|| ".+".to_owned(), group);
            Some(StringMatch::Regex(format!("/{service}/{method}")))
        }
        (_, Some(service), None) => Some(StringMatch::Prefix(format!("/{service}"))),
        (_, None, Some(method)) => Some(StringMatch::Regex(format!("/[^/]+/{method}"))),
        (_, Some(service), Some(method)) => {
            Some(StringMatch::Exact(format!("/{service}/{method}")))
        }
    };
    (uri, lengths[0], lengths[1])
}

/// A part of a longer expression: alternatives must not reach over its ends.
fn group(regex: &str) -> String {
    match regex.contains('|') {
        true => format!("(?:{regex})"),
        false => regex.to_owned(),
    }
}

/// `package.Service`, or `Method`.
fn is_name(text: &str, key: &str) -> bool {
    let mut parts = text.split('.');
    (key == "service" || !text.contains('.'))
        && parts.all(|part| {
            part.bytes().next().is_some_and(|b| !b.is_ascii_digit())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
}
