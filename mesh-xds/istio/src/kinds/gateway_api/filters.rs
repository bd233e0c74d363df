//! `filters` of rules and backends: what is changed on the way, copied, or answered at once.

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

use super::super::http_route::{
    self, Cors, Destination, Headers, Operations, Redirect, RedirectPort, Rewrite, Share,
};
use super::path::{self, PathModifier};
use super::{Scene, backends, cors};

/// The filters of a rule, or of a backend.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) headers: Option<Headers>,
    pub(super) redirect: Option<RedirectFilter>,
    pub(super) rewrite: Option<RewriteFilter>,
    pub(super) mirrors: Vec<(Destination, Option<Share>)>,
    pub(super) cors: Option<Cors>,
}

/// A checked `HTTPRequestRedirectFilter`.
#[derive(Debug)]
pub(super) struct RedirectFilter {
    redirect: Redirect,
    pub(super) path: Option<PathModifier>,
}

/// A checked `HTTPURLRewriteFilter`.
#[derive(Debug)]
pub(super) struct RewriteFilter {
    authority: Option<String>,
    pub(super) path: Option<PathModifier>,
}

const REQUEST: &str = "RequestHeaderModifier";
const RESPONSE: &str = "ResponseHeaderModifier";
const REDIRECT: &str = "RequestRedirect";
const REWRITE: &str = "URLRewrite";
const MIRROR: &str = "RequestMirror";
const CORS: &str = "CORS";

pub(super) const OF_HTTP: &[&str] = &[REQUEST, RESPONSE, REDIRECT, REWRITE, MIRROR, CORS];
pub(super) const OF_GRPC: &[&str] = &[REQUEST, RESPONSE, MIRROR];
/// Those of one backend among others.
pub(super) const OF_BACKEND: &[&str] = &[REQUEST, RESPONSE];

const FILTER: Schema = Schema {
    served: &[
        "type",
        "requestHeaderModifier",
        "responseHeaderModifier",
        "requestRedirect",
        "urlRewrite",
        "requestMirror",
        "cors",
        // Known names of which the type says that they are not served.
        "extensionRef",
        "externalAuth",
    ],
    unserved: &[],
};
const MODIFIER: Schema = Schema {
    served: &["set", "add", "remove"],
    unserved: &[],
};
const HEADER: Schema = Schema {
    served: &["name", "value"],
    unserved: &[],
};
const REDIRECT_TO: Schema = Schema {
    served: &["scheme", "hostname", "path", "port", "statusCode"],
    unserved: &[],
};
const REWRITE_TO: Schema = Schema {
    served: &["hostname", "path"],
    unserved: &[],
};
const MIRROR_TO: Schema = Schema {
    served: &["backendRef", "percent", "fraction"],
    unserved: &[],
};
const FRACTION: Schema = Schema {
    served: &["numerator", "denominator"],
    unserved: &[],
};

/// The field that goes with a type.
fn key_of(kind: &str) -> &'static str {
    match kind {
        REQUEST => "requestHeaderModifier",
        RESPONSE => "responseHeaderModifier",
        REDIRECT => "requestRedirect",
        REWRITE => "urlRewrite",
        MIRROR => "requestMirror",
        _ => "cors",
    }
}

