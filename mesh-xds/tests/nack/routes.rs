//! `envoy.config.route.v3.RouteConfiguration`: the rules of gRPC's lists. Envoy's own constraints of routes have a test
//! of their own, and the interop oracle asks Envoy for many more verdicts.

use envoy_types::pb::envoy::config::bootstrap::v3::{
    Bootstrap as BootstrapMessage, bootstrap::StaticResources,
};
use envoy_types::pb::envoy::config::core::v3::{RuntimeFractionalPercent, TypedExtensionConfig};
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain, Listener, filter::ConfigType,
};
use envoy_types::pb::envoy::config::route::v3::{
    ClusterSpecifierPlugin, HeaderMatcher, NonForwardingAction, QueryParameterMatcher, RetryPolicy,
    Route, RouteAction, RouteConfiguration, RouteMatch,
    header_matcher::HeaderMatchSpecifier,
    retry_policy::RetryBackOff,
    route::Action,
    route_action::{
        ClusterSpecifier, HashPolicy,
        hash_policy::{self, PolicySpecifier},
    },
    route_match::{ConnectMatcher, PathSpecifier},
};
use envoy_types::pb::envoy::extensions::filters::{
    http::router::v3::Router,
    network::http_connection_manager::v3::{
        HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
        http_filter::ConfigType as HttpConfig,
    },
};
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
use prost::Message;

use crate::{OnlyThere, Refused, Taken, Unread, clusters, wire};

type Row = crate::Row<RouteConfiguration>;

pub(crate) fn good() -> RouteConfiguration {
    RouteConfiguration {
        name: "9080".to_owned(),
        virtual_hosts: vec![wire::host("a", &["one"])],
        ..RouteConfiguration::default()
    }
}

fn typed(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/envoy.extensions.filters.{name}"),
        value: message.encode_to_vec(),
    }
}

/// A listener with these routes.
pub(crate) fn bootstrap(routes: &RouteConfiguration) -> BootstrapMessage {
    let router = HttpFilter {
        name: "router".to_owned(),
        config_type: Some(HttpConfig::TypedConfig(typed(
            "http.router.v3.Router",
            &Router::default(),
        ))),
        ..HttpFilter::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: "x".to_owned(),
        http_filters: vec![router],
        route_specifier: Some(RouteSpecifier::RouteConfig(routes.clone())),
        ..HttpConnectionManager::default()
    };
    let name = "network.http_connection_manager.v3.HttpConnectionManager";
    let filter = Filter {
        name: "http".to_owned(),
        config_type: Some(ConfigType::TypedConfig(typed(name, &manager))),
    };
    let listener = Listener {
        name: "l".to_owned(),
        address: Some(wire::address("127.0.0.1", 0)),
        filter_chains: vec![FilterChain {
            filters: vec![filter],
            ..FilterChain::default()
        }],
        ..Listener::default()
    };
    BootstrapMessage {
        static_resources: Some(StaticResources {
            listeners: vec![listener],
            clusters: vec![clusters::good()],
            ..StaticResources::default()
        }),
        ..BootstrapMessage::default()
    }
}

fn route(of: &mut RouteConfiguration) -> &mut Route {
    &mut of.virtual_hosts[0].routes[0]
}

fn matched(of: &mut RouteConfiguration) -> &mut RouteMatch {
    route(of).r#match.get_or_insert_default()
}

fn action(of: &mut RouteConfiguration) -> &mut RouteAction {
    match &mut route(of).action {
        Some(Action::Route(action)) => action,
        other => panic!("{other:?}"),
    }
}

fn regex(text: &str) -> RegexMatcher {
    RegexMatcher {
        regex: text.to_owned(),
        ..RegexMatcher::default()
    }
}

fn header(of: &mut RouteConfiguration, specifier: Option<HeaderMatchSpecifier>) {
    matched(of).headers = vec![HeaderMatcher {
        name: "x".to_owned(),
        header_match_specifier: specifier,
        ..HeaderMatcher::default()
    }];
}

