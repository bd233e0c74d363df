//! `envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter`: what it is.

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::google::protobuf::{Any, Struct};
use http::http_filter::ConfigType;

use super::{Invalid, message};

pub(super) const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

/// What is known of a filter: the type of its configuration, and whether that sets anything.
pub(super) struct Filter<'a> {
    pub(super) kind: String,
    pub(super) is_empty: bool,
    /// The configuration where it came as a message of its type.
    pub(super) message: Option<&'a [u8]>,
}

/// A filter is known by the type of its configuration, not by its name.
pub(super) fn kind(filter: &http::HttpFilter) -> Result<Filter<'_>, Invalid> {
    match &filter.config_type {
        Some(ConfigType::TypedConfig(config)) => typed(config),
        // Of no type that is known, so only an optional one goes through.
        Some(ConfigType::ConfigDiscovery(_)) => Ok(Filter {
            kind: "config_discovery".to_owned(),
            is_empty: true,
            message: None,
        }),
        None => Err(Invalid::new("typed_config", "is missing")),
    }
}

/// The same of a configuration alone.
pub(super) fn typed(config: &Any) -> Result<Filter<'_>, Invalid> {
    let outer = type_of(&config.type_url);
    if TYPED_STRUCTS.contains(&outer) {
        let TypedStruct { type_url, value } =
            message(&config.value).map_err(|error| error.within("typed_config"))?;
        return Ok(Filter {
            kind: type_of(&type_url).to_owned(),
            is_empty: value.is_none_or(|value| value.fields.is_empty()),
            message: None,
        });
    }
    Ok(Filter {
        kind: outer.to_owned(),
        is_empty: config.value.is_empty(),
        message: Some(&config.value),
    })
}

pub(super) fn type_of(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

/// `xds.type.v3.TypedStruct`; `udpa.type.v1.TypedStruct` has the same form.
#[derive(Clone, PartialEq, prost::Message)]
struct TypedStruct {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Struct>,
}
