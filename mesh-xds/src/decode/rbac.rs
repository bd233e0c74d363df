//! `envoy.extensions.filters.http.rbac.v3.RBAC`: who may do what.
//!
//! Everything in it decides. What is not known here is refused with its field path and never passed over: a field of a
//! newer protocol, a value of an enumeration, an extension, an arm that is not served, and what Envoy would refuse.

mod permission;
mod principal;
#[cfg(test)]
mod tests;

use envoy_types::pb::envoy::config::core::v3::CidrRange as PbRange;
use envoy_types::pb::envoy::config::rbac::v3::{
    self as pb, MetadataSource as PbSource, rbac::audit_logging_options::AuditCondition,
};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as Filter;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    DoubleMatcher, MetadataMatcher, PathMatcher, ValueMatcher as PbValue, double_matcher,
    list_matcher, metadata_matcher::path_segment::Segment, path_matcher, value_matcher,
};
use mesh_core::authz::{
    Action, CidrRange, ClaimMatcher, MetadataSource, NumberMatcher, Policy, Rbac, Rule, RuleSet,
    ShadowRules, ValueMatcher,
};
use mesh_core::matcher::StringMatcher;
use prost::Message;

use super::matcher::string;
use super::{Faults, Invalid, message};

/// Decodes the configuration of the HTTP filter. Names for statistics have no effect.
pub(crate) fn rbac(bytes: &[u8]) -> Result<Rbac, Invalid> {
    let filter: Filter = whole(bytes)?;
    let mut faults = Faults::default();
    // They win over `rules` and `shadow_rules` in Envoy, so these cannot be had beside them.
    let unserved = [
        ("matcher", filter.matcher.is_some()),
        ("shadow_matcher", filter.shadow_matcher.is_some()),
    ];
    refuse(&unserved, &mut faults);
    let within = |rules: &Option<pb::Rbac>, field: &str, faults: &mut Faults| {
        let decoded = rules.as_ref().map(|one| rule_set(one));
        faults.take(decoded.transpose().map_err(|error| error.within(field)))
    };
    let rules = within(&filter.rules, "rules", &mut faults);
    let shadow = within(&filter.shadow_rules, "shadow_rules", &mut faults);
    let (rules, shadow) = faults.or(rules.zip(shadow))?;
    let shadow = shadow.map(|rules| ShadowRules {
        prefix: filter.shadow_rules_stat_prefix.into(),
        rules,
    });
    Ok(Rbac::new(rules, shadow))
}

/// A message of which each field is known: what a newer protocol adds may be a condition. What was on the wire twice and
/// is kept once is found, too. Messages inside of an `Any` are looked at when they are decoded.
fn whole<M: Message + Default>(bytes: &[u8]) -> Result<M, Invalid> {
    let decoded: M = message(bytes)?;
    match decoded.encoded_len() == bytes.len() {
        true => Ok(decoded),
        false => Err(Invalid::new(
            "",
            "has fields that this version does not know, or one of them twice; it is not served in parts",
        )),
    }
}

fn unserved(field: &str) -> Invalid {
    Invalid::new(field, "is not served, and rules are not served in parts")
}

fn refuse(fields: &[(&str, bool)], faults: &mut Faults) {
    for (field, _) in fields.iter().filter(|(_, is_set)| *is_set) {
        faults.add(unserved(field));
    }
}

