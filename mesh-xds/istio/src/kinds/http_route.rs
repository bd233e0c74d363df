//! `HTTPRoute`: what happens to the requests of some matches.

mod cors;
mod fault;
mod headers;
mod merge;
mod mirror;
mod redirect;
pub(crate) mod retries;
mod rewrite;
mod values;

use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};
use crate::diagnostic::Diagnostic;
use crate::host;
use crate::yaml::Value;

use super::http_match::{self, HttpMatch};
use super::virtual_service::Scope;

pub(crate) use cors::Cors;
pub(crate) use fault::{Fault, Status};
pub(crate) use headers::{Headers, Operations, check_name, check_value, is_token};
pub(crate) use merge::merge;
pub(crate) use mirror::Mirrors;
pub(crate) use redirect::{Body, DirectResponse, Redirect, RedirectPort};
pub(crate) use retries::{Retries, is_status};
pub(crate) use rewrite::{PathRewrite, Rewrite};
pub(crate) use values::Share;

/// A checked `HTTPRoute` that says itself what it does.
#[derive(Debug, Clone)]
pub(crate) struct HttpRoute {
    pub(crate) policy: Policy,
    pub(crate) action: Action,
}

/// A checked `HTTPRoute` that hands its requests to another object.
#[derive(Debug, Clone)]
pub(crate) struct Delegation {
    /// What the other object's routes inherit.
    pub(crate) policy: Policy,
    /// istiod lets a delegating route answer by itself, in the place of the destinations of the other object.
    pub(crate) answer: Option<DirectResponse>,
    pub(crate) name: String,
    /// That of the delegating object where nothing is said.
    pub(crate) namespace: Option<String>,
    /// For what is found out once all objects are known.
    pub(crate) note: Diagnostic,
}

/// An `HTTPRoute` as it stands in a file.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    Own(Box<HttpRoute>),
    Delegated(Box<Delegation>),
}

/// All of a route but where requests go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// One of them must hold; none: every request.
    pub(crate) matches: Vec<HttpMatch>,
    pub(crate) headers: Option<Headers>,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<Retries>,
    pub(crate) fault: Option<Fault>,
    pub(crate) mirrors: Mirrors,
    pub(crate) cors: Option<Cors>,
}

/// What a route does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Never empty.
    Forward(Vec<Destination>),
    Redirect(Redirect),
    Respond(DirectResponse),
}

/// `route[]`, and where a copy goes.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) host: String,
    pub(crate) subset: String,
    pub(crate) port: Option<u32>,
    pub(crate) weight: u32,
    pub(crate) headers: Option<Headers>,
}

impl Destination {
    /// Writes a short name in full.
    pub(crate) fn resolve(&mut self, namespace: &str) {
        self.host = host::resolve(&self.host, namespace);
    }
}

