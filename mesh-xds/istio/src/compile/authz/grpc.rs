//! The policies of a workload as istiod tells servers of gRPC (its generator `grpc`): less than others are told.
//!
//! Policies without rules, AUDIT and what tokens are asked for are not in it; what is only tried is in it as if it were
//! not; and principals are of the trust domain that a policy names, aliases or not.

use super::*;

impl Policies<'_> {
    /// The filters of a server. Two filters of one name are refused there (gRFC A39).
    pub(in crate::compile) fn grpc(&self) -> Vec<http::HttpFilter> {
        use pb::rbac::Action as Does;
        let of = [
            (Action::Deny, Does::Deny, "envoy.filters.http.rbac.DENY"),
            (Action::Allow, Does::Allow, "envoy.filters.http.rbac"),
        ];
        let filters = of.into_iter().filter_map(|(action, does, name)| {
            let policies = self.of.get(&action)?;
            let rules = Rules {
                action: does.into(),
                policies: policies.iter().flat_map(|policy| told(policy)).collect(),
            };
            let rules = Some(rules).filter(|rules| !rules.policies.is_empty())?;
            let (_, type_url, value) = http_rbac(Some(rules), "", None);
            Some(http_filter((name, type_url, value)))
        });
        filters.collect()
    }
}

fn told(policy: &Named<AuthorizationPolicy>) -> impl Iterator<Item = (String, pb::Policy)> {
    let rules = policy.spec.rules.iter().enumerate();
    rules.map(|(at, rule)| {
        let name = format!("{}-{}-{at}", policy.namespace, policy.name);
        let from = rule.from.iter();
        let to = rule.to.iter();
        let told = pb::Policy {
            permissions: to.map(|terms| to::permission(terms.iter())).collect(),
            principals: from.map(|terms| from::as_written(terms.iter())).collect(),
            ..pb::Policy::default()
        };
        (name, told)
    })
}