fn string(of: &mut RouteConfiguration, pattern: string_matcher::MatchPattern) {
    let matcher = StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    };
    header(of, Some(HeaderMatchSpecifier::StringMatch(matcher)));
}

fn weights(of: &mut RouteConfiguration, all: &[u32]) {
    let Some(ClusterSpecifier::WeightedClusters(split)) = &mut action(of).cluster_specifier else {
        panic!("no split")
    };
    let entry = split.clusters[0].clone();
    split.clusters = all
        .iter()
        .map(|value| {
            let mut entry = entry.clone();
            entry.weight = Some(UInt32Value { value: *value });
            entry
        })
        .collect();
}

fn domain(of: &mut RouteConfiguration, text: &str) {
    of.virtual_hosts[0].domains = vec![text.to_owned()];
}

fn retry(of: &mut RouteConfiguration, policy: RetryPolicy) {
    action(of).retry_policy = Some(RetryPolicy {
        retry_on: "unavailable".to_owned(),
        ..policy
    });
}

/// Declares plugins of a type that nobody knows.
fn plugins(of: &mut RouteConfiguration, names: &[&str], is_optional: bool) {
    let plugin = |name: &&str| ClusterSpecifierPlugin {
        extension: Some(TypedExtensionConfig {
            name: (*name).to_owned(),
            typed_config: Some(Any {
                type_url: "type.googleapis.com/no.Such".to_owned(),
                value: Vec::new(),
            }),
        }),
        is_optional,
    };
    of.cluster_specifier_plugins = names.iter().map(plugin).collect();
}

/// Rows that can be wrong in one route configuration together.
pub(crate) const TOGETHER: &[&str] = &[
    "domains required",
    "A28: path specifier required",
    "A28: empty header prefix",
    "A28: weights sum >= 1",
    "A42: header hash without a name",
];

/// The same in gRPC's dialect.
pub(crate) const TOGETHER_IN_GRPC: &[&str] = &[
    "A27: domain not empty",
    "A28: connect_matcher",
    "A28: weights sum >= 1",
    "A44: num_retries of 0",
    "A44: num_retries of 0 in a virtual host",
    "A28: plugins known or optional",
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = of_hosts_and_matches();
    rows.extend(of_actions());
    rows
}

fn no_retries(r: &mut RouteConfiguration) {
    let policy = RetryPolicy {
        num_retries: Some(UInt32Value { value: 0 }),
        ..RetryPolicy::default()
    };
    retry(r, policy);
}

