//! `HTTPRoute`: what happens to the requests of some matches.

use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};
use crate::host;
use crate::yaml::Value;

use super::http_match::{self, HttpMatch};

/// A checked `HTTPRoute`.
#[derive(Debug, Clone)]
pub(crate) struct HttpRoute {
    pub(crate) name: String,
    /// One of them must hold; none: every request.
    pub(crate) matches: Vec<HttpMatch>,
    pub(crate) action: Action,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<Retries>,
}

/// What a route does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Forward(Vec<Destination>),
    Redirect(Redirect),
    DirectResponse {
        status: u32,
        body: Option<String>,
    },
    /// `delegate`: the routes of another object, which are not merged in yet.
    Delegate,
}

/// `route[]`.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) host: String,
    pub(crate) subset: String,
    pub(crate) port: Option<u32>,
    pub(crate) weight: u32,
}

/// `redirect`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redirect {
    pub(crate) uri: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) scheme: Option<String>,
    pub(crate) port: Option<u32>,
    pub(crate) code: u32,
}

/// `retries`.
#[derive(Debug, Clone)]
pub(crate) struct Retries {
    pub(crate) attempts: u32,
    pub(crate) per_try_timeout: Option<Duration>,
    pub(crate) retry_on: Option<String>,
    pub(crate) backoff: Option<Duration>,
}

const ROUTE: Schema = Schema {
    served: &["name", "match", "route", "directResponse"],
    unserved: &[
        "redirect",
        "delegate",
        "rewrite",
        "timeout",
        "retries",
        "fault",
        "mirror",
        "mirrors",
        "mirrorPercentage",
        "mirrorPercent",
        "mirror_percent",
        "corsPolicy",
        "headers",
    ],
};
const DESTINATION: Schema = Schema {
    served: &["destination", "weight"],
    unserved: &["headers"],
};
const HOST: Schema = Schema {
    served: &["host", "subset", "port"],
    unserved: &[],
};
const PORT: Schema = Schema {
    served: &["number"],
    unserved: &[],
};
const REDIRECT: Schema = Schema {
    served: &[
        "uri",
        "authority",
        "scheme",
        "port",
        "derivePort",
        "redirectCode",
    ],
    unserved: &["prefixRewrite"],
};
const DIRECT: Schema = Schema {
    served: &["status", "body"],
    unserved: &[],
};
const BODY: Schema = Schema {
    served: &["string"],
    unserved: &["bytes"],
};
const RETRIES: Schema = Schema {
    served: &["attempts", "perTryTimeout", "retryOn", "backoff"],
    unserved: &["retryRemoteLocalities", "retryIgnorePreviousHosts"],
};

pub(super) fn decode(value: &Value, index: usize, sink: &mut Sink) -> Option<HttpRoute> {
    let fields = Fields::open(value, format!("spec.http[{index}]"), ROUTE, sink)?;
    let name = fields.string("name", sink).unwrap_or_default();
    let mut matches = Vec::new();
    for (i, item) in fields.list("match", sink).iter().enumerate() {
        matches.extend(http_match::decode(
            item,
            format!("{}.match[{i}]", fields.path),
            sink,
        ));
    }
    let timeout = fields.duration("timeout", sink);
    let retries = fields
        .get("retries")
        .and_then(|v| retries(v, fields.path_of("retries"), sink));
    let action = action(&fields, sink)?;
    Some(HttpRoute {
        name,
        matches,
        action,
        timeout,
        retries,
    })
}

fn action(fields: &Fields<'_>, sink: &mut Sink) -> Option<Action> {
    let kinds = ["route", "redirect", "directResponse", "delegate"];
    let given: Vec<&str> = kinds
        .into_iter()
        .filter(|k| fields.get(k).is_some())
        .collect();
    let [key] = given[..] else {
        let path = &fields.path;
        sink.error(
            fields.at,
            format!(
                "{path} must have one of {}, not {}",
                kinds.join(", "),
                given.len()
            ),
        );
        return None;
    };
    let value = fields.get(key)?;
    match key {
        "route" => Some(Action::Forward(destinations(fields, sink))),
        "redirect" => redirect(value, fields.path_of(key), sink).map(Action::Redirect),
        "directResponse" => direct_response(value, fields.path_of(key), sink),
        _ => Some(Action::Delegate),
    }
}

