//! Wire form -> typed resources. Unknown things that do not secure a call are ignored; what is known
//! and malformed rejects the one resource that holds it, with its field path. The `grpc` module of a type holds what
//! its dialect refuses beyond that.

pub(crate) mod cluster;
mod duration;
pub(crate) mod endpoints;
mod ext_authz;
mod faults;
mod http_filter;
mod ignored;
pub(crate) mod inbound;
mod jwt_authn;
pub(crate) mod listener;
mod matcher;
mod rbac;
pub(crate) mod route;
mod tls;

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::Resource;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use crate::resource::ResourceType;
pub(crate) use duration::duration;
pub(crate) use faults::Faults;
pub use faults::Invalid;

/// A resource that was not accepted: goes into the NACK, the log and the status, in the same words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{resource_type} {name:?} of version {version:?} rejected: {reason}")]
#[non_exhaustive]
pub struct Rejected {
    /// The type of the resource.
    pub resource_type: ResourceType,
    /// Its name; empty when it could not be read.
    pub name: Arc<str>,
    /// `version_info` of the response that carried it.
    pub version: Arc<str>,
    /// Field path and reason of every fault.
    pub reason: Invalid,
}

/// Takes the `discovery.v3.Resource` wrapper off, if there is one, and checks the type.
pub(crate) fn unwrapped(any: Any, expected: ResourceType) -> Result<Vec<u8>, Invalid> {
    const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";
    let any = if any.type_url == WRAPPER {
        let wrapper: Resource = message(&any.value)?;
        wrapper
            .resource
            .ok_or_else(|| Invalid::new("resource", "the wrapper is empty"))?
    } else {
        any
    };
    if any.type_url == expected.type_url() {
        Ok(any.value)
    } else {
        Err(Invalid::new(
            "type_url",
            format_args!(
                "{:?} in a response of {:?}",
                any.type_url,
                expected.type_url()
            ),
        ))
    }
}

pub(crate) fn message<M: Message + Default>(bytes: &[u8]) -> Result<M, Invalid> {
    M::decode(bytes).map_err(|error| Invalid::new("", format_args!("not valid protobuf: {error}")))
}
