//! `AuthorizationPolicy`: who may call what.

mod condition;
mod custom;
mod source;
mod values;

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::yaml::Value;

use super::header::Header;
use super::peer_authentication::selector;
pub(crate) use values::{Account, Both, Cidr, MetadataValue, Path, Pattern};

/// A checked `AuthorizationPolicy`.
#[derive(Debug, Clone)]
pub(crate) struct AuthorizationPolicy {
    /// The workloads that it is for; empty for all of its namespace, or of the mesh in the root namespace.
    pub(crate) selector: Labels,
    pub(crate) action: Action,
    /// `provider.name`: who is asked, of those with the action CUSTOM.
    pub(crate) provider: Option<String>,
    /// Whether it is told what it would do, and does nothing (`istio.io/dry-run`).
    pub(crate) dry_run: bool,
    /// Without a rule it matches nothing.
    pub(crate) rules: Vec<Rule>,
}

/// What becomes of a request that a policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// Somebody else is asked.
    Custom,
    /// It is told of.
    Audit,
    /// It is refused.
    Deny,
    /// It is let through, and what no policy matches is not.
    Allow,
}

/// Matches a call if one of `from` and one of `to` do; each of these is what must hold together.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) from: Vec<Vec<From>>,
    pub(crate) to: Vec<Vec<To>>,
}

/// What must hold of a caller: one of the values, and none of those that are excluded.
#[derive(Debug, Clone)]
pub(crate) enum From {
    /// `principals`: service accounts with their trust domain, `*` at either end.
    Principal(Both<String>),
    /// `requestPrincipals`: issuer and subject of a token.
    RequestPrincipal(Both<String>),
    /// `serviceAccounts`.
    Account(Both<Account>),
    /// `trustDomains`.
    TrustDomain(Both<String>),
    /// `namespaces`, with `*` for any text.
    Namespace(Both<String>),
    /// `remoteIpBlocks`: whom the request says that it is from.
    Remote(Both<Cidr>),
    /// `ipBlocks`: whom the connection is from.
    Direct(Both<Cidr>),
    /// `request.headers[..]`.
    Header(String, Both<Pattern>),
    /// `request.auth.claims[..]`, its names from the outermost; audiences and presenter.
    Claim(Vec<String>, Both<Pattern>),
}

/// What must hold of a call.
#[derive(Debug, Clone)]
pub(crate) enum To {
    Host(Both<Pattern>),
    Method(Both<Pattern>),
    Path(Both<Path>),
    Port(Both<u32>),
    /// `destination.ip`
    Address(Both<Cidr>),
    /// `connection.sni`
    Sni(Both<Pattern>),
    /// `experimental.envoy.filters.FILTER[KEY]`
    Metadata {
        filter: String,
        key: String,
        values: Both<MetadataValue>,
    },
}

const SPEC: Schema = Schema {
    served: &[
        "selector",
        "action",
        "rules",
        "provider",
        "targetRef",
        "targetRefs",
    ],
    unserved: &[],
};
const RULE: Schema = Schema {
    served: &["from", "to", "when"],
    unserved: &[],
};

/// Reads the document; without a spec it allows nothing.
pub(crate) fn decode(
    header: &Header,
    document: &Value,
    sink: &mut Sink,
) -> Option<AuthorizationPolicy> {
    let dry_run = dry_run(document, sink);
    let Some(spec) = document.get("spec") else {
        return Some(AuthorizationPolicy {
            selector: Labels::new(),
            action: Action::Allow,
            provider: None,
            dry_run,
            rules: Vec::new(),
        });
    };
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    for key in ["targetRef", "targetRefs"] {
        if fields.get(key).is_some() {
            let message =
                format!("spec.{key} is not served: the policy would hold for others than it says");
            sink.error(fields.place(key), message);
        }
    }
    let action = action(&fields, sink);
    if let (true, Some(other @ (Action::Audit | Action::Custom))) = (dry_run, action) {
        let message = match other {
            Action::Audit => {
                "spec.action AUDIT does nothing to try: the annotation istio.io/dry-run goes with ALLOW and DENY"
            }
            _ => {
                "spec.action CUSTOM is not tried: the annotation istio.io/dry-run goes with ALLOW and DENY"
            }
        };
        sink.error(fields.place("action"), message);
    }
    let provider = custom::provider(&fields, action, sink);
    let items = fields.list("rules", sink);
    if action == Some(Action::Deny) && fields.get("rules").is_none() {
        let message = "spec.rules is missing: a DENY without rules refuses nothing; write {} as a rule to refuse everything";
        fields.lacks("rules", fields.place("action"), message, sink);
    }
    let mut rules = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        let rule = rule(header, item, &path, sink);
        if action == Some(Action::Custom) {
            custom::check(rule.as_ref(), item.at, &path, sink);
        }
        rules.extend(rule);
    }
    Some(AuthorizationPolicy {
        selector: selector(&fields, sink),
        action: action?,
        provider,
        dry_run,
        rules,
    })
}

fn action(fields: &Fields<'_>, sink: &mut Sink) -> Option<Action> {
    if fields.get("action").is_none() {
        return Some(Action::Allow);
    }
    match fields.word("action", &["ALLOW", "DENY", "AUDIT", "CUSTOM"], sink)? {
        "ALLOW" => Some(Action::Allow),
        "DENY" => Some(Action::Deny),
        "AUDIT" => Some(Action::Audit),
        _ => Some(Action::Custom),
    }
}

/// Go's words for true and false.
fn dry_run(document: &Value, sink: &mut Sink) -> bool {
    let metadata = document.get("metadata");
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    let Some(said) = annotations.and_then(|annotations| annotations.get("istio.io/dry-run")) else {
        return false;
    };
    match said.as_str() {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        _ => {
            let message = "the annotation istio.io/dry-run must be \"true\" or \"false\"";
            sink.error(said.at, message);
            false
        }
    }
}

fn rule(header: &Header, item: &Value, path: &str, sink: &mut Sink) -> Option<Rule> {
    let fields = Fields::open(item, path, RULE, sink)?;
    let (mut callers, mut calls) = (Vec::new(), Vec::new());
    for (i, item) in fields.list("when", sink).iter().enumerate() {
        let path = format!("{path}.when[{i}]");
        match condition::decode(header, item, &path, sink) {
            Some(condition::Condition::From(term)) => callers.push(term),
            Some(condition::Condition::To(term)) => calls.push(term),
            None => {}
        }
    }
    let from = alternatives(&fields, "from", callers, sink, |item, path, sink| {
        source::source(header, item, path, sink)
    });
    let to = alternatives(&fields, "to", calls, sink, source::operation);
    Some(Rule { from, to })
}

/// Each item with what holds for all of them; these alone where there is no list.
fn alternatives<T: Clone>(
    fields: &Fields<'_>,
    key: &str,
    common: Vec<T>,
    sink: &mut Sink,
    read: impl Fn(&Value, &str, &mut Sink) -> Vec<T>,
) -> Vec<Vec<T>> {
    if fields.get(key).is_none() {
        return vec![common];
    }
    let items = fields.list(key, sink);
    if items.is_empty() {
        let message = format!("{} must hold at least one entry", fields.path_of(key));
        sink.error(fields.place(key), message);
    }
    let mut out = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let mut all = read(item, &format!("{}[{i}]", fields.path_of(key)), sink);
        all.extend(common.iter().cloned());
        out.push(all);
    }
    out
}
