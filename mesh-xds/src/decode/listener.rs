//! `envoy.config.listener.v3.Listener` of a client: the `api_listener` of gRPC A27, with the HTTP filters of gRPC A39.

mod ignored;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::google::protobuf::Any;
use http::http_connection_manager::RouteSpecifier;
use prost::Message;

use super::http_filter::{Filter, ROUTER, kind, type_of};
use super::ignored::Ignored;
use super::route::{self, RouteResource, Timing};
use super::{Faults, Invalid, message};

pub(super) const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// The filters beside the router that a client has something for: istiod puts the fault filter into every listener.
const KNOWN: [&str; 1] = ["envoy.extensions.filters.http.fault.v3.HTTPFault"];

/// What a listener leads to.
#[derive(Debug)]
pub(crate) struct ListenerResource {
    pub(crate) routes: Routes,
    /// `common_http_protocol_options.max_stream_duration`, for routes that have none (gRPC A31).
    pub(crate) max_stream: Option<Duration>,
    /// What is in it and has no effect here, in words, each kind once.
    pub(crate) ignored: Vec<Box<str>>,
}

/// The routes behind a listener.
#[derive(Debug)]
pub(crate) enum Routes {
    /// `rds.route_config_name`
    Named(Arc<str>),
    /// `route_config`
    Inline(Box<RouteResource>),
}

/// The name alone: of listeners that nobody asked for no more is read.
pub(crate) fn name(bytes: &[u8]) -> Result<Arc<str>, Invalid> {
    super::cluster::name(bytes)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<ListenerResource, Invalid> {
    let listener: Listener = message(bytes)?;
    let mut ignored = Ignored::default();
    ignored.unknown_fields(&listener, bytes);
    ignored.listener(&listener);
    let api = listener.api_listener.and_then(|api| api.api_listener);
    let api = api.ok_or_else(|| {
        let reason = "is missing; a client needs one, the listener of a server is of no use to it";
        Invalid::new("api_listener.api_listener", reason)
    })?;
    manager(&api, &listener.name, ignored)
        .map_err(|error| error.within("api_listener.api_listener"))
}

fn manager(api: &Any, listener: &str, mut ignored: Ignored) -> Result<ListenerResource, Invalid> {
    if type_of(&api.type_url) != MANAGER {
        let reason = format_args!("{:?} is not {MANAGER}", api.type_url);
        return Err(Invalid::new("type_url", reason));
    }
    let manager: http::HttpConnectionManager = message(&api.value)?;
    ignored.unknown_fields(&manager, &api.value);
    ignored.manager(&manager);
    let mut faults = Faults::default();
    // gRPC A41: a client in a mesh believes no one's word for where a request came from.
    if manager.xff_num_trusted_hops != 0 {
        faults.add(Invalid::new("xff_num_trusted_hops", "is not 0"));
    }
    if !manager.original_ip_detection_extensions.is_empty() {
        let field = "original_ip_detection_extensions";
        faults.add(Invalid::new(field, "is not empty"));
    }
    faults.take(filters(&manager.http_filters, &mut ignored));
    let options = manager.common_http_protocol_options.as_ref();
    let max_stream = options.and_then(|options| options.max_stream_duration);
    let max_stream = faults.take(max_stream.map(limit).transpose()).flatten();
    let routes = faults.take(routes(manager.route_specifier, listener, max_stream));
    let decoded = routes.map(|routes| ListenerResource {
        routes,
        max_stream,
        ignored: ignored.kinds(),
    });
    faults.or(decoded)
}

fn limit(wire: envoy_types::pb::google::protobuf::Duration) -> Result<Duration, Invalid> {
    super::duration(&wire).ok_or_else(|| {
        let field = "common_http_protocol_options.max_stream_duration";
        Invalid::new(field, "is negative, malformed or over 315576000000 s")
    })
}

fn routes(
    specifier: Option<RouteSpecifier>,
    listener: &str,
    max_stream: Option<Duration>,
) -> Result<Routes, Invalid> {
    match specifier {
        Some(RouteSpecifier::Rds(rds)) => named(rds).map_err(|error| error.within("rds")),
        Some(RouteSpecifier::RouteConfig(mut inline)) => {
            if inline.name.is_empty() {
                listener.clone_into(&mut inline.name);
            }
            self::inline(&inline, max_stream).map_err(|error| error.within("route_config"))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => {
            let reason = "is not served; send rds or route_config";
            Err(Invalid::new("scoped_routes", reason))
        }
        None => {
            let reason = "is missing; send rds or route_config";
            Err(Invalid::new("route_specifier", reason))
        }
    }
}

fn named(rds: http::Rds) -> Result<Routes, Invalid> {
    let source = rds.config_source.and_then(|it| it.config_source_specifier);
    let mut faults = Faults::default();
    if !matches!(
        source,
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_))
    ) {
        let reason = "is neither ads nor self; routes come on the same stream";
        faults.add(Invalid::new("config_source", reason));
    }
    if rds.route_config_name.is_empty() {
        faults.add(Invalid::new("route_config_name", "is empty"));
    }
    faults.or(Some(Routes::Named(rds.route_config_name.into())))
}