fn rule_set(wire: &pb::Rbac) -> Result<RuleSet, Invalid> {
    let mut faults = Faults::default();
    let action = match pb::rbac::Action::try_from(wire.action) {
        Ok(pb::rbac::Action::Allow) => Some(Action::Allow),
        Ok(pb::rbac::Action::Deny) => Some(Action::Deny),
        Ok(pb::rbac::Action::Log) => Some(Action::Log),
        Err(_) => {
            let reason = format_args!("{} is no action", wire.action);
            faults.add(Invalid::new("action", reason));
            None
        }
    };
    if let Some(audit) = &wire.audit_logging_options {
        let checked = audited(audit).map_err(|error| error.within("audit_logging_options"));
        faults.take(checked);
    }
    // By name, so that the same configuration is refused in the same words.
    let mut named: Vec<_> = wire.policies.iter().collect();
    named.sort_unstable_by_key(|(name, _)| *name);
    let mut policies = Vec::with_capacity(named.len());
    for (name, wire) in named {
        let decoded = policy(wire).map_err(|e| e.within(format_args!("policies[{name:?}]")));
        policies.extend(
            faults
                .take(decoded)
                .map(|policy| (Box::from(&**name), policy)),
        );
    }
    let action = faults.or(action)?;
    RuleSet::new(action, policies).map_err(|error| Invalid::new("policies", error))
}

/// Nobody here writes audit logs (gRPC A59), so that only such as may be missing are taken.
fn audited(wire: &pb::rbac::AuditLoggingOptions) -> Result<(), Invalid> {
    let condition = AuditCondition::try_from(wire.audit_condition).map_err(|_| {
        let reason = format_args!("{} is no condition", wire.audit_condition);
        Invalid::new("audit_condition", reason)
    })?;
    let demanded = wire.logger_configs.iter().position(|one| !one.is_optional);
    match (condition, demanded) {
        (AuditCondition::None, _) | (_, None) => Ok(()),
        (
            AuditCondition::OnDeny | AuditCondition::OnAllow | AuditCondition::OnDenyAndAllow,
            Some(at),
        ) => Err(Invalid::new(
            format!("logger_configs[{at}]"),
            "is not optional, and audit logs are not served",
        )),
    }
}

fn policy(wire: &pb::Policy) -> Result<Policy, Invalid> {
    let mut faults = Faults::default();
    let expressions = [
        ("condition", wire.condition.is_some()),
        ("checked_condition", wire.checked_condition.is_some()),
        ("cel_config", wire.cel_config.is_some()),
    ];
    refuse(&expressions, &mut faults);
    let permissions = each("permissions", &wire.permissions, permission::decode);
    let permissions = faults.take(permissions);
    let principals = each("principals", &wire.principals, principal::decode);
    let principals = faults.take(principals);
    let (permissions, principals) = faults.or(permissions.zip(principals))?;
    Policy::new(permissions, principals).map_err(|error| Invalid::new("", error))
}

/// Decodes all of a list, and tells what is wrong with each.
fn each<W, T>(
    field: &str,
    list: &[W],
    one: impl Fn(&W) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    let mut faults = Faults::default();
    let mut decoded = Vec::with_capacity(list.len());
    for (at, wire) in list.iter().enumerate() {
        let result = one(wire).map_err(|error| error.within(format_args!("{field}[{at}]")));
        decoded.extend(faults.take(result));
    }
    faults.or(Some(decoded))
}

/// The rules of a set. Envoy refuses an empty one.
fn set<W, T>(
    field: &str,
    list: &[W],
    one: impl Fn(&W) -> Result<T, Invalid>,
) -> Result<Box<[T]>, Invalid> {
    if list.is_empty() {
        return Err(Invalid::new(field, "is empty"));
    }
    each(field, list, one).map(Vec::into_boxed_slice)
}

/// `any` is there to be true.
fn any<T>(is_set: bool) -> Result<Rule<T>, Invalid> {
    match is_set {
        true => Ok(Rule::Any),
        false => Err(Invalid::new("any", "is false; it can only be true")),
    }
}

/// What became of a field, under its name.
fn at<T>(field: &str, decoded: Result<T, Invalid>) -> Result<T, Invalid> {
    decoded.map_err(|error| error.within(field))
}

fn path(wire: &PathMatcher) -> Result<StringMatcher, Invalid> {
    match &wire.rule {
        Some(path_matcher::Rule::Path(matcher)) => at("path", string(matcher)),
        None => Err(Invalid::new("rule", "is missing")),
    }
}