fn of_hosts_and_matches() -> Vec<Row> {
    use string_matcher::MatchPattern;
    vec![
        Row::new("A27: `*` at one end of a domain only", Taken("A27"), |r| {
            domain(r, "a*b*")
        }),
        Row::new("A27: domain not empty", Taken("A27"), |r| {
            domain(r, "");
        })
        .grpc(Refused("virtual_hosts[0].domains[0]: is empty")),
        Row::new(
            "domains required",
            Refused("virtual_hosts[0].domains: is empty"),
            |r| {
                r.virtual_hosts[0].domains.clear();
            },
        ),
        Row::new("domain twice", Unread("virtual_hosts[1].domains[0]"), |r| {
            r.virtual_hosts.push(wire::host("b", &["one"]));
            r.virtual_hosts[1].domains = vec!["a".to_owned()];
        }),
        Row::new(
            "A28: path specifier required",
            Refused("virtual_hosts[0].routes[0].match.path_specifier: is missing"),
            |r| matched(r).path_specifier = None,
        ),
        Row::new(
            "A28: regex valid",
            Refused("virtual_hosts[0].routes[0].match.safe_regex"),
            |r| {
                matched(r).path_specifier = Some(PathSpecifier::SafeRegex(regex("(")));
            },
        ),
        Row::new("A28: connect_matcher", Taken("A28"), |r| {
            matched(r).path_specifier =
                Some(PathSpecifier::ConnectMatcher(ConnectMatcher::default()));
        })
        .grpc(Refused(
            "virtual_hosts[0].routes[0].match.connect_matcher: is for Envoy",
        )),
        Row::new(
            "A28: nothing of a route that is skipped",
            Taken("A28"),
            |r| {
                matched(r).query_parameters = vec![QueryParameterMatcher {
                    name: "x".to_owned(),
                    ..QueryParameterMatcher::default()
                }];
                matched(r).path_specifier =
                    Some(PathSpecifier::ConnectMatcher(ConnectMatcher::default()));
            },
        ),
        Row::new(
            "A28: nothing of a route whose prefix is of no method",
            Taken("A28"),
            |r| {
                matched(r).path_specifier = Some(PathSpecifier::Prefix("/a/b/c".to_owned()));
                no_retries(r);
            },
        ),
        Row::new(
            "A28: nothing of a route whose path is of no method",
            Taken("A28"),
            |r| {
                matched(r).path_specifier = Some(PathSpecifier::Path("/a".to_owned()));
                no_retries(r);
            },
        ),
        Row::new("A28: a method", Taken("A28"), |r| {
            matched(r).path_specifier = Some(PathSpecifier::Path("/a/b".to_owned()));
            no_retries(r);
        })
        .grpc(Refused(
            "virtual_hosts[0].routes[0].route.retry_policy.num_retries: must be at least 1",
        )),
        Row::new("A28: path_separated_prefix", Taken("A28"), |r| {
            matched(r).path_specifier = Some(PathSpecifier::PathSeparatedPrefix("/a".to_owned()));
        })
        .grpc(OnlyThere(
            "it is the Gateway API's PathPrefix; one such route would take all hosts away",
        )),
        Row::new(
            "path_match_policy registered",
            OnlyThere("templates are served, and another one's route is skipped"),
            |r| {
                matched(r).path_specifier =
                    Some(PathSpecifier::PathMatchPolicy(TypedExtensionConfig {
                        name: "x".to_owned(),
                        typed_config: Some(Any {
                            type_url: "type.googleapis.com/no.Such".to_owned(),
                            value: Vec::new(),
                        }),
                    }));
            },
        )
        .grpc(Refused(
            "virtual_hosts[0].routes[0].match.path_match_policy: is for Envoy",
        )),
        Row::new(
            "A28: fraction's denominator defined",
            Refused("virtual_hosts[0].routes[0].match.runtime_fraction.default_value.denominator"),
            |r| {
                matched(r).runtime_fraction = Some(RuntimeFractionalPercent {
                    default_value: Some(FractionalPercent {
                        numerator: 1,
                        denominator: 9,
                    }),
                    ..RuntimeFractionalPercent::default()
                });
            },
        ),
        Row::new(
            "A28: header regex valid",
            Refused("virtual_hosts[0].routes[0].match.headers[0].string_match.safe_regex"),
            |r| string(r, MatchPattern::SafeRegex(regex("("))),
        ),
        Row::new(
            "A28: empty header prefix",
            Unread("virtual_hosts[0].routes[0].match.headers[0].string_match.prefix: is empty"),
            |r| string(r, MatchPattern::Prefix(String::new())),
        ),
        Row::new(
            "A28: empty header suffix",
            Unread("virtual_hosts[0].routes[0].match.headers[0].string_match.suffix: is empty"),
            |r| string(r, MatchPattern::Suffix(String::new())),
        ),
        Row::new(
            "A63: empty header contains",
            Unread("virtual_hosts[0].routes[0].match.headers[0].string_match.contains: is empty"),
            |r| string(r, MatchPattern::Contains(String::new())),
        ),
        Row::new("A28: header specifier required", Taken("gRPC-Go"), |r| {
            header(r, None)
        })
        .grpc(Refused(
            "virtual_hosts[0].routes[0].match.headers[0].header_match_specifier: is missing",
        )),
        Row::new(
            "match required",
            Refused("virtual_hosts[0].routes[0].match: is missing"),
            |r| {
                route(r).r#match = None;
            },
        ),
    ]
}