fn inline(
    configuration: &RouteConfiguration,
    max_stream: Option<Duration>,
) -> Result<Routes, Invalid> {
    let bytes = configuration.encode_to_vec();
    let decoded = route::decode(&bytes, Timing::Grpc { max_stream });
    let decoded = decoded.map_err(|(_, error)| error)?;
    Ok(Routes::Inline(Box::new(decoded)))
}

/// gRPC A39: names that differ, the router at the end and nowhere else, and nothing unknown that is not optional.
fn filters(filters: &[http::HttpFilter], ignored: &mut Ignored) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    let mut names = BTreeSet::new();
    if filters.is_empty() {
        faults.add(Invalid::new(
            "http_filters",
            "is empty; the router is missing",
        ));
    }
    for (at, filter) in filters.iter().enumerate() {
        let path = |field: &str| format!("http_filters[{at}]{field}");
        let named = named_once(&filter.name, &mut names);
        faults.take(named.map_err(|error| error.within(path(""))));
        let is_last = at + 1 == filters.len();
        let kind = faults.take(kind(filter).map_err(|error| error.within(path(""))));
        let Some(Filter { kind, is_empty, .. }) = kind else {
            continue;
        };
        match (kind == ROUTER, is_last) {
            (true, true) => {}
            (true, false) => {
                let reason = "is the router, which must be the last filter and the only router";
                faults.add(Invalid::new(path(""), reason));
            }
            (false, true) => {
                let reason = format_args!("is {kind:?}; the last filter must be the router");
                faults.add(Invalid::new(path(""), reason));
            }
            (false, false) => {}
        }
        let name = &filter.name;
        if kind == ROUTER || KNOWN.contains(&&*kind) {
            if !is_empty {
                ignored.add(format!(
                    "what HTTP filter {name:?} ({kind:?}) is set to has no effect yet"
                ));
            }
            if filter.disabled {
                ignored.add(format!(
                    "disabled of HTTP filter {name:?} has no effect yet"
                ));
            }
            continue;
        }
        if filter.is_optional {
            ignored.add(format!("the optional HTTP filter {name:?} ({kind:?})"));
        } else {
            let reason = format_args!(
                "{name:?} is of type {kind:?}, which is not known here; set is_optional if calls may go without it"
            );
            faults.add(Invalid::new(path(".typed_config"), reason));
        }
    }
    faults.or(Some(()))
}

pub(super) fn named_once<'a>(name: &'a str, names: &mut BTreeSet<&'a str>) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::new("name", "is empty"));
    }
    match names.insert(name) {
        true => Ok(()),
        false => Err(Invalid::new(
            "name",
            format_args!("{name:?} is there twice"),
        )),
    }
}