const ROUTE: Schema = Schema {
    served: &[
        "name",
        "match",
        "route",
        "redirect",
        "directResponse",
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
    unserved: &[],
};
const DESTINATION: Schema = Schema {
    served: &["destination", "weight", "headers"],
    unserved: &[],
};
const HOST: Schema = Schema {
    served: &["host", "subset", "port"],
    unserved: &[],
};
const PORT: Schema = Schema {
    served: &["number"],
    unserved: &[],
};
const DELEGATE: Schema = Schema {
    served: &["name", "namespace"],
    unserved: &[],
};

pub(super) fn decode(value: &Value, index: usize, scope: Scope, sink: &mut Sink) -> Option<Rule> {
    let fields = Fields::open(value, format!("spec.http[{index}]"), ROUTE, sink)?;
    let policy = policy(&fields, scope, sink);
    check_conflicts(&fields, &policy, sink);
    let kinds = ["route", "redirect", "directResponse", "delegate"];
    let given = kinds.into_iter().filter(|key| fields.get(key).is_some());
    let action = match given.collect::<Vec<_>>()[..] {
        ["route"] => Action::Forward(destinations(&fields, sink)),
        ["redirect"] => {
            let value = fields.get("redirect")?;
            Action::Redirect(redirect::redirect(value, fields.path_of("redirect"), sink)?)
        }
        ["directResponse"] => Action::Respond(direct_response(&fields, sink)?),
        ["delegate"] | ["directResponse", "delegate"] => {
            return delegation(&fields, policy, scope, sink);
        }
        ref given => {
            let (path, all) = (&fields.path, kinds.join(", "));
            let message = format!("{path} must have one of {all}, not {}", given.len());
            sink.error(fields.at, message);
            return None;
        }
    };
    Some(Rule::Own(Box::new(HttpRoute { policy, action })))
}

fn policy(fields: &Fields<'_>, scope: Scope, sink: &mut Sink) -> Policy {
    let mut matches = Vec::new();
    for (i, item) in fields.list("match", sink).iter().enumerate() {
        let path = format!("{}.match[{i}]", fields.path);
        matches.extend(http_match::decode(item, path, scope, sink));
    }
    let retries = |value| retries::decode(value, fields.path_of("retries"), sink);
    let retries = fields.get("retries").and_then(retries);
    Policy {
        name: fields.string("name", sink).unwrap_or_default(),
        matches,
        headers: headers::decode(fields, sink),
        rewrite: rewrite::decode(fields, sink),
        timeout: values::duration(fields, "timeout", sink),
        retries,
        fault: fault::decode(fields, sink),
        mirrors: mirror::decode(fields, sink),
        cors: cors::decode(fields, sink),
    }
}

/// Fields that exclude each other.
fn check_conflicts(fields: &Fields<'_>, policy: &Policy, sink: &mut Sink) {
    let path = &fields.path;
    for answer in ["redirect", "directResponse"] {
        for other in ["fault", "rewrite"] {
            let both = fields.get(answer).is_some() && fields.get(other).is_some();
            if both && fields.get("delegate").is_none() {
                sink.error(
                    fields.place(other),
                    format!("{path} may have {answer} or {other}, not both"),
                );
            }
        }
    }
    let rewritten = policy.rewrite.as_ref().and_then(|r| r.authority.as_ref());
    let set = policy.headers.as_ref().and_then(|h| h.authority.as_ref());
    if let (Some(first), Some(second)) = (rewritten, set) {
        sink.error(
            fields.place("headers"),
            format!("{path} writes the authority twice, as {first:?} in rewrite and as {second:?} in headers"),
        );
    }
}

fn direct_response(fields: &Fields<'_>, sink: &mut Sink) -> Option<DirectResponse> {
    let value = fields.get("directResponse")?;
    redirect::direct_response(value, fields.path_of("directResponse"), sink)
}

fn delegation(route: &Fields<'_>, policy: Policy, scope: Scope, sink: &mut Sink) -> Option<Rule> {
    let answer = direct_response(route, sink);
    let at = route.place("delegate");
    let path = route.path_of("delegate");
    if scope == Scope::Delegate {
        sink.error(
            at,
            format!(
                "{path}: an object without hosts is a delegate itself, and cannot name another"
            ),
        );
    }
    let fields = Fields::open(route.get("delegate")?, path.as_str(), DELEGATE, sink)?;
    let Some(name) = values::text(&fields, "name", sink) else {
        sink.error(fields.at, format!("{}.name is missing", fields.path));
        return None;
    };
    Some(Rule::Delegated(Box::new(Delegation {
        policy,
        answer,
        name,
        namespace: values::text(&fields, "namespace", sink),
        note: sink.later(at, path),
    })))
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
        let headers = headers::decode(&entry, sink);
        if entry.get("destination").is_none() {
            entry.lacks(
                "destination",
                entry.at,
                format!("{}.destination is missing", entry.path),
                sink,
            );
        }
        out.extend(target.map(|d| Destination {
            weight: weight.unwrap_or(0),
            headers,
            ..d
        }));
    }
    let path = fields.path_of("route");
    if items.is_empty() {
        fields.lacks(
            "route",
            fields.place("route"),
            format!("{path} must hold at least one destination"),
            sink,
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
        fields.lacks(
            "host",
            fields.at,
            format!("{}.host is missing", fields.path),
            sink,
        );
    } else if name == "*" {
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
        headers: None,
    })
}
