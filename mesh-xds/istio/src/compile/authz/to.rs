//! What a call must be, as Envoy's `Permission`.

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::rbac::v3::{Permission, permission};
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use permission::Rule;

use crate::compile::proto;
use crate::kinds::authorization_policy::{Both, MetadataValue, Path, To};

use super::matcher;

/// Whether only a request tells it.
pub(super) fn is_http(term: &To) -> bool {
    matches!(term, To::Host(_) | To::Method(_) | To::Path(_))
}

pub(super) fn any() -> Permission {
    of(Rule::Any(true))
}

pub(super) fn not(permission: Permission) -> Permission {
    of(Rule::NotRule(Box::new(permission)))
}

/// All that an operation says.
pub(super) fn permission<'a>(terms: impl Iterator<Item = &'a To>) -> Permission {
    let mut rules: Vec<_> = terms.flat_map(term).collect();
    if rules.is_empty() {
        rules.push(any());
    }
    of(Rule::AndRules(permission::Set { rules }))
}

fn of(rule: Rule) -> Permission {
    Permission { rule: Some(rule) }
}

fn term(term: &To) -> Vec<Permission> {
    match term {
        To::Host(hosts) => both(hosts, |host| {
            Rule::Header(matcher::header(":authority", host, true))
        }),
        To::Method(methods) => both(methods, |method| {
            Rule::Header(matcher::header(":method", method, false))
        }),
        To::Path(paths) => both(paths, path),
        To::Port(ports) => both(ports, |port| Rule::DestinationPort(*port)),
        To::Address(blocks) => both(blocks, |block| Rule::DestinationIp(matcher::cidr(block))),
        To::Sni(names) => both(names, |name| {
            Rule::RequestedServerName(matcher::pattern(name))
        }),
        To::Metadata {
            filter,
            key,
            values,
        } => metadata(filter, key, values),
    }
}

/// One of the values, and none of those that are excluded.
fn both<T>(values: &Both<T>, rule: impl Fn(&T) -> Rule) -> Vec<Permission> {
    let set = |values: &[T]| {
        let rules = values.iter().map(|value| of(rule(value))).collect();
        (!values.is_empty()).then(|| of(Rule::OrRules(permission::Set { rules })))
    };
    let (any, none) = (set(&values.any), set(&values.none));
    any.into_iter().chain(none.map(not)).collect()
}

fn path(path: &Path) -> Rule {
    match path {
        Path::Is(pattern) => Rule::UrlPath(PathMatcher {
            rule: Some(path_matcher::Rule::Path(matcher::pattern(pattern))),
        }),
        Path::Template(template) => Rule::UriTemplate(TypedExtensionConfig {
            name: "uri-template".to_owned(),
            typed_config: Some(proto::any(&UriTemplateMatchConfig {
                path_template: template.clone(),
            })),
        }),
    }
}

// Metadata of the request itself is deprecated in Envoy, and what istiod sends.
#[allow(deprecated)]
fn metadata(filter: &str, key: &str, values: &Both<MetadataValue>) -> Vec<Permission> {
    let set = |values: &[MetadataValue]| {
        let values = values.iter().map(|value| {
            let text = matcher::text_value(matcher::pattern(&value.pattern));
            match value.is_listed {
                true => matcher::listed(text),
                false => text,
            }
        });
        let values: Vec<_> = values.collect();
        (!values.is_empty()).then(|| {
            of(Rule::Metadata(matcher::metadata(
                filter,
                [key],
                matcher::or(values),
            )))
        })
    };
    let (any, none) = (set(&values.any), set(&values.none));
    any.into_iter().chain(none.map(not)).collect()
}