/// Envoy takes a length that is not there for 0, and so a range that somebody forgot to end for all addresses.
fn range(wire: &PbRange) -> Result<CidrRange, Invalid> {
    let Some(length) = wire.prefix_len else {
        return Err(Invalid::new("prefix_len", "is missing"));
    };
    CidrRange::new(&wire.address_prefix, length.value).map_err(|error| Invalid::new("", error))
}

fn sourced(wire: &pb::SourcedMetadata) -> Result<ClaimMatcher, Invalid> {
    let number = wire.metadata_source;
    let source = match PbSource::try_from(number) {
        Ok(PbSource::Dynamic) => MetadataSource::Dynamic,
        Ok(PbSource::Route) => MetadataSource::Route,
        Err(_) => {
            let reason = format_args!("{number} is no source");
            return Err(Invalid::new("metadata_source", reason));
        }
    };
    match &wire.metadata_matcher {
        Some(matcher) => at("metadata_matcher", metadata(matcher, source)),
        None => Err(Invalid::new("metadata_matcher", "is missing")),
    }
}

fn metadata(wire: &MetadataMatcher, source: MetadataSource) -> Result<ClaimMatcher, Invalid> {
    if wire.filter.is_empty() {
        return Err(Invalid::new("filter", "is empty"));
    }
    let keys = each("path", &wire.path, |one| match &one.segment {
        Some(Segment::Key(key)) if !key.is_empty() => Ok(Box::from(&**key)),
        Some(Segment::Key(_)) => Err(Invalid::new("key", "is empty")),
        None => Err(Invalid::new("segment", "is missing")),
    })?;
    let wanted = match &wire.value {
        Some(wanted) => at("value", value(wanted))?,
        None => return Err(Invalid::new("value", "is missing")),
    };
    ClaimMatcher::new(&wire.filter, source, keys, wanted, wire.invert)
        .map_err(|error| Invalid::new("", error))
}

fn value(wire: &PbValue) -> Result<ValueMatcher, Invalid> {
    use value_matcher::MatchPattern as Pattern;
    match &wire.match_pattern {
        Some(Pattern::NullMatch(_)) => Ok(ValueMatcher::Null),
        Some(Pattern::DoubleMatch(wanted)) => {
            at("double_match", number(wanted)).map(ValueMatcher::Number)
        }
        Some(Pattern::StringMatch(wanted)) => {
            at("string_match", string(wanted)).map(ValueMatcher::Text)
        }
        Some(Pattern::BoolMatch(wanted)) => Ok(ValueMatcher::Bool(*wanted)),
        Some(Pattern::PresentMatch(wanted)) => Ok(ValueMatcher::Present(*wanted)),
        Some(Pattern::ListMatch(list)) => match &list.match_pattern {
            Some(list_matcher::MatchPattern::OneOf(one)) => {
                let one = at("list_match.one_of", value(one))?;
                Ok(ValueMatcher::OneOf(Box::new(one)))
            }
            None => Err(Invalid::new("list_match.match_pattern", "is missing")),
        },
        Some(Pattern::OrMatch(wanted)) if wanted.value_matchers.len() < 2 => Err(Invalid::new(
            "or_match.value_matchers",
            "are fewer than two",
        )),
        Some(Pattern::OrMatch(wanted)) => {
            let all = each("value_matchers", &wanted.value_matchers, value);
            Ok(ValueMatcher::Or(at("or_match", all)?.into()))
        }
        None => Err(Invalid::new("match_pattern", "is missing")),
    }
}

fn number(wire: &DoubleMatcher) -> Result<NumberMatcher, Invalid> {
    match wire.match_pattern {
        Some(double_matcher::MatchPattern::Range(range)) => {
            Ok(NumberMatcher::Range(range.start, range.end))
        }
        Some(double_matcher::MatchPattern::Exact(wanted)) => Ok(NumberMatcher::Exact(wanted)),
        None => Err(Invalid::new("match_pattern", "is missing")),
    }
}
