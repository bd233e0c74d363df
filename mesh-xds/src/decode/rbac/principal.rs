//! `envoy.config.rbac.v3.Principal`

use envoy_types::pb::envoy::config::rbac::v3::{self as pb, principal::Identifier as Wire};
use mesh_core::authz::{MetadataSource, Principal, Rule, Source};

use super::{any, at, metadata, path, range, set, sourced, unserved};
use crate::decode::Invalid;
use crate::decode::matcher::{header, string};

pub(super) fn decode(wire: &pb::Principal) -> Result<Principal, Invalid> {
    #[allow(deprecated, reason = "Istio still emits the older forms")]
    let one = match &wire.identifier {
        None => {
            return Err(Invalid::new(
                "identifier",
                "is missing, or of a newer protocol",
            ));
        }
        Some(Wire::Any(is_set)) => return any(*is_set),
        Some(Wire::AndIds(all)) => {
            return at("and_ids", set("ids", &all.ids, decode)).map(Rule::And);
        }
        Some(Wire::OrIds(all)) => return at("or_ids", set("ids", &all.ids, decode)).map(Rule::Or),
        Some(Wire::NotId(inner)) => {
            let inner = at("not_id", decode(inner))?;
            return Ok(Rule::Not(Box::new(inner)));
        }
        Some(Wire::Authenticated(wire)) => {
            let name = wire.principal_name.as_ref().map(string).transpose();
            Source::Authenticated(at("authenticated.principal_name", name)?)
        }
        // No PROXY protocol is spoken, by which the two could differ.
        Some(Wire::SourceIp(wire)) => Source::DirectRemoteIp(at("source_ip", range(wire))?),
        Some(Wire::DirectRemoteIp(wire)) => {
            Source::DirectRemoteIp(at("direct_remote_ip", range(wire))?)
        }
        Some(Wire::RemoteIp(wire)) => Source::RemoteIp(at("remote_ip", range(wire))?),
        Some(Wire::Header(matcher)) => Source::Header(at("header", header(matcher))?),
        Some(Wire::UrlPath(matcher)) => Source::UrlPath(at("url_path", path(matcher))?),
        Some(Wire::Metadata(matcher)) => {
            Source::Metadata(at("metadata", metadata(matcher, MetadataSource::Dynamic))?)
        }
        Some(Wire::SourcedMetadata(wire)) => {
            Source::Metadata(at("sourced_metadata", sourced(wire))?)
        }
        // The one of Istio's ambient mode; nobody writes it here.
        Some(Wire::FilterState(_)) => return Err(unserved("filter_state")),
        Some(Wire::Custom(_)) => return Err(unserved("custom")),
    };
    Ok(Rule::Is(one))
}
