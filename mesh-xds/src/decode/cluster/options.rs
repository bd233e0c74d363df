//! `typed_extension_protocol_options`: the HTTP version that a cluster's connections speak, and by whose name they are
//! secured.

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use http::http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig};
use mesh_core::cluster::Protocol;

use super::{Invalid, message};

pub(super) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What is said of the connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) protocol: Protocol,
    /// `use_downstream_protocol_config`
    pub(super) callers_version: bool,
    /// `upstream_http_protocol_options.auto_sni`
    pub(super) auto_sni: bool,
    /// `upstream_http_protocol_options.auto_san_validation`
    pub(super) auto_san: bool,
    /// `upstream_http_protocol_options.override_auto_sni_header` is set.
    pub(super) header_sni: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http1,
            callers_version: false,
            auto_sni: false,
            auto_san: false,
            header_sni: false,
        }
    }
}

pub(super) fn decode(cluster: &pb::Cluster) -> Result<Options, Invalid> {
    let Some(any) = cluster.typed_extension_protocol_options.get(HTTP_OPTIONS) else {
        #[allow(deprecated, reason = "the older form is still sent")]
        let protocol = match &cluster.http2_protocol_options {
            Some(_) => Protocol::Http2,
            None => Protocol::Http1,
        };
        return Ok(Options {
            protocol,
            ..Options::default()
        });
    };
    let within = |e: Invalid| {
        e.within(format_args!(
            "typed_extension_protocol_options[{HTTP_OPTIONS}]"
        ))
    };
    options(any).map_err(within)
}

fn options(any: &envoy_types::pb::google::protobuf::Any) -> Result<Options, Invalid> {
    if any.type_url.rsplit('/').next() != Some(HTTP_OPTIONS) {
        let reason = format_args!("{:?} is no HttpProtocolOptions", any.type_url);
        return Err(Invalid::new("type_url", reason));
    }
    let options: http::HttpProtocolOptions = message(&any.value)?;
    let missing = |field| Err(Invalid::new(field, "is missing"));
    let callers_version = matches!(
        options.upstream_protocol_options,
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_))
    );
    let protocol = match options.upstream_protocol_options {
        None => return missing("upstream_protocol_options"),
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            match explicit.protocol_config {
                None => return missing("explicit_http_config.protocol_config"),
                Some(ProtocolConfig::Http2ProtocolOptions(_)) => Protocol::Http2,
                Some(_) => Protocol::Http1,
            }
        }
        // The caller's own version, or TLS negotiation: over plaintext HTTP/1.1 is what is understood.
        Some(_) => Protocol::Http1,
    };
    let names = options.upstream_http_protocol_options.unwrap_or_default();
    Ok(Options {
        protocol,
        callers_version,
        auto_sni: names.auto_sni,
        auto_san: names.auto_san_validation,
        header_sni: !names.override_auto_sni_header.is_empty(),
    })
}
