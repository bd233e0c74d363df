//! What permissions and principals have in common: tests put together by and, or and not.

use super::operation::Operation;
use super::source::Source;
use super::truth::Truth;

/// A test, or several put together. How deep they nest is bounded where they become a
/// [`RuleSet`](super::RuleSet): evaluation recurses.
#[derive(Debug, Clone)]
pub enum Rule<T> {
    /// `any`: always so. There is no word for never but its negation, by which istiod writes a policy that allows nothing.
    Any,
    /// `and_rules`, `and_ids`. [`Truth::Unknown`] when empty.
    And(Box<[Self]>),
    /// `or_rules`, `or_ids`. [`Truth::Unknown`] when empty.
    Or(Box<[Self]>),
    /// `not_rule`, `not_id`
    Not(Box<Self>),
    /// One test.
    Is(T),
}

/// `envoy.config.rbac.v3.Permission`: what is done.
pub type Permission = Rule<Operation>;

/// `envoy.config.rbac.v3.Principal`: who does it.
pub type Principal = Rule<Source>;

impl<T> Rule<T> {
    /// How many tests and sets it is made of. `None` when they nest deeper than that.
    pub(super) fn count(&self, depth: usize) -> Option<usize> {
        let inner = depth.checked_sub(1)?;
        let sum = |rules: &[Self]| {
            let counts = rules.iter().map(|rule| rule.count(inner));
            counts.sum::<Option<usize>>()
        };
        let below = match self {
            Self::Any | Self::Is(_) => 0,
            Self::And(rules) | Self::Or(rules) => sum(rules)?,
            Self::Not(rule) => rule.count(inner)?,
        };
        Some(below + 1)
    }

    pub(super) fn holds(&self, test: &impl Fn(&T) -> Truth) -> Truth {
        match self {
            Self::Any => Truth::Yes,
            Self::And(rules) => Truth::all(rules.iter().map(|rule| rule.holds(test))),
            Self::Or(rules) => Truth::any(rules.iter().map(|rule| rule.holds(test))),
            Self::Not(rule) => !rule.holds(test),
            Self::Is(one) => test(one),
        }
    }
}
