//! What gRPC refuses of a route configuration, and Envoy serves (gRPC A27, A28, A44): the rules of its dialect alone.
//!
//! `path_separated_prefix` is taken, although gRPC refuses it: it is what the Gateway API's `PathPrefix` becomes, and
//! one such route would take the hosts of all others away.

use std::collections::HashSet;

use envoy_types::pb::envoy::config::route::v3::{
    self as pb, route::Action, route_action::ClusterSpecifier, route_match::PathSpecifier,
};

use crate::decode::{Faults, Invalid};

/// The one plugin that gRPC's clients know; its routes are skipped here.
const LOOKUP: &str = "/grpc.lookup.v1.RouteLookupClusterSpecifier";

pub(super) fn check(configuration: &pb::RouteConfiguration) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    let plugins = plugins(configuration, &mut faults);
    for (at, host) in configuration.virtual_hosts.iter().enumerate() {
        let checked = virtual_host(host, &plugins);
        faults.take(checked.map_err(|e| e.within(format_args!("virtual_hosts[{at}]"))));
    }
    faults.or(Some(()))
}

/// The names of the plugins that are declared.
type Plugins<'a> = HashSet<&'a str>;

/// gRPC A28 and RLS: one that is unknown must be optional.
fn plugins<'a>(configuration: &'a pb::RouteConfiguration, faults: &mut Faults) -> Plugins<'a> {
    let mut all = HashSet::new();
    for (at, plugin) in configuration.cluster_specifier_plugins.iter().enumerate() {
        let path = |field: &str| format!("cluster_specifier_plugins[{at}].extension{field}");
        let Some(extension) = &plugin.extension else {
            faults.add(Invalid::new(path(""), "is missing"));
            continue;
        };
        if !all.insert(&*extension.name) {
            let reason = format_args!("{:?} is there twice", extension.name);
            faults.add(Invalid::new(path(".name"), reason));
        }
        let config = extension.typed_config.as_ref();
        let is_known = config.is_some_and(|any| any.type_url.ends_with(LOOKUP));
        if !is_known && !plugin.is_optional {
            let reason = "is of a type that is not known here; set is_optional if its routes may be left out";
            faults.add(Invalid::new(path(".typed_config"), reason));
        }
    }
    all
}

fn virtual_host(host: &pb::VirtualHost, plugins: &Plugins<'_>) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    for (at, domain) in host.domains.iter().enumerate() {
        if domain.is_empty() {
            faults.add(Invalid::new(format!("domains[{at}]"), "is empty"));
        }
    }
    faults.take(retries(host.retry_policy.as_ref()));
    for (at, route) in host.routes.iter().enumerate() {
        faults.take(one(route, plugins).map_err(|e| e.within(format_args!("routes[{at}]"))));
    }
    faults.or(Some(()))
}

fn one(route: &pb::Route, plugins: &Plugins<'_>) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    if let Some(wanted) = &route.r#match {
        if is_skipped(wanted) {
            return Ok(());
        }
        faults.take(matched(wanted).map_err(|e| e.within("match")));
    }
    if let Some(Action::Route(action)) = &route.action {
        faults.take(self::action(action, plugins).map_err(|e| e.within("route")));
    }
    faults.or(Some(()))
}

/// Whether gRPC looks no further into a route: no path of a call, `/service/method`, can match it. Here such a route is
/// served, and its retries are not looked into either.
fn is_skipped(wanted: &pb::RouteMatch) -> bool {
    !wanted.query_parameters.is_empty()
        || match &wanted.path_specifier {
            Some(PathSpecifier::Prefix(text)) => !text.is_empty() && !begins_a_call(text),
            Some(PathSpecifier::Path(text)) => !is_call(text),
            _ => false,
        }
}

fn begins_a_call(prefix: &str) -> bool {
    let Some(rest) = prefix.strip_prefix('/') else {
        return false;
    };
    match rest.split_once('/') {
        None => true,
        Some((service, method)) => !service.is_empty() && !method.contains('/'),
    }
}

fn is_call(path: &str) -> bool {
    let parts = path.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    parts.is_some_and(|(service, method)| {
        !service.is_empty() && !method.is_empty() && !method.contains('/')
    })
}

fn matched(wanted: &pb::RouteMatch) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    let field = match &wanted.path_specifier {
        Some(PathSpecifier::ConnectMatcher(_)) => Some("connect_matcher"),
        Some(PathSpecifier::PathMatchPolicy(_)) => Some("path_match_policy"),
        _ => None,
    };
    if let Some(field) = field {
        let reason = "is for Envoy; a gRPC client takes prefix, path and safe_regex";
        faults.add(Invalid::new(field, reason));
    }
    for (at, header) in wanted.headers.iter().enumerate() {
        if header.header_match_specifier.is_none() {
            let path = format!("headers[{at}].header_match_specifier");
            let reason = "is missing; send present_match for any value";
            faults.add(Invalid::new(path, reason));
        }
    }
    faults.or(Some(()))
}

fn action(action: &pb::RouteAction, plugins: &Plugins<'_>) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    if let Some(ClusterSpecifier::ClusterSpecifierPlugin(name)) = &action.cluster_specifier
        && !plugins.contains(&**name)
    {
        let reason = format_args!("{name:?} is not in cluster_specifier_plugins");
        faults.add(Invalid::new("cluster_specifier_plugin", reason));
    }
    faults.take(retries(action.retry_policy.as_ref()));
    faults.or(Some(()))
}

/// gRPC A44.
fn retries(policy: Option<&pb::RetryPolicy>) -> Result<(), Invalid> {
    let Some(policy) = policy else {
        return Ok(());
    };
    let mut faults = Faults::default();
    if policy.num_retries.is_some_and(|number| number.value == 0) {
        faults.add(Invalid::new(
            "retry_policy.num_retries",
            "must be at least 1",
        ));
    }
    let back_off = policy.retry_back_off.as_ref();
    if back_off.is_some_and(|it| it.base_interval.is_none()) {
        let field = "retry_policy.retry_back_off.base_interval";
        faults.add(Invalid::new(field, "is missing"));
    }
    faults.or(Some(()))
}
