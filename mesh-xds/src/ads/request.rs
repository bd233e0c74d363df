//! `envoy.service.discovery.v3.DiscoveryRequest` with shared names: every answer of a state-of-the-world
//! stream repeats all names, and 10,000 of them must not be copied each time one cluster changes.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::rpc;

/// A request on an ADS stream, as it goes over the wire.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// The last accepted version.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Who we are; in the first request of a stream.
    #[prost(message, optional, tag = "2")]
    pub node: Option<Node>,
    /// The names that are subscribed, in UTF-8.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub resource_names: Vec<Bytes>,
    /// The type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Which response this answers.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Why that response was not wholly accepted.
    #[prost(message, optional, tag = "6")]
    pub error_detail: Option<rpc::Status>,
}