fn destinations(fields: &Fields<'_>, sink: &mut Sink) -> Vec<Destination> {
    let items = fields.list("route", sink);
    let mut out = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let path = format!("{}.route[{i}]", fields.path);
        let Some(entry) = Fields::open(item, path, DESTINATION, sink) else {
            continue;
        };
        let weight = entry.integer("weight", 0, i32::MAX as u32, sink);
        let target = entry
            .get("destination")
            .and_then(|v| destination(v, entry.path_of("destination"), sink));
        if entry.get("destination").is_none() {
            sink.error(entry.at, format!("{}.destination is missing", entry.path));
        }
        out.extend(target.map(|d| Destination {
            weight: weight.unwrap_or(0),
            ..d
        }));
    }
    let path = fields.path_of("route");
    if items.is_empty() {
        sink.error(
            fields.place("route"),
            format!("{path} must hold at least one destination"),
        );
    }
    let total: u64 = out.iter().map(|d| u64::from(d.weight)).sum();
    if items.len() > 1 && out.len() == items.len() && (total == 0 || total > u64::from(u32::MAX)) {
        let at = fields.place("route");
        sink.error(
            at,
            format!(
                "{path}: the weights add up to {total}; allowed are 1 to {}",
                u32::MAX
            ),
        );
    }
    out
}

fn destination(value: &Value, path: String, sink: &mut Sink) -> Option<Destination> {
    let fields = Fields::open(value, path, HOST, sink)?;
    let name = fields.string("host", sink).unwrap_or_default();
    if fields.get("host").is_none() {
        sink.error(fields.at, format!("{}.host is missing", fields.path));
    } else if name.starts_with('*') {
        sink.error(
            fields.place("host"),
            format!("{}.host must be one host, not {name:?}", fields.path),
        );
    } else if let Err(reason) = host::check_wildcard(&name) {
        sink.error(
            fields.place("host"),
            format!("{}.host: {reason}", fields.path),
        );
    }
    let subset = fields.string("subset", sink).unwrap_or_default();
    let port = fields.get("port").and_then(|v| {
        let port = Fields::open(v, fields.path_of("port"), PORT, sink)?;
        port.port("number", sink)
    });
    Some(Destination {
        host: name.to_ascii_lowercase(),
        subset,
        port,
        weight: 0,
    })
}

fn redirect(value: &Value, path: String, sink: &mut Sink) -> Option<Redirect> {
    let fields = Fields::open(value, path, REDIRECT, sink)?;
    let code = fields
        .integer("redirectCode", 301, 308, sink)
        .unwrap_or(301);
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        let path = fields.path_of("redirectCode");
        sink.error(
            fields.place("redirectCode"),
            format!("{path} must be one of 301, 302, 303, 307, 308, not {code}"),
        );
    }
    fields.word(
        "derivePort",
        &["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"],
        sink,
    );
    Some(Redirect {
        uri: fields.string("uri", sink),
        authority: fields.string("authority", sink),
        scheme: fields.string("scheme", sink),
        port: fields.port("port", sink),
        code,
    })
}

fn direct_response(value: &Value, path: String, sink: &mut Sink) -> Option<Action> {
    let fields = Fields::open(value, path, DIRECT, sink)?;
    if fields.get("status").is_none() {
        sink.error(fields.at, format!("{}.status is missing", fields.path));
    }
    // Envoy's bounds of DirectResponseAction.status.
    let status = fields.integer("status", 200, 599, sink)?;
    let body = fields.get("body").and_then(|v| {
        let body = Fields::open(v, fields.path_of("body"), BODY, sink)?;
        body.string("string", sink)
    });
    Some(Action::DirectResponse { status, body })
}

pub(crate) fn retries(value: &Value, path: String, sink: &mut Sink) -> Option<Retries> {
    let fields = Fields::open(value, path, RETRIES, sink)?;
    Some(Retries {
        // protobuf's default of an absent int32; istiod then turns retries off.
        attempts: fields
            .integer("attempts", 0, i32::MAX as u32, sink)
            .unwrap_or(0),
        per_try_timeout: fields.duration("perTryTimeout", sink),
        retry_on: fields.string("retryOn", sink),
        backoff: fields.duration("backoff", sink),
    })
}
