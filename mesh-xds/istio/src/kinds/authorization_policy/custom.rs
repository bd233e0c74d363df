//! What the action `CUSTOM` demands, and what its rules may not say.

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Position;

use super::{Action, From, Rule};

const PROVIDER: Schema = Schema {
    served: &["name"],
    unserved: &[],
};

/// `provider.name`, which policies of this action have, and no others.
pub(super) fn provider(
    fields: &Fields<'_>,
    action: Option<Action>,
    sink: &mut Sink,
) -> Option<String> {
    let provider = fields.sub("provider", PROVIDER, sink);
    let is_custom = action == Some(Action::Custom);
    if fields.get("provider").is_some() && !is_custom {
        let message = "spec.provider goes with the action CUSTOM alone";
        sink.error(fields.place("provider"), message);
        return None;
    }
    if !is_custom {
        return None;
    }
    if fields.get("rules").is_none() {
        let message = "spec.rules is missing: a CUSTOM without rules asks about nobody; write {} as a rule to ask about everything";
        fields.lacks("rules", fields.place("action"), message, sink);
    }
    let name = provider.and_then(|provider| provider.string("name", sink));
    let name = name.filter(|name| !name.is_empty());
    if name.is_none() {
        fields.lacks(
            "provider",
            fields.place("action"),
            "spec.provider.name is missing",
            sink,
        );
    }
    name
}

/// istiod takes no rules of this action that speak of who the caller is: that is for the authorizer.
pub(super) fn check(rule: Option<&Rule>, at: Position, path: &str, sink: &mut Sink) {
    let terms = rule.iter().flat_map(|rule| rule.from.iter().flatten());
    let named = terms.filter_map(|term| match term {
        From::Principal(_) => Some("principals"),
        From::RequestPrincipal(_) => Some("requestPrincipals"),
        From::Account(_) => Some("serviceAccounts"),
        From::TrustDomain(_) => Some("trustDomains"),
        From::Namespace(_) => Some("namespaces"),
        From::Claim(..) => Some("claims of tokens"),
        From::Remote(_) | From::Direct(_) | From::Header(..) => None,
    });
    if let Some(what) = named.into_iter().next() {
        let message = format!("{path} has {what}, which the action CUSTOM does not take");
        sink.error(at, message);
    }
}
