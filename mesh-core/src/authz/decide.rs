//! Policies, sets of them, and what becomes of a request.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::rule::{Permission, Principal};
use super::truth::Truth;

/// `envoy.config.rbac.v3.Policy`: met when one of the permissions and one of the principals is.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What is done. None is never met.
    pub permissions: Box<[Permission]>,
    /// Who does it. None is never met.
    pub principals: Box<[Principal]>,
}

/// `envoy.config.rbac.v3.RBAC.Action`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Whom a policy certainly meets passes; nobody else does.
    Allow,
    /// Whom no policy meets passes; what cannot be known is a reason to deny.
    Deny,
    /// All pass; that a policy was met is told.
    Log,
}

/// `envoy.config.rbac.v3.RBAC`: policies with one action. They are looked at by the order of their names.
#[derive(Debug, Clone)]
pub struct RuleSet {
    action: Action,
    policies: Box<[(Box<str>, Policy)]>,
}

/// `envoy.extensions.filters.http.rbac.v3.RBAC`: what is enforced, and what is tried.
#[derive(Debug, Clone)]
pub struct Rbac {
    /// `rules`: nothing is enforced without them.
    pub rules: Option<RuleSet>,
    /// `shadow_rules`: they decide nothing, and their outcome is told (Istio's dry run, and the choice of those that an
    /// external authorizer is asked about).
    pub shadow: Option<ShadowRules>,
}

/// Rules that are tried.
#[derive(Debug, Clone)]
pub struct ShadowRules {
    /// `shadow_rules_stat_prefix`: before the names under which their outcome is told.
    pub prefix: Box<str>,
    /// The rules.
    pub rules: RuleSet,
}

/// Whether a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It does.
    Pass,
    /// It does not.
    Deny,
}

/// What a set of rules says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// Whether it goes on.
    pub verdict: Verdict,
    /// The policy that was met. For [`Action::Deny`] it may be one of which that is not known.
    pub policy: Option<&'a str>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether it goes on.
    pub verdict: Verdict,
    /// The policy that was met.
    pub policy: Option<&'a str>,
    /// What the rules that are only tried say.
    pub shadow: Option<Outcome<'a>>,
}

impl Policy {
    fn is_met(&self, facts: &Facts<'_>) -> Truth {
        // An empty list is never met; `any` of nothing would not be known.
        if self.permissions.is_empty() || self.principals.is_empty() {
            return Truth::No;
        }
        let done = |rule: &Permission| rule.holds(&|operation| operation.holds(facts));
        let by = |rule: &Principal| rule.holds(&|source| source.holds(facts));
        match Truth::any(self.permissions.iter().map(done)) {
            Truth::No => Truth::No,
            done => Truth::all([done, Truth::any(self.principals.iter().map(by))]),
        }
    }
}

impl RuleSet {
    /// Policies by their names. Of those with one name the last counts.
    pub fn new(action: Action, policies: impl IntoIterator<Item = (Box<str>, Policy)>) -> Self {
        let by_name: BTreeMap<Box<str>, Policy> = policies.into_iter().collect();
        Self {
            action,
            policies: by_name.into_iter().collect(),
        }
    }

    /// What is done with those whom a policy meets.
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The names of the policies in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|(name, _)| &**name)
    }

    /// What the rules say.
    pub fn judge(&self, facts: &Facts<'_>) -> Outcome<'_> {
        let counts = |truth: Truth| match self.action {
            Action::Allow | Action::Log => truth == Truth::Yes,
            Action::Deny => truth != Truth::No,
        };
        let mut policies = self.policies.iter();
        let met = policies.find(|(_, policy)| counts(policy.is_met(facts)));
        let policy = met.map(|(name, _)| &**name);
        let verdict = match (self.action, policy) {
            (Action::Allow, Some(_)) | (Action::Deny, None) | (Action::Log, _) => Verdict::Pass,
            (Action::Allow, None) | (Action::Deny, Some(_)) => Verdict::Deny,
        };
        Outcome { verdict, policy }
    }
}

impl Rbac {
    /// What becomes of a request.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision<'_> {
        let enforced = self.rules.as_ref().map(|rules| rules.judge(facts));
        let shadow = self.shadow.as_ref().map(|shadow| shadow.rules.judge(facts));
        Decision {
            verdict: enforced.map_or(Verdict::Pass, |outcome| outcome.verdict),
            policy: enforced.and_then(|outcome| outcome.policy),
            shadow,
        }
    }
}
