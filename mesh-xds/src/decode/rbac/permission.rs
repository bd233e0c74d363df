//! `envoy.config.rbac.v3.Permission`

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::rbac::v3::{self as pb, permission::Rule as Wire};
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use mesh_core::authz::{MetadataSource, Operation, Permission, PortRange, Rule, UriTemplate};
use prost::Name;

use super::{any, at, metadata, path, range, set, sourced, unserved, whole};
use crate::decode::Invalid;
use crate::decode::matcher::{header, string};

pub(super) fn decode(wire: &pb::Permission) -> Result<Permission, Invalid> {
    #[allow(deprecated, reason = "Istio still emits the older forms")]
    let one = match &wire.rule {
        None => return Err(Invalid::new("rule", "is missing, or of a newer protocol")),
        Some(Wire::Any(is_set)) => return any(*is_set),
        Some(Wire::AndRules(all)) => {
            let rules = at("and_rules", set("rules", &all.rules, decode));
            return rules.map(Rule::And);
        }
        Some(Wire::OrRules(all)) => {
            let rules = at("or_rules", set("rules", &all.rules, decode));
            return rules.map(Rule::Or);
        }
        Some(Wire::NotRule(inner)) => {
            let inner = at("not_rule", decode(inner))?;
            return Ok(Rule::Not(Box::new(inner)));
        }
        Some(Wire::Header(matcher)) => Operation::Header(at("header", header(matcher))?),
        Some(Wire::UrlPath(matcher)) => Operation::UrlPath(at("url_path", path(matcher))?),
        Some(Wire::UriTemplate(config)) => {
            Operation::UriTemplate(at("uri_template", template(config))?)
        }
        Some(Wire::DestinationIp(wire)) => {
            Operation::DestinationIp(at("destination_ip", range(wire))?)
        }
        Some(Wire::DestinationPort(port)) => {
            let port = u16::try_from(*port)
                .map_err(|_| Invalid::new("destination_port", format_args!("{port} is no port")))?;
            Operation::DestinationPort(port)
        }
        Some(Wire::DestinationPortRange(wire)) => {
            let ports = PortRange::new(wire.start, wire.end)
                .map_err(|error| Invalid::new("destination_port_range", error))?;
            Operation::DestinationPortRange(ports)
        }
        Some(Wire::RequestedServerName(matcher)) => {
            Operation::RequestedServerName(at("requested_server_name", string(matcher))?)
        }
        Some(Wire::Metadata(matcher)) => {
            Operation::Metadata(at("metadata", metadata(matcher, MetadataSource::Dynamic))?)
        }
        Some(Wire::SourcedMetadata(wire)) => {
            Operation::Metadata(at("sourced_metadata", sourced(wire))?)
        }
        Some(Wire::Matcher(_)) => return Err(unserved("matcher")),
    };
    Ok(Rule::Is(one))
}

/// The one extension there is.
fn template(wire: &TypedExtensionConfig) -> Result<UriTemplate, Invalid> {
    let Some(config) = &wire.typed_config else {
        return Err(Invalid::new("typed_config", "is missing"));
    };
    if config.type_url != UriTemplateMatchConfig::type_url() {
        let reason = format_args!(
            "{:?} is no {}",
            config.type_url,
            UriTemplateMatchConfig::full_name()
        );
        return Err(Invalid::new("typed_config.type_url", reason));
    }
    let config: UriTemplateMatchConfig = at("typed_config", whole(&config.value))?;
    UriTemplate::new(&config.path_template)
        .map_err(|error| Invalid::new("typed_config.path_template", error))
}
