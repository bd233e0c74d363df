//! `match_typed_subject_alt_names`, `match_subject_alt_names`: whom a peer's certificate must name.
//!
//! A matcher meets names of one type. One that came without its type has the type of its text, and a part of a text has
//! none: but for the beginning of an id, which is a whole trust domain where that is all.

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    SubjectAltNameMatcher, subject_alt_name_matcher::SanType,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    StringMatcher as PbString, string_matcher::MatchPattern,
};
use mesh_core::identity::{PeerRule, SanMatcher, TrustDomain};
use mesh_core::matcher::StringMatcher;

use super::Unfit;
use crate::decode::Invalid;

const SPIFFE: &str = "spiffe://";

/// One entry of a list.
enum One {
    Domain(TrustDomain),
    Name(SanMatcher),
}

/// The rule of the lists, `None` where both are empty. Envoy looks at the older list only without the newer one.
pub(super) fn rule(
    typed: &[SubjectAltNameMatcher],
    untyped: &[PbString],
) -> Result<Option<PeerRule>, Unfit> {
    let mut all = Vec::with_capacity(typed.len().max(untyped.len()));
    for (at, matcher) in typed.iter().enumerate() {
        let path = format!("match_typed_subject_alt_names[{at}]");
        all.push(of_type(matcher).map_err(|unfit| unfit.within(&path))?);
    }
    if typed.is_empty() {
        for (at, matcher) in untyped.iter().enumerate() {
            let path = format!("match_subject_alt_names[{at}]");
            all.push(of_text(matcher).map_err(|unfit| unfit.within(&path))?);
        }
    }
    if all.is_empty() {
        return Ok(None);
    }
    let domain = |one: &One| match one {
        One::Domain(domain) => Some(domain.clone()),
        One::Name(_) => None,
    };
    if let Some(domains) = all.iter().map(domain).collect::<Option<Vec<_>>>() {
        return Ok(Some(PeerRule::Domains(domains.into())));
    }
    let matcher = |one| match one {
        One::Name(matcher) => matcher,
        // Ids are read strictly before they are matched, so that the slash ends the domain.
        One::Domain(domain) => SanMatcher::Uri(StringMatcher::Prefix(
            format!("{SPIFFE}{domain}/").into_bytes().into(),
        )),
    };
    Ok(Some(PeerRule::OneOf(
        all.into_iter().map(matcher).collect(),
    )))
}

fn of_type(wire: &SubjectAltNameMatcher) -> Result<One, Unfit> {
    let Some(matcher) = &wire.matcher else {
        return Err(Invalid::new("matcher", "is missing").into());
    };
    let kind = SanType::try_from(wire.san_type).unwrap_or(SanType::Unspecified);
    let name = match kind {
        SanType::Unspecified => {
            let reason = format_args!("{} is no type of name", wire.san_type);
            return Err(Invalid::new("san_type", reason).into());
        }
        SanType::Email | SanType::OtherName => {
            let kind = kind.as_str_name();
            return Unfit::not_served(format!("san_type: {kind} is not served"));
        }
        SanType::Uri => match of_ids(matcher)? {
            Some(one) => return Ok(one),
            None => {
                let text = exact_in_case(matcher)?;
                let exact = StringMatcher::Exact(text.as_bytes().into());
                Some(SanMatcher::Uri(exact))
            }
        },
        SanType::Dns => exact(matcher)?.parse().ok().map(SanMatcher::Dns),
        SanType::IpAddress => exact(matcher)?.parse().ok().map(SanMatcher::Ip),
    };
    match name {
        Some(name) => Ok(One::Name(name)),
        None => Unfit::not_served(format!(
            "matcher: {:?} is no {}",
            exact(matcher)?,
            kind.as_str_name()
        )),
    }
}

fn of_text(wire: &PbString) -> Result<One, Unfit> {
    if let Some(one) = of_ids(wire)? {
        return Ok(one);
    }
    let text = match exact(wire)? {
        id if id.contains("://") => exact_in_case(wire)?,
        name => name,
    };
    match SanMatcher::untyped(text) {
        Ok(matcher) => Ok(One::Name(matcher)),
        Err(error) => Unfit::not_served(error.to_string()),
    }
}

/// A prefix of ids that holds a whole trust domain. One that ends within it would take look-alikes.
fn of_ids(wire: &PbString) -> Result<Option<One>, Unfit> {
    let Some(MatchPattern::Prefix(prefix)) = &wire.match_pattern else {
        return Ok(None);
    };
    let parts = prefix.strip_prefix(SPIFFE);
    let parts = parts.and_then(|rest| rest.split_once('/'));
    let parts = parts.and_then(|(domain, path)| Some((domain.parse().ok()?, path)));
    match parts {
        _ if wire.ignore_case => case(),
        Some((domain, "")) => Ok(Some(One::Domain(domain))),
        Some(_) => {
            let prefix = StringMatcher::Prefix(prefix.as_bytes().into());
            Ok(Some(One::Name(SanMatcher::Uri(prefix))))
        }
        None => Unfit::not_served(format!(
            "prefix: {prefix:?} does not begin with a whole trust domain (spiffe://<domain>/)"
        )),
    }
}

fn exact(wire: &PbString) -> Result<&str, Unfit> {
    match &wire.match_pattern {
        Some(MatchPattern::Exact(text)) => Ok(text),
        None => Err(Invalid::new("match_pattern", "is missing").into()),
        Some(_) => {
            Unfit::not_served("only an exact name is served, and a prefix of ids of a trust domain")
        }
    }
}

fn exact_in_case(wire: &PbString) -> Result<&str, Unfit> {
    match wire.ignore_case {
        true => case(),
        false => exact(wire),
    }
}

fn case<T>() -> Result<T, Unfit> {
    Unfit::not_served("ignore_case: ids are compared byte by byte")
}
