//! Rules of an `HTTPRoute`.

use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

use super::super::http_match::{HttpMatch, StringMatch, check_regex};
use super::super::http_route::{Action, HttpRoute, Mirrors, Policy, Retries, check_name};
use super::filters::Filters;
use super::path::PathModifier;
use super::{PathRank, Precedence, Ranked, Scene, backends, filters, forward, values};

const RULE: Schema = Schema {
    served: &[
        "name",
        "matches",
        "filters",
        "backendRefs",
        "timeouts",
        "retry",
    ],
    unserved: &["sessionPersistence"],
};
const MATCH: Schema = Schema {
    served: &["path", "headers", "queryParams", "method"],
    unserved: &[],
};
const PATH: Schema = Schema {
    served: &["type", "value"],
    unserved: &[],
};
const VALUE: Schema = Schema {
    served: &["type", "name", "value"],
    unserved: &[],
};
const TIMEOUTS: Schema = Schema {
    served: &["request", "backendRequest"],
    unserved: &[],
};
const RETRY: Schema = Schema {
    served: &["codes", "attempts", "backoff"],
    unserved: &[],
};

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// What a `retry` stands for beside its codes: calls that no server has worked on.
const UNDONE: &str = "connect-failure,refused-stream,unavailable,cancelled";
const ATTEMPTS: u32 = 2;

/// A rule, once for each of its matches.
pub(super) fn rule(
    item: &Value,
    at: usize,
    scene: &mut Scene<'_>,
    sink: &mut Sink,
) -> Option<Vec<Ranked>> {
    let fields = Fields::open(item, format!("spec.rules[{at}]"), RULE, sink)?;
    let name = scene.rule_name(&fields, at, sink);
    let matches = matches(&fields, sink);
    let filters = filters::decode(&fields, filters::OF_HTTP, scene, sink);
    let destinations = backends::decode(&fields, scene, sink);
    if filters.redirect.is_some() && !destinations.is_empty() {
        let message = format!(
            "{} may have RequestRedirect or backendRefs, not both",
            fields.path
        );
        sink.error(fields.place("backendRefs"), message);
    }
    check_prefix(&fields, &filters, &matches, sink);
    let (timeout, retries) = tries(&fields, sink);
    let policy = Policy {
        name,
        headers: filters.headers.clone(),
        timeout,
        retries,
        mirrors: Mirrors {
            many: filters.mirrors.clone(),
            ..Mirrors::default()
        },
        cors: filters.cors.clone(),
        ..Policy::default()
    };
    let forward = forward(destinations);
    let ranked = |(http, precedence): (HttpMatch, Precedence)| {
        let prefix = match &http.uri {
            Some(StringMatch::Prefix(prefix)) => prefix.clone(),
            _ => "/".to_owned(),
        };
        let policy = Policy {
            rewrite: filters.rewrite.as_ref().map(|to| to.with(&prefix)),
            matches: vec![http],
            ..policy.clone()
        };
        let action = match &filters.redirect {
            Some(to) => Action::Redirect(to.with(&prefix)),
            None => forward.clone(),
        };
        Ranked {
            precedence,
            route: HttpRoute { policy, action },
        }
    };
    Some(matches.into_iter().map(ranked).collect())
}

/// A prefix can be replaced where there is one: the rule must have one match, of a prefix.
fn check_prefix(
    rule: &Fields<'_>,
    filters: &Filters,
    matches: &[(HttpMatch, Precedence)],
    sink: &mut Sink,
) {
    let redirect = filters.redirect.as_ref().and_then(|to| to.path.as_ref());
    let path = redirect.or_else(|| filters.rewrite.as_ref().and_then(|to| to.path.as_ref()));
    let good = match matches {
        [(only, _)] => matches!(only.uri, Some(StringMatch::Prefix(_))),
        _ => false,
    };
    if matches!(path, Some(PathModifier::Prefix(_))) && !good {
        let message = format!(
            "{}: ReplacePrefixMatch needs exactly one match, of type PathPrefix",
            rule.path
        );
        sink.error(rule.place("filters"), message);
    }
}

/// Without any, every path (the API's default).
fn matches(rule: &Fields<'_>, sink: &mut Sink) -> Vec<(HttpMatch, Precedence)> {
    let items = rule.list("matches", sink);
    if items.is_empty() {
        return vec![every_path()];
    }
    let mut out = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let path = format!("{}.matches[{i}]", rule.path);
        if let Some(fields) = Fields::open(item, path, MATCH, sink) {
            out.push(one(&fields, sink));
        }
    }
    out
}

fn every_path() -> (HttpMatch, Precedence) {
    let http = HttpMatch {
        uri: Some(StringMatch::Prefix("/".to_owned())),
        whole_segments: true,
        ..HttpMatch::default()
    };
    let precedence = Precedence::Http {
        path: PathRank::Prefix,
        path_length: 1,
        method: false,
        headers: 0,
        query: 0,
    };
    (http, precedence)
}

fn one(fields: &Fields<'_>, sink: &mut Sink) -> (HttpMatch, Precedence) {
    let (uri, path, path_length) = path(fields, sink);
    let method = fields.word("method", METHODS, sink);
    let headers = headers(fields, sink);
    let query = pairs(fields, "queryParams", str::to_owned, sink);
    let precedence = Precedence::Http {
        path,
        path_length,
        method: method.is_some(),
        headers: headers.len(),
        query: query.len(),
    };
    let http = HttpMatch {
        uri: Some(uri),
        whole_segments: true,
        method: method.map(|method| StringMatch::Exact(method.to_owned())),
        headers,
        query,
        ..HttpMatch::default()
    };
    (http, precedence)
}