/// `filters`: a filter that is not served is an error, because a request must not pass it by (`HTTPRouteFilter`).
pub(super) fn decode(
    of: &Fields<'_>,
    allowed: &[&'static str],
    scene: &mut Scene<'_>,
    sink: &mut Sink,
) -> Filters {
    let mut out = Filters::default();
    let mut seen = Vec::new();
    for (i, item) in of.list("filters", sink).iter().enumerate() {
        let path = format!("{}.filters[{i}]", of.path);
        let Some(fields) = Fields::open(item, path, FILTER, sink) else {
            continue;
        };
        if fields.get("type").is_none() {
            sink.error(fields.at, format!("{}.type is missing", fields.path));
        }
        let Some(kind) = fields.word("type", allowed, sink) else {
            continue;
        };
        let key = key_of(kind);
        let others = FILTER.served.iter().filter(|k| **k != "type" && **k != key);
        for other in others.filter(|other| fields.get(other).is_some()) {
            let message = format!("{} of type {kind} may not have {other}", fields.path);
            sink.error(fields.place(other), message);
        }
        if kind != MIRROR && seen.contains(&kind) {
            let message = format!("{}: {kind} stands there twice", fields.path);
            sink.error(fields.place("type"), message);
        }
        seen.push(kind);
        match fields.get(key) {
            Some(value) => one(kind, value, fields.path_of(key), &mut out, scene, sink),
            None => sink.error(fields.at, format!("{}.{key} is missing", fields.path)),
        }
    }
    if out.redirect.is_some() && out.rewrite.is_some() {
        let path = of.path_of("filters");
        let message = format!("{path} may have {REDIRECT} or {REWRITE}, not both");
        sink.error(of.place("filters"), message);
    }
    out
}

fn one(
    kind: &str,
    value: &Value,
    path: String,
    out: &mut Filters,
    scene: &mut Scene<'_>,
    sink: &mut Sink,
) {
    match kind {
        REQUEST => {
            let headers = out.headers.get_or_insert_default();
            headers.request = modifier(value, path, Some(&mut headers.authority), sink);
        }
        RESPONSE => {
            let headers = out.headers.get_or_insert_default();
            headers.response = modifier(value, path, None, sink);
        }
        REDIRECT => out.redirect = redirect(value, path, sink),
        REWRITE => out.rewrite = rewrite(value, path, sink),
        MIRROR => out.mirrors.extend(mirror(value, path, scene, sink)),
        _ => out.cors = cors::decode(value, path, sink),
    }
}

/// An `HTTPHeaderFilter`.
fn modifier(
    value: &Value,
    path: String,
    mut authority: Option<&mut Option<String>>,
    sink: &mut Sink,
) -> Operations {
    let Some(fields) = Fields::open(value, path, MODIFIER, sink) else {
        return Operations::default();
    };
    let mut values = |key: &str, sink: &mut Sink| {
        let mut out: Vec<(String, String)> = Vec::new();
        for (i, item) in fields.list(key, sink).iter().enumerate() {
            let path = format!("{}[{i}]", fields.path_of(key));
            let Some(header) = Fields::open(item, path, HEADER, sink) else {
                continue;
            };
            let name = header.string("name", sink).unwrap_or_default();
            let name = name.to_ascii_lowercase();
            let text = header.string("value", sink).unwrap_or_default();
            http_route::check_value(&text, &header.path_of("value"), header.place("value"), sink);
            if let Some(authority) = authority.as_deref_mut().filter(|_| name == "host") {
                authority.get_or_insert(text);
                continue;
            }
            http_route::check_name(&name, &header.path_of("name"), header.place("name"), sink);
            // Of one name in any case the first counts.
            if !out.iter().any(|(known, _)| *known == name) {
                out.push((name, text));
            }
        }
        out.sort();
        out
    };
    let (set, add) = (values("set", sink), values("add", sink));
    let mut remove = Vec::new();
    for (name, at) in fields.strings("remove", sink) {
        http_route::check_name(&name, &fields.path_of("remove"), at, sink);
        remove.push(name);
    }
    Operations { set, add, remove }
}

fn redirect(value: &Value, path: String, sink: &mut Sink) -> Option<RedirectFilter> {
    let fields = Fields::open(value, path, REDIRECT_TO, sink)?;
    let code = fields.integer("statusCode", 0, 599, sink).unwrap_or(302);
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        let path = fields.path_of("statusCode");
        sink.error(
            fields.place("statusCode"),
            format!("{path} must be one of 301, 302, 303, 307, 308, not {code}"),
        );
    }
    let scheme = fields.word("scheme", &["http", "https"], sink);
    let port = match (fields.port("port", sink), scheme) {
        (Some(port), _) => RedirectPort::Number(port),
        (None, Some(_)) => RedirectPort::OfScheme,
        (None, None) => RedirectPort::OfRequest,
    };
    Some(RedirectFilter {
        redirect: Redirect {
            uri: None,
            rewrite: None,
            authority: fields.string("hostname", sink),
            scheme,
            port,
            code,
        },
        path: path::decode(&fields, sink),
    })
}

impl RedirectFilter {
    /// The redirect for a match with this prefix.
    pub(super) fn with(&self, prefix: &str) -> Redirect {
        let mut out = self.redirect.clone();
        match &self.path {
            Some(PathModifier::Full(path)) => out.uri = Some(path.clone()),
            Some(path) => out.rewrite = path.rewrite(prefix),
            None => {}
        }
        out
    }
}

fn rewrite(value: &Value, path: String, sink: &mut Sink) -> Option<RewriteFilter> {
    let fields = Fields::open(value, path, REWRITE_TO, sink)?;
    Some(RewriteFilter {
        authority: fields.string("hostname", sink),
        path: path::decode(&fields, sink),
    })
}

impl RewriteFilter {
    /// The rewrite for a match with this prefix.
    pub(super) fn with(&self, prefix: &str) -> Rewrite {
        Rewrite {
            path: self.path.as_ref().and_then(|path| path.rewrite(prefix)),
            authority: self.authority.clone(),
        }
    }
}

fn mirror(
    value: &Value,
    path: String,
    scene: &mut Scene<'_>,
    sink: &mut Sink,
) -> Option<(Destination, Option<Share>)> {
    let fields = Fields::open(value, path, MIRROR_TO, sink)?;
    fields.at_most_one(&["percent", "fraction"], sink);
    let percent = fields.integer("percent", 0, 100, sink);
    let share = percent.map(|percent| Share::Millionths(percent * 10_000));
    let share = share.or_else(|| fraction(&fields, sink));
    let Some(to) = fields.get("backendRef") else {
        sink.error(fields.at, format!("{}.backendRef is missing", fields.path));
        return None;
    };
    let to = backends::copy(to, fields.path_of("backendRef"), scene, sink)?;
    Some((to, share))
}

fn fraction(mirror: &Fields<'_>, sink: &mut Sink) -> Option<Share> {
    let fields = mirror.sub("fraction", FRACTION, sink)?;
    let most = i32::MAX as u32;
    let above = fields.integer("numerator", 0, most, sink).unwrap_or(0);
    let below = fields.integer("denominator", 1, most, sink).unwrap_or(100);
    if above > below {
        let message = format!("{} must not be more than 1", fields.path);
        sink.error(fields.at, message);
        return None;
    }
    let millionths = u64::from(above) * 1_000_000 / u64::from(below);
    u32::try_from(millionths).ok().map(Share::Millionths)
}
