//! `envoy.config.listener.v3.Listener`, which only gRPC's dialect reads (gRPC A27, A39, A41).
#![allow(deprecated, reason = "the older forms are still sent")]

use envoy_types::pb::envoy::config::core::v3::{
    ConfigSource, HttpProtocolOptions, TypedExtensionConfig, config_source::ConfigSourceSpecifier,
};
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, ScopedRoutes, http_connection_manager::RouteSpecifier,
};
use envoy_types::pb::google::protobuf::{Any, Duration};
use prost::Message;

use crate::{Refused, Taken, Unread, routes, wire};

type Row = crate::Row<Listener>;

pub(crate) fn good() -> Listener {
    let any = wire::listener("a:9080", "9080");
    Listener::decode(&*any.value).expect("a listener")
}

/// Changes the connection manager.
fn manager(listener: &mut Listener, change: impl FnOnce(&mut HttpConnectionManager)) {
    let api = listener.api_listener.get_or_insert_default();
    let api = api.api_listener.get_or_insert_default();
    let mut manager = HttpConnectionManager::decode(&*api.value).expect("a manager");
    change(&mut manager);
    api.value = manager.encode_to_vec();
}

fn filters(listener: &mut Listener, all: Vec<HttpFilter>) {
    manager(listener, |manager| manager.http_filters = all);
}

fn specifier(listener: &mut Listener, specifier: Option<RouteSpecifier>) {
    manager(listener, |manager| manager.route_specifier = specifier);
}

fn rds(listener: &mut Listener, from: Option<ConfigSourceSpecifier>, name: &str) {
    let rds = Rds {
        config_source: Some(ConfigSource {
            config_source_specifier: from,
            ..ConfigSource::default()
        }),
        route_config_name: name.to_owned(),
    };
    specifier(listener, Some(RouteSpecifier::Rds(rds)));
}

const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";

/// Rows that can be wrong in one listener together.
pub(crate) const TOGETHER_IN_GRPC: &[&str] = &[
    "A41: xff_num_trusted_hops 0",
    "A39: a filter that is known or optional",
    "A31: max_stream_duration in range",
    "A27: routes by rds or inline",
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = of_the_manager();
    rows.extend(of_filters());
    rows
}

fn of_the_manager() -> Vec<Row> {
    vec![
        Row::new(
            "A27: api_listener",
            Refused("api_listener.api_listener: is missing"),
            |l| {
                l.api_listener = None;
            },
        ),
        Row::new(
            "A27: api_listener an HttpConnectionManager",
            Refused("api_listener.api_listener.type_url: \"type.googleapis.com/no.Such\" is not"),
            |l| {
                l.api_listener = Some(ApiListener {
                    api_listener: Some(Any {
                        type_url: "type.googleapis.com/no.Such".to_owned(),
                        value: Vec::new(),
                    }),
                });
            },
        ),
        Row::new(
            "A41: xff_num_trusted_hops 0",
            Refused("api_listener.api_listener.xff_num_trusted_hops: is not 0"),
            |l| manager(l, |manager| manager.xff_num_trusted_hops = 1),
        ),
        Row::new(
            "A41: original_ip_detection_extensions empty",
            Refused("api_listener.api_listener.original_ip_detection_extensions: is not empty"),
            |l| {
                let one = TypedExtensionConfig::default();
                manager(l, |manager| {
                    manager.original_ip_detection_extensions.push(one)
                });
            },
        ),
        Row::new(
            "A31: max_stream_duration in range",
            Refused("api_listener.api_listener.common_http_protocol_options.max_stream_duration"),
            |l| {
                let options = HttpProtocolOptions {
                    max_stream_duration: Some(Duration {
                        seconds: -1,
                        nanos: 0,
                    }),
                    ..HttpProtocolOptions::default()
                };
                manager(l, |manager| {
                    manager.common_http_protocol_options = Some(options)
                });
            },
        ),
        Row::new(
            "A27: routes at all",
            Refused("api_listener.api_listener.route_specifier: is missing"),
            |l| specifier(l, None),
        ),
        Row::new(
            "A27: routes by rds or inline",
            Refused("api_listener.api_listener.scoped_routes: is not served"),
            |l| {
                specifier(
                    l,
                    Some(RouteSpecifier::ScopedRoutes(ScopedRoutes::default())),
                )
            },
        ),
        Row::new(
            "A27: rds from ads or self",
            Refused("api_listener.api_listener.rds.config_source: is neither ads nor self"),
            |l| {
                rds(
                    l,
                    Some(ConfigSourceSpecifier::Path("/dev/null".to_owned())),
                    "9080",
                )
            },
        ),
        Row::new(
            "A27: rds.config_source required",
            Refused("api_listener.api_listener.rds.config_source: is neither ads nor self"),
            |l| rds(l, None, "9080"),
        ),
        Row::new(
            "A27: rds.route_config_name not empty",
            Unread("api_listener.api_listener.rds.route_config_name: is empty"),
            |l| {
                let ads = wire::ads().and_then(|ads| ads.config_source_specifier);
                rds(l, ads, "");
            },
        ),
        Row::new(
            "A27: a good route_config",
            Refused("api_listener.api_listener.route_config.virtual_hosts[0].domains[0]: is empty"),
            |l| {
                let mut inline = routes::good();
                inline.virtual_hosts[0].domains = vec![String::new()];
                specifier(l, Some(RouteSpecifier::RouteConfig(inline)));
            },
        ),
    ]
}

fn of_filters() -> Vec<Row> {
    vec![
        Row::new(
            "A39: a router",
            Refused("api_listener.api_listener.http_filters: is empty"),
            |l| filters(l, Vec::new()),
        ),
        Row::new(
            "A39: the router last",
            Refused("api_listener.api_listener.http_filters[0]: is the router"),
            |l| filters(l, vec![wire::router(), wire::typed("fault", FAULT)]),
        ),
        Row::new(
            "A39: one router",
            Refused("api_listener.api_listener.http_filters[0]: is the router"),
            |l| {
                let mut other = wire::router();
                other.name = "other".to_owned();
                filters(l, vec![other, wire::router()]);
            },
        ),
        Row::new(
            "A39: names that differ",
            Refused("api_listener.api_listener.http_filters[1].name: \"fault\" is there twice"),
            |l| {
                let fault = wire::typed("fault", FAULT);
                filters(l, vec![fault.clone(), fault, wire::router()]);
            },
        ),
        Row::new(
            "A39: a filter that is known or optional",
            Refused("api_listener.api_listener.http_filters[0].typed_config: \"x\" is of type"),
            |l| filters(l, vec![wire::typed("x", "no.Such"), wire::router()]),
        ),
        Row::new("A39: an optional one", Taken("A39"), |l| {
            let mut filter = wire::typed("x", "no.Such");
            filter.is_optional = true;
            filters(l, vec![filter, wire::router()]);
        }),
        Row::new(
            "A39: a server's filter",
            Refused("api_listener.api_listener.http_filters[0].typed_config: \"rbac\" is of type"),
            |l| filters(l, vec![wire::typed("rbac", RBAC), wire::router()]),
        ),
        Row::new(
            "A39: a filter's configuration",
            Refused("api_listener.api_listener.http_filters[0].typed_config: is missing"),
            |l| {
                let mut filter = wire::typed("fault", FAULT);
                filter.config_type = None;
                filters(l, vec![filter, wire::router()]);
            },
        ),
        Row::new(
            "A39: a filter's name",
            Refused("api_listener.api_listener.http_filters[0].name: is empty"),
            |l| filters(l, vec![wire::typed("", FAULT), wire::router()]),
        ),
    ]
}