fn path(fields: &Fields<'_>, sink: &mut Sink) -> (StringMatch, PathRank, usize) {
    let fields = fields.sub("path", PATH, sink);
    let kinds = ["Exact", "PathPrefix", "RegularExpression"];
    let kind = fields.as_ref().and_then(|f| f.word("type", &kinds, sink));
    let text = fields.as_ref().and_then(|f| f.string("value", sink));
    let text = text.unwrap_or_else(|| "/".to_owned());
    if let Some(fields) = &fields {
        let at = fields.place("value");
        if kind == Some("RegularExpression") {
            check_regex(&text, &fields.path_of("value"), at, sink);
        } else if let Err(reason) = check_path(&text) {
            let path = fields.path_of("value");
            sink.error(at, format!("{path}: {text:?} {reason}"));
        }
    }
    match kind {
        Some("Exact") => (
            StringMatch::Exact(text.clone()),
            PathRank::Exact,
            text.len(),
        ),
        Some("RegularExpression") => (
            StringMatch::Regex(text.clone()),
            PathRank::Regex,
            text.len(),
        ),
        _ => {
            // A slash at the end says nothing.
            let text = match text.strip_suffix('/') {
                Some(shorter) if !shorter.is_empty() => shorter.to_owned(),
                _ => text,
            };
            let length = text.len();
            (StringMatch::Prefix(text), PathRank::Prefix, length)
        }
    }
}

/// What `HTTPPathMatch` asks of a path that is no regular expression.
fn check_path(path: &str) -> Result<(), &'static str> {
    let lower = path.to_ascii_lowercase();
    if !path.starts_with('/') {
        return Err("must start with /");
    }
    if ["//", "/./", "/../"].iter().any(|part| path.contains(part))
        || path.ends_with("/..")
        || path.ends_with("/.")
    {
        return Err("must have no empty segments, and none of . and ..");
    }
    if lower.contains("%2f") {
        return Err("must not hold %2F");
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@%".contains(&b);
    if !path.bytes().all(good) {
        return Err("holds what must be written as %XX in a path");
    }
    Ok(())
}

/// `headers` of a match, in the order of names.
pub(super) fn headers(fields: &Fields<'_>, sink: &mut Sink) -> Vec<(String, StringMatch)> {
    pairs(fields, "headers", str::to_ascii_lowercase, sink)
}

/// A list of names and values; of one name the first counts.
fn pairs(
    fields: &Fields<'_>,
    key: &str,
    spelled: impl Fn(&str) -> String,
    sink: &mut Sink,
) -> Vec<(String, StringMatch)> {
    let mut out: Vec<(String, StringMatch)> = Vec::new();
    for (i, item) in fields.list(key, sink).iter().enumerate() {
        let path = format!("{}[{i}]", fields.path_of(key));
        let Some(entry) = Fields::open(item, path, VALUE, sink) else {
            continue;
        };
        let kind = entry.word("type", &["Exact", "RegularExpression"], sink);
        let name = entry.string("name", sink).unwrap_or_default();
        let name = spelled(&name);
        if key == "queryParams" && name.is_empty() {
            sink.error(entry.at, format!("{}.name is missing", entry.path));
        } else if key == "headers" && name != "host" {
            check_name(&name, &entry.path_of("name"), entry.place("name"), sink);
        }
        let text = entry.string("value", sink).unwrap_or_default();
        let (at, path) = (entry.place("value"), entry.path_of("value"));
        let value = if kind == Some("RegularExpression") {
            check_regex(&text, &path, at, sink);
            StringMatch::Regex(text)
        } else {
            if text.is_empty() {
                sink.error(at, format!("{path} must not be empty"));
            }
            StringMatch::Exact(text)
        };
        if !out.iter().any(|(known, _)| *known == name) {
            out.push((name, value));
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

/// `timeouts` and `retry`: the timeout of a try is one of the whole call where nothing is said about tries.
fn tries(rule: &Fields<'_>, sink: &mut Sink) -> (Option<Duration>, Option<Retries>) {
    let timeouts = rule.sub("timeouts", TIMEOUTS, sink);
    let mut of = |key| {
        let fields = timeouts.as_ref()?;
        // Zero is without a limit.
        values::duration(fields, key, sink).filter(|d| !d.is_zero())
    };
    let (request, one) = (of("request"), of("backendRequest"));
    if let (Some(request), Some(one), Some(fields)) = (request, one, &timeouts)
        && one > request
    {
        let path = fields.path_of("backendRequest");
        let message = format!("{path} must not be more than request");
        sink.error(fields.place("backendRequest"), message);
    }
    match retry(rule, sink) {
        Some(retries) => {
            let per_try_timeout = one;
            (
                request,
                Some(Retries {
                    per_try_timeout,
                    ..retries
                }),
            )
        }
        None => (one.or(request), None),
    }
}

fn retry(rule: &Fields<'_>, sink: &mut Sink) -> Option<Retries> {
    let fields = rule.sub("retry", RETRY, sink)?;
    let mut retry_on = UNDONE.to_owned();
    for (i, code) in fields.list("codes", sink).iter().enumerate() {
        let path = format!("{}[{i}]", fields.path_of("codes"));
        if let Some(code) = crate::decode::integer(code, &path, 400, 599, sink) {
            retry_on.push_str(&format!(",{code}"));
        }
    }
    let attempts = fields.integer("attempts", 0, i32::MAX as u32, sink);
    let backoff = values::duration(&fields, "backoff", sink);
    Some(Retries {
        attempts: attempts.unwrap_or(ATTEMPTS),
        per_try_timeout: None,
        retry_on: Some(retry_on),
        // Envoy takes none of zero.
        backoff: backoff.filter(|d| !d.is_zero()),
        remote_localities: false,
        ignore_previous_hosts: None,
    })
}
