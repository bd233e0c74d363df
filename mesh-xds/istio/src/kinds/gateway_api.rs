//! `HTTPRoute` and `GRPCRoute` of Gateway API with services as parents (GAMMA): another way to write what a
//! `VirtualService` says, and the same values once it is read.

mod backends;
mod cors;
mod filters;
mod grpc;
mod http;
mod parents;
mod path;
mod values;

use crate::decode::{Fields, Schema, Sink};
use crate::diagnostic::Diagnostic;
use crate::yaml::{Position, Value};

use super::header::Header;
use super::http_route::{Action, Destination, DirectResponse, HttpRoute};

pub(crate) use parents::{Parent, Target};

/// A checked route of Gateway API.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// `metadata.creationTimestamp` in the form that Kubernetes writes, which sorts by time.
    pub(crate) created: Option<String>,
    pub(crate) parents: Vec<Parent>,
    /// One for each match of each rule, in the order of the file.
    pub(crate) rules: Vec<Ranked>,
    /// Everything that is forwarded to, to tell what does not exist.
    pub(crate) backends: Vec<Backend>,
}

/// A rule with one of its matches, and where it stands among the rules for one host.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    pub(crate) precedence: Precedence,
    pub(crate) route: HttpRoute,
}

/// A host that a rule names.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) host: String,
    pub(crate) note: Diagnostic,
}

/// What Gateway API compares of two matches, the more important first: the greater one is tried first
/// (`HTTPRouteRule.matches`, `GRPCRouteRule.matches`). Rules of a `GRPCRoute` come before those of an `HTTPRoute`, the
/// kind that is more specific for a service (GEP-1426).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precedence {
    Http {
        path: PathRank,
        /// In bytes.
        path_length: usize,
        method: bool,
        headers: usize,
        query: usize,
    },
    Grpc {
        service_length: usize,
        method_length: usize,
        headers: usize,
    },
}

/// The kinds of path matches; where a regular expression stands is ours to say, and as in istiod it is last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathRank {
    Regex,
    Prefix,
    Exact,
}

/// What the parts of an object have in common while it is read.
struct Scene<'a> {
    namespace: &'a str,
    name: &'a str,
    backends: Vec<Backend>,
}

const SPEC: Schema = Schema {
    served: &["parentRefs", "hostnames", "rules"],
    unserved: &["useDefaultGateways"],
};

pub(super) fn decode(header: &Header, document: &Value, sink: &mut Sink) -> Option<Route> {
    let Some(spec) = document.get("spec") else {
        sink.error(header.at, "spec is missing");
        return None;
    };
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    if let Some((_, at)) = fields.strings("hostnames", sink).first() {
        sink.note(
            *at,
            "spec.hostnames has no effect: the hosts of a route are those of the services in spec.parentRefs",
        );
    }
    let parents = parents::decode(&fields, &header.namespace, sink);
    let mut scene = Scene {
        namespace: &header.namespace,
        name: &header.name,
        backends: Vec::new(),
    };
    let mut rules = Vec::new();
    for (i, item) in fields.list("rules", sink).iter().enumerate() {
        let found = match header.kind.as_str() {
            "GRPCRoute" => grpc::rule(item, i, &mut scene, sink),
            _ => http::rule(item, i, &mut scene, sink),
        };
        rules.extend(found.into_iter().flatten());
    }
    Some(Route {
        created: created(header.at, document, sink),
        parents,
        rules,
        backends: scene.backends,
    })
}

fn created(at: Position, document: &Value, sink: &mut Sink) -> Option<String> {
    let value = document.get("metadata")?.get("creationTimestamp")?;
    let text = value.as_str().unwrap_or_default();
    let form = b"0000-00-00T00:00:00Z";
    let fits = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == *form,
    };
    if text.len() != form.len() || !text.bytes().zip(form).all(fits) {
        sink.error(
            at,
            "metadata.creationTimestamp must be a time such as 2026-01-31T12:00:00Z",
        );
        return None;
    }
    Some(text.to_owned())
}

impl Scene<'_> {
    /// The rule's own name, or one of the object and the rule's place in it.
    fn rule_name(&self, fields: &Fields<'_>, at: usize, sink: &mut Sink) -> String {
        let own = fields.string("name", sink);
        own.unwrap_or_else(|| format!("{}.{}.{at}", self.namespace, self.name))
    }
}

/// Where requests go: without a backend of any weight the answer is 500 (`HTTPRouteRule.backendRefs`).
fn forward(destinations: Vec<Destination>) -> Action {
    let weighty: Vec<_> = destinations.into_iter().filter(|d| d.weight > 0).collect();
    match weighty.is_empty() {
        true => Action::Respond(DirectResponse {
            status: 500,
            body: None,
        }),
        false => Action::Forward(weighty),
    }
}
