//! Policies, sets of them, and what becomes of a request.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::facts::Facts;
use super::rule::{Permission, Principal};
use super::truth::Truth;

/// How deep the rules of a policy may nest.
const DEEPEST: usize = 64;

/// How many tests a set of policies may have: those that a control plane sends are held in memory.
const MOST: usize = 100_000;

/// `envoy.config.rbac.v3.Policy`: met when one of the permissions and one of the principals is.
#[derive(Debug, Clone)]
pub struct Policy {
    permissions: Box<[Permission]>,
    principals: Box<[Principal]>,
    tests: usize,
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

/// What is no policy, or no set of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRules {
    /// Envoy refuses it (`min_items` of `permissions`). As a denial that never denies it would be a mistake unseen.
    #[error("the policy has no permissions; `any` is the one for everything")]
    NoPermissions,
    /// The same of `principals`.
    #[error("the policy has no principals; `any` is the one for everybody")]
    NoPrincipals,
    /// Its rules nest too deep.
    #[error("the rules of the policy nest more than {DEEPEST} deep")]
    Deep,
    /// A policy lost would be a denial lost.
    #[error("two policies have the name {0:?}")]
    SameName(Box<str>),
    /// It takes too much memory.
    #[error("the policies have {0} tests; {MOST} are served, put them into fewer or wider ones")]
    Large(usize),
}

/// `envoy.extensions.filters.http.rbac.v3.RBAC`: what is enforced, and what is tried.
#[derive(Debug, Clone)]
pub struct Rbac {
    rules: Option<RuleSet>,
    shadow: Option<ShadowRules>,
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
    /// The first policy that was certainly met.
    pub met: Option<&'a str>,
    /// Without one: the first policy of which nobody here can tell. It is why [`Action::Deny`] denies then, and it may be
    /// what [`Action::Allow`] lacked.
    pub unsure: Option<&'a str>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether it goes on.
    pub verdict: Verdict,
    /// What the rules that are enforced say, if there are any.
    pub enforced: Option<Outcome<'a>>,
    /// What the rules that are only tried say.
    pub shadow: Option<Outcome<'a>>,
}

impl Policy {
    /// A policy for those who do one of these things and are one of these.
    ///
    /// # Errors
    /// When one of the lists is empty, or a rule nests too deep.
    pub fn new(
        permissions: impl IntoIterator<Item = Permission>,
        principals: impl IntoIterator<Item = Principal>,
    ) -> Result<Self, NotRules> {
        let permissions: Box<[_]> = permissions.into_iter().collect();
        let principals: Box<[_]> = principals.into_iter().collect();
        if permissions.is_empty() {
            return Err(NotRules::NoPermissions);
        }
        if principals.is_empty() {
            return Err(NotRules::NoPrincipals);
        }
        let done = permissions.iter().map(|rule| rule.count(DEEPEST));
        let by = principals.iter().map(|rule| rule.count(DEEPEST));
        let tests = done.chain(by).sum::<Option<usize>>();
        Ok(Self {
            tests: tests.ok_or(NotRules::Deep)?,
            permissions,
            principals,
        })
    }

    fn is_met(&self, facts: &Facts<'_>) -> Truth {
        let done = |rule: &Permission| rule.holds(&|operation| operation.holds(facts));
        let by = |rule: &Principal| rule.holds(&|source| source.holds(facts));
        match Truth::any(self.permissions.iter().map(done)) {
            Truth::No => Truth::No,
            done => Truth::all([done, Truth::any(self.principals.iter().map(by))]),
        }
    }
}

impl RuleSet {
    /// Policies by their names.
    ///
    /// # Errors
    /// When two have one name, or they are too large together.
    pub fn new(
        action: Action,
        policies: impl IntoIterator<Item = (Box<str>, Policy)>,
    ) -> Result<Self, NotRules> {
        let mut by_name = BTreeMap::new();
        let mut tests = 0_usize;
        for (name, policy) in policies {
            tests = tests.saturating_add(policy.tests);
            match by_name.entry(name) {
                Entry::Vacant(vacant) => vacant.insert(policy),
                Entry::Occupied(taken) => return Err(NotRules::SameName(taken.key().clone())),
            };
        }
        if tests > MOST {
            return Err(NotRules::Large(tests));
        }
        Ok(Self {
            action,
            policies: by_name.into_iter().collect(),
        })
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
        let (mut met, mut unsure) = (None, None);
        for (name, policy) in &self.policies {
            match policy.is_met(facts) {
                Truth::No => {}
                Truth::Unknown => unsure = unsure.or(Some(&**name)),
                Truth::Yes => {
                    (met, unsure) = (Some(&**name), None);
                    break;
                }
            }
        }
        let verdict = match (self.action, met, unsure) {
            (Action::Allow, Some(_), _) | (Action::Deny, None, None) | (Action::Log, ..) => {
                Verdict::Pass
            }
            (Action::Allow, None, _) | (Action::Deny, ..) => Verdict::Deny,
        };
        Outcome {
            verdict,
            met,
            unsure,
        }
    }
}

impl Rbac {
    /// Rules that are enforced and rules that are tried. Without any of the first everybody passes, which is what Envoy
    /// makes of a filter without `rules`: whoever reads it from a configuration must have refused what he does not know.
    pub const fn new(rules: Option<RuleSet>, shadow: Option<ShadowRules>) -> Self {
        Self { rules, shadow }
    }

    /// The rules that are enforced.
    pub const fn rules(&self) -> Option<&RuleSet> {
        self.rules.as_ref()
    }

    /// The rules that are only tried: Istio's dry run, and the choice of those that an external authorizer is asked about.
    pub const fn shadow(&self) -> Option<&ShadowRules> {
        self.shadow.as_ref()
    }

    /// What becomes of a request.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision<'_> {
        let enforced = self.rules.as_ref().map(|rules| rules.judge(facts));
        let shadow = self.shadow.as_ref().map(|shadow| shadow.rules.judge(facts));
        Decision {
            verdict: enforced.map_or(Verdict::Pass, |outcome| outcome.verdict),
            enforced,
            shadow,
        }
    }
}
