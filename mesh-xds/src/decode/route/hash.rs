//! `RouteAction.HashPolicy`.

use envoy_types::pb::envoy::config::route::v3::route_action::{
    HashPolicy as PbPolicy, hash_policy::PolicySpecifier,
};
use mesh_core::request::HeaderKey;
use mesh_core::route::{HashPolicies, HashPolicy, Hashed};

use super::ignored::Ignored;
use super::substitution;
use crate::decode::{Faults, Invalid};

pub(super) fn decode(
    policies: &[PbPolicy],
    ignored: &mut Ignored,
) -> Result<HashPolicies, Invalid> {
    let mut faults = Faults::default();
    let mut decoded = Vec::with_capacity(policies.len());
    for (at, policy) in policies.iter().enumerate() {
        match hashed(policy, ignored) {
            Ok(of) => decoded.extend(of.map(|of| HashPolicy {
                of,
                terminal: policy.terminal,
            })),
            Err(error) => faults.add(error.within(format_args!("hash_policy[{at}]"))),
        }
    }
    faults.or(Some(HashPolicies::new(decoded)))
}

/// `None` for a policy that never finds anything here.
fn hashed(policy: &PbPolicy, ignored: &mut Ignored) -> Result<Option<Hashed>, Invalid> {
    let named = |field: &str, name: &str| {
        if name.is_empty() {
            return Err(Invalid::new(field, "is empty"));
        }
        Ok(())
    };
    match &policy.policy_specifier {
        Some(PolicySpecifier::Header(header)) => {
            named("header.header_name", &header.header_name)?;
            let rewrite = header.regex_rewrite.as_ref();
            let rewrite = rewrite
                .map(|rewrite| substitution("header.regex_rewrite", rewrite))
                .transpose()?;
            let name = HeaderKey::parse(&header.header_name)
                .ok_or_else(|| Invalid::new("header.header_name", "holds a line break"))?;
            Ok(Some(Hashed::Header(name, rewrite)))
        }
        Some(PolicySpecifier::Cookie(cookie)) => {
            named("cookie.name", &cookie.name)?;
            if cookie.ttl.is_some() {
                ignored.add("hash_policy.cookie.ttl: no cookie is made where there is none");
            }
            Ok(Some(Hashed::Cookie(cookie.name.as_bytes().into())))
        }
        Some(PolicySpecifier::QueryParameter(parameter)) => {
            named("query_parameter.name", &parameter.name)?;
            let name = parameter.name.as_bytes().into();
            Ok(Some(Hashed::QueryParameter(name)))
        }
        Some(PolicySpecifier::FilterState(state)) => {
            named("filter_state.key", &state.key)?;
            ignored.add("hash_policy.filter_state finds nothing in a process");
            Ok(None)
        }
        Some(PolicySpecifier::ConnectionProperties(_)) => {
            ignored.add("hash_policy.connection_properties finds nothing in a process");
            Ok(None)
        }
        None => Err(Invalid::new("policy_specifier", "is missing")),
    }
}
