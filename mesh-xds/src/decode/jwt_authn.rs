//! `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`: whose tokens are believed, and which requests need one.
//!
//! Everything in it decides. What is not known here is refused with its field path and never passed over: a field of a
//! newer protocol, an arm that is not served, and what Envoy would refuse. Without effect are, and may be, what only says
//! how fast it goes and what is counted: `jwt_cache_config`, `retry_policy`, `clear_route_cache` (nothing is routed behind
//! the filters of a server) and `stat_prefix`.

mod provider;
mod requirement;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    self as pb, JwtAuthentication, requirement_rule::RequirementType,
};
use mesh_core::jwt::{Provider, Requirement, Rule, Rules};
use prost::Message;

use super::{Faults, Invalid, message, route};

/// The providers by their names.
type Providers = BTreeMap<Arc<str>, Arc<Provider>>;

/// Decodes the configuration of the HTTP filter.
pub(crate) fn jwt_authn(bytes: &[u8]) -> Result<Rules, Invalid> {
    let filter: JwtAuthentication = message(bytes)?;
    // What a newer protocol adds may be a condition. What was on the wire twice and is kept once is found, too.
    if filter.encoded_len() != bytes.len() {
        let reason = "has fields that this version does not know, or one of them twice; it is not served in parts";
        return Err(Invalid::new("", reason));
    }
    let mut faults = Faults::default();
    if filter.filter_state_rules.is_some() {
        faults.add(unserved("filter_state_rules"));
    }
    let providers = providers(&filter, &mut faults);
    // Nothing else is of use without them, or would only repeat what is wrong.
    let providers = faults.or(Some(providers))?;
    let mut faults = Faults::default();
    let named = requirements(&filter, &providers, &mut faults);
    let rules = filter.rules.iter().enumerate().filter_map(|(at, wire)| {
        let decoded = rule(wire, &providers, &named);
        faults.take(decoded.map_err(|error| error.within(format_args!("rules[{at}]"))))
    });
    let rules: Vec<Rule> = rules.collect();
    faults.or(Some(Rules::new(
        providers.into_values(),
        rules,
        filter.bypass_cors_preflight,
        filter.strip_failure_response,
    )))
}

fn unserved(field: &str) -> Invalid {
    Invalid::new(
        field,
        "is not served, and authentication is not served in parts",
    )
}

/// All of them, by name, so that the same configuration is refused in the same words.
fn providers(filter: &JwtAuthentication, faults: &mut Faults) -> Providers {
    let wire: BTreeMap<_, _> = filter.providers.iter().collect();
    let decoded = wire.into_iter().filter_map(|(name, wire)| {
        let decoded = provider::decode(name, wire);
        let decoded = decoded.map_err(|error| error.within(format_args!("providers[{name:?}]")));
        Some((Arc::from(&**name), Arc::new(faults.take(decoded)?)))
    });
    decoded.collect()
}

/// `requirement_map`
fn requirements(
    filter: &JwtAuthentication,
    providers: &Providers,
    faults: &mut Faults,
) -> BTreeMap<String, Requirement> {
    let wire: BTreeMap<_, _> = filter.requirement_map.iter().collect();
    let decoded = wire.into_iter().filter_map(|(name, wire)| {
        let decoded = requirement::decode(wire, providers);
        let decoded =
            decoded.map_err(|error| error.within(format_args!("requirement_map[{name:?}]")));
        Some((name.clone(), faults.take(decoded)?))
    });
    decoded.collect()
}

fn rule(
    wire: &pb::RequirementRule,
    providers: &Providers,
    named: &BTreeMap<String, Requirement>,
) -> Result<Rule, Invalid> {
    let matched = wire.r#match.as_ref();
    let matched = matched.ok_or_else(|| Invalid::new("match", "is missing"))?;
    let matched = route::whole_match(matched).map_err(|error| error.within("match"))?;
    let requires = match &wire.requirement_type {
        None => Requirement::Nothing,
        Some(RequirementType::Requires(wire)) => {
            requirement::decode(wire, providers).map_err(|error| error.within("requires"))?
        }
        Some(RequirementType::RequirementName(name)) => {
            let requires = named.get(name).ok_or_else(|| {
                let reason = format_args!("{name:?} is not in requirement_map, or wrong there");
                Invalid::new("requirement_name", reason)
            })?;
            requires.clone()
        }
    };
    Ok(Rule {
        path: matched.path,
        headers: matched.headers,
        query: matched.query,
        cookies: matched.cookies,
        requires,
    })
}
