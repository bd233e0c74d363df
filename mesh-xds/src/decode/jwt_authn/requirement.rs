//! `JwtRequirement`

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtRequirement, jwt_requirement::RequiresType,
};
use mesh_core::jwt::{Audiences, Otherwise, Provider, Requirement};

use super::{Providers, unserved};
use crate::decode::{Faults, Invalid};

pub(super) fn decode(wire: &JwtRequirement, providers: &Providers) -> Result<Requirement, Invalid> {
    match &wire.requires_type {
        // Envoy: an empty message asks for nothing.
        None => Ok(Requirement::Nothing),
        Some(RequiresType::ProviderName(name)) => {
            let provider = named(name, providers).map_err(|error| error.within("provider_name"))?;
            Ok(Requirement::Provider(provider))
        }
        Some(RequiresType::ProviderAndAudiences(wire)) => {
            let provider = named(&wire.provider_name, providers);
            let provider =
                provider.map_err(|error| error.within("provider_and_audiences.provider_name"))?;
            let audiences = Audiences::of(wire.audiences.iter().map(String::as_str));
            Ok(match audiences {
                Some(audiences) => Requirement::ProviderAndAudiences(provider, audiences),
                None => Requirement::Provider(provider),
            })
        }
        Some(RequiresType::RequiresAny(list)) => {
            any(&list.requirements, providers).map_err(|error| error.within("requires_any"))
        }
        Some(RequiresType::RequiresAll(list)) => {
            let all = each(list.requirements.iter(), list.requirements.len(), providers);
            all.map(Requirement::All)
                .map_err(|error| error.within("requires_all"))
        }
        Some(RequiresType::AllowMissing(_)) => Ok(Requirement::AllowMissing(all(providers))),
        Some(RequiresType::AllowMissingOrFailed(_)) => {
            Ok(Requirement::AllowMissingOrFailed(all(providers)))
        }
        // Claims that nobody has proved would be told to the application in the headers of proved ones.
        Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
            Err(unserved("extract_only_without_validation"))
        }
    }
}

fn named(name: &str, providers: &Providers) -> Result<Arc<Provider>, Invalid> {
    let provider = providers.get(name).cloned();
    provider.ok_or_else(|| Invalid::new("", format_args!("{name:?} is not among the providers")))
}

fn all(providers: &Providers) -> Arc<[Arc<Provider>]> {
    providers.values().cloned().collect()
}

/// The proto demands two at least, of which some may be the `allow_..`.
fn each<'a>(
    wire: impl Iterator<Item = &'a JwtRequirement>,
    length: usize,
    providers: &Providers,
) -> Result<Box<[Requirement]>, Invalid> {
    if length < 2 {
        return Err(Invalid::new("requirements", "are fewer than two"));
    }
    let mut faults = Faults::default();
    let decoded = wire.enumerate().filter_map(|(at, wire)| {
        let decoded = decode(wire, providers);
        faults.take(decoded.map_err(|error| error.within(format_args!("requirements[{at}]"))))
    });
    let decoded = decoded.collect();
    faults.or(Some(decoded))
}

/// The `allow_..` among them are no requirements of their own, unless there are no others (Envoy).
fn any(wire: &[JwtRequirement], providers: &Providers) -> Result<Requirement, Invalid> {
    let mut otherwise = Otherwise::Refused;
    let mut others = Vec::new();
    for one in wire {
        match one.requires_type {
            Some(RequiresType::AllowMissingOrFailed(_)) => otherwise = Otherwise::MissingOrFailed,
            Some(RequiresType::AllowMissing(_)) if otherwise == Otherwise::Refused => {
                otherwise = Otherwise::Missing;
            }
            Some(RequiresType::AllowMissing(_)) => {}
            _ => others.push(one),
        }
    }
    let of = each(others.iter().copied(), wire.len(), providers)?;
    Ok(match (of.is_empty(), otherwise) {
        (true, Otherwise::MissingOrFailed) => Requirement::AllowMissingOrFailed(all(providers)),
        (true, Otherwise::Missing) => Requirement::AllowMissing(all(providers)),
        _ => Requirement::Any { of, otherwise },
    })
}
