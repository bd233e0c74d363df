//! Who may do what: Envoy's role based access control (`envoy.config.rbac.v3.RBAC`), which is what Istio makes of
//! `AuthorizationPolicy`.
//!
//! An [`Rbac`] looks at the [`Facts`] of one request and comes to a [`Decision`]. It is total and knows three
//! [truths](Truth): what cannot be known here is neither true nor false, its negation neither, and it never lets anybody
//! in: DENY denies on it, and ALLOW passes on certainty alone.

mod cidr;
mod claims;
mod decide;
mod facts;
mod operation;
mod rule;
mod source;
mod template;
mod truth;

pub use cidr::{CidrRange, NotCidr};
pub use claims::{ClaimMatcher, MetadataSource, NotClaim, NumberMatcher, Value, ValueMatcher};
pub use decide::{
    Action, Decision, NotRules, Outcome, Policy, Rbac, RuleSet, ShadowRules, Verdict,
};
pub use facts::{Claims, Facts};
pub use operation::{NotPorts, Operation, PortRange};
pub use rule::{Permission, Principal, Rule};
pub use source::Source;
pub use template::{NotTemplate, UriTemplate};
pub use truth::Truth;