fn of_actions() -> Vec<Row> {
    vec![
        Row::new(
            "action required",
            Unread("virtual_hosts[0].routes[0].action: is missing"),
            |r| {
                route(r).action = None;
            },
        ),
        Row::new(
            "A36: non_forwarding_action on a client",
            Taken("before A36"),
            |r| {
                route(r).action = Some(Action::NonForwardingAction(NonForwardingAction {}));
            },
        ),
        Row::new(
            "A28: cluster empty",
            Refused("virtual_hosts[0].routes[0].route.cluster: is empty"),
            |r| {
                action(r).cluster_specifier = Some(ClusterSpecifier::Cluster(String::new()));
            },
        ),
        Row::new(
            "A28: weights sum >= 1",
            Refused("virtual_hosts[0].routes[0].route.weighted_clusters"),
            |r| weights(r, &[0, 0]),
        ),
        Row::new(
            "A28: weights sum <= 4294967295",
            Refused("virtual_hosts[0].routes[0].route.weighted_clusters"),
            |r| weights(r, &[u32::MAX, 1]),
        ),
        Row::new(
            "A28: cluster_specifier_plugin declared",
            OnlyThere("the route is skipped, and that is told"),
            |r| {
                action(r).cluster_specifier =
                    Some(ClusterSpecifier::ClusterSpecifierPlugin("no".to_owned()));
            },
        ).grpc(Refused("virtual_hosts[0].routes[0].route.cluster_specifier_plugin: \"no\" is not in")),
        Row::new(
            "A42: header hash without a name",
            Refused("virtual_hosts[0].routes[0].route.hash_policy[0].header.header_name: is empty"),
            |r| {
                let header = hash_policy::Header::default();
                action(r).hash_policy = vec![HashPolicy {
                    policy_specifier: Some(PolicySpecifier::Header(header)),
                    ..HashPolicy::default()
                }];
            },
        ),
        Row::new("A44: num_retries of 0", Taken("A44"), no_retries).grpc(Refused("virtual_hosts[0].routes[0].route.retry_policy.num_retries: must be at least 1")),
        Row::new("A44: num_retries of 0 in a virtual host", Taken("A44"), |r| {
            r.virtual_hosts[0].retry_policy = Some(RetryPolicy {
                num_retries: Some(UInt32Value { value: 0 }),
                ..RetryPolicy::default()
            });
        })
        .grpc(Refused(
            "virtual_hosts[0].retry_policy.num_retries: must be at least 1",
        )),
        Row::new(
            "A44: base_interval required",
            OnlyThere("retries have no effect yet, and their policy is not looked into"),
            |r| {
                let policy = RetryPolicy {
                    retry_back_off: Some(RetryBackOff::default()),
                    ..RetryPolicy::default()
                };
                retry(r, policy);
            },
        )
        .grpc(Refused(
            "virtual_hosts[0].routes[0].route.retry_policy.retry_back_off.base_interval: is missing",
        )),
        Row::new(
            "A28: plugins known or optional",
            OnlyThere("routes of plugins are skipped, and that is told"),
            |r| plugins(r, &["x"], false),
        )
        .grpc(Refused(
            "cluster_specifier_plugins[0].extension.typed_config: is of a type",
        )),
        Row::new("A28: plugins named once", Taken("A28"), |r| {
            plugins(r, &["x", "x"], true);
        })
        .grpc(Refused("cluster_specifier_plugins[1].extension.name: \"x\" is there twice")),
        Row::new(
            "A44: base_interval > 0",
            OnlyThere("retries have no effect yet, and their policy is not looked into"),
            |r| {
                let policy = RetryPolicy {
                    retry_back_off: Some(RetryBackOff {
                        base_interval: Some(Duration::default()),
                        ..RetryBackOff::default()
                    }),
                    ..RetryPolicy::default()
                };
                retry(r, policy);
            },
        ).grpc(Taken("so does gRPC, as far as it is there")),
    ]
}
