//! `HttpConnectionManager` of a server: what a request has to pass.
//!
//! What decides nothing is left out, by its type. What decides and is not served, and what would show policies another
//! request than the one that is served, refuses every request by its name.

use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use http::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
};
use mesh_core::request::PathNormalization;
use mesh_core::server::{Pipeline, Remote, Step, Xfcc};
use route::route_action::ClusterSpecifier;

use super::{Side, gateway};
use crate::decode::ext_authz::ext_authz;
use crate::decode::http_filter::{ROUTER, kind};
use crate::decode::ignored::Ignored;
use crate::decode::jwt_authn::jwt_authn;
use crate::decode::rbac::rbac;
use crate::decode::{Faults, Invalid, message};

pub(super) const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const JWT: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
/// Istio's filter by which a proxy offers its own names to servers of the mesh.
const ALPN: &str = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig";
const ASK: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
/// Filters that tell of requests and decide nothing.
const TELEMETRY: [&str; 3] = [
    "io.istio.http.peer_metadata.Config",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "stats.PluginConfig",
];
/// Filters that do nothing until a route sets them.
const BY_ROUTE: [&str; 2] = [
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "envoy.extensions.filters.http.cors.v3.Cors",
];

pub(super) fn decode(
    bytes: &[u8],
    listener: &Arc<str>,
    side: Side,
    ignored: &mut Ignored,
) -> Result<Pipeline, Invalid> {
    let wire: http::HttpConnectionManager = message(bytes)?;
    let mut faults = Faults::default();
    let mut steps: Vec<Step> = Vec::new();
    let paths = faults.take(paths(&wire));
    let paths = paths.map(|paths| {
        paths.unwrap_or_else(|why| {
            steps.push(Step::Deny(why.into()));
            PathNormalization::Base
        })
    });
    let (gateway, unlike) = match side {
        Side::Workload => (None, unlike_catch_all(wire.route_specifier.as_ref())),
        Side::Gateway => match gateway::decode(&wire, ignored) {
            Ok(gateway) => (Some(gateway), None),
            Err(why) => (None, Some(why)),
        },
    };
    let others = [strange(&wire, side), unlike].into_iter().flatten();
    steps.extend(others.map(|why| Step::Deny(why.into())));
    steps.extend(
        faults
            .take(filters(&wire.http_filters, side, ignored))
            .into_iter()
            .flatten(),
    );
    let xfcc = faults.take(xfcc(&wire, ignored));
    let decoded = paths.zip(xfcc).map(|(paths, xfcc)| Pipeline {
        name: Arc::clone(listener),
        paths,
        xfcc,
        remote: match wire.use_remote_address.is_some_and(|flag| flag.value) {
            true => Remote::Direct,
            false => Remote::LastForwarded,
        },
        gateway,
        steps: steps.into(),
    });
    faults.or(decoded)
}

/// How paths are normalised, or what is asked for beyond Istio's four ways.
fn paths(wire: &http::HttpConnectionManager) -> Result<Result<PathNormalization, String>, Invalid> {
    use PathWithEscapedSlashesAction as Action;
    let number = wire.path_with_escaped_slashes_action;
    let action = Action::try_from(number).map_err(|_| {
        let reason = format_args!("{number} is no action");
        Invalid::new("path_with_escaped_slashes_action", reason)
    })?;
    let action = match action {
        Action::ImplementationSpecificDefault => Action::KeepUnchanged,
        other => other,
    };
    let normalize = wire.normalize_path.is_some_and(|flag| flag.value);
    if wire.path_normalization_options.is_some() {
        return Ok(Err("path_normalization_options is not served".to_owned()));
    }
    Ok(match (normalize, wire.merge_slashes, action) {
        (false, false, Action::KeepUnchanged) => Ok(PathNormalization::None),
        (true, false, Action::KeepUnchanged) => Ok(PathNormalization::Base),
        (true, true, Action::KeepUnchanged) => Ok(PathNormalization::MergeSlashes),
        (true, true, Action::UnescapeAndForward) => Ok(PathNormalization::DecodeAndMergeSlashes),
        (_, _, other) => Err(format!(
            "normalize_path {normalize}, merge_slashes {} and path_with_escaped_slashes_action {} together are not served",
            wire.merge_slashes,
            other.as_str_name()
        )),
    })
}

/// What would make a request look otherwise to policies than it does here.
fn strange(wire: &http::HttpConnectionManager, side: Side) -> Option<String> {
    let common = wire.common_http_protocol_options.as_ref();
    let rejects_underscores = common.is_some_and(|it| it.headers_with_underscores_action != 0);
    let fields = [
        (
            "use_remote_address",
            side == Side::Workload && wire.use_remote_address.is_some_and(|flag| flag.value),
        ),
        ("xff_num_trusted_hops", wire.xff_num_trusted_hops != 0),
        (
            "original_ip_detection_extensions",
            !wire.original_ip_detection_extensions.is_empty(),
        ),
        (
            "early_header_mutation_extensions",
            !wire.early_header_mutation_extensions.is_empty(),
        ),
        ("strip_matching_host_port", wire.strip_matching_host_port),
        ("strip_port_mode", wire.strip_port_mode.is_some()),
        ("strip_trailing_host_dot", wire.strip_trailing_host_dot),
        (
            "common_http_protocol_options.headers_with_underscores_action",
            rejects_underscores,
        ),
    ];
    let found = fields.into_iter().find(|(_, is_set)| *is_set);
    found.map(|(field, _)| format!("{field} of the HTTP connection manager is not served"))
}

fn xfcc(wire: &http::HttpConnectionManager, ignored: &mut Ignored) -> Result<Xfcc, Invalid> {
    use ForwardClientCertDetails as Details;
    let number = wire.forward_client_cert_details;
    let details = Details::try_from(number).map_err(|_| {
        let reason = format_args!("{number} is no way of forwarding");
        Invalid::new("forward_client_cert_details", reason)
    })?;
    let other = match (details, &wire.forward_client_cert_matcher) {
        (Details::Sanitize, None) => return Ok(Xfcc::Sanitize),
        (Details::AppendForward, None) => return Ok(Xfcc::AppendForward),
        (Details::SanitizeSet, None) => {
            let set = wire.set_current_client_cert_details.as_ref();
            if set.is_some_and(|set| set.cert || set.chain) {
                ignored.add("set_current_client_cert_details: x-forwarded-client-cert has the names and the digest of a certificate, and not itself");
            }
            return Ok(Xfcc::SanitizeSet);
        }
        (_, Some(_)) => "forward_client_cert_matcher".to_owned(),
        (other, None) => format!("forward_client_cert_details {}", other.as_str_name()),
    };
    ignored.add(format!(
        "{other} is not served: x-forwarded-client-cert is taken off"
    ));
    Ok(Xfcc::Sanitize)
}

/// Filters of one name are several: Istio's RBAC filters all have the same.
fn filters(
    filters: &[http::HttpFilter],
    side: Side,
    ignored: &mut Ignored,
) -> Result<Vec<Step>, Invalid> {
    let mut faults = Faults::default();
    let mut steps = Vec::new();
    let mut is_routed = false;
    for (at, filter) in filters.iter().enumerate() {
        let within = |e: Invalid| e.within(format_args!("http_filters[{at}]"));
        if is_routed {
            let reason = "is behind the router, which must be the last filter";
            faults.add(within(Invalid::new("", reason)));
        }
        match one(filter, side, ignored) {
            Ok(Role::Router) => is_routed = true,
            Ok(Role::Nothing) => {}
            Ok(Role::Step(step)) => steps.push(step),
            Err(error) => faults.add(within(error)),
        }
    }
    if !is_routed {
        let reason = "do not end with the router";
        faults.add(Invalid::new("http_filters", reason));
    }
    faults.or(Some(steps))
}

enum Role {
    Router,
    Nothing,
    Step(Step),
}

fn one(filter: &http::HttpFilter, side: Side, ignored: &mut Ignored) -> Result<Role, Invalid> {
    let decoded = kind(filter)?;
    let kind = &*decoded.kind;
    // A route would have to turn it on, and routes are not asked.
    if filter.disabled {
        return Ok(Role::Nothing);
    }
    match (kind, decoded.message) {
        (ROUTER, _) => Ok(Role::Router),
        (RBAC, Some(bytes)) => match rbac(bytes) {
            Ok(rbac) => Ok(Role::Step(Step::Authorize(rbac))),
            Err(error) => Err(error.within("typed_config")),
        },
        (JWT, Some(bytes)) => match jwt_authn(bytes) {
            Ok(rules) => Ok(Role::Step(Step::Jwt(rules))),
            Err(error) => Err(error.within("typed_config")),
        },
        (ASK, Some(bytes)) => match ext_authz(bytes) {
            Ok(ask) => Ok(Role::Step(Step::Ask(ask.into()))),
            Err(error) => Err(error.within("typed_config")),
        },
        _ if TELEMETRY.contains(&kind) => Ok(Role::Nothing),
        // It is about the connections behind, whose clusters say the same.
        (ALPN, _) if side == Side::Gateway => Ok(Role::Nothing),
        _ if BY_ROUTE.contains(&kind) && decoded.is_empty => Ok(Role::Nothing),
        _ if filter.is_optional => {
            ignored.add(optional(filter, kind));
            Ok(Role::Nothing)
        }
        _ => {
            let why = format!("HTTP filter {:?} ({kind:?}) is not served", filter.name);
            Ok(Role::Step(Step::Deny(why.into())))
        }
    }
}

/// A filter that is passed over, in words.
pub(super) fn optional(filter: &http::HttpFilter, kind: &str) -> String {
    format!("the optional HTTP filter {:?} ({kind:?})", filter.name)
}

/// Why a server's routes are not the one that istiod sends, which leads every request to the application.
fn unlike_catch_all(wire: Option<&RouteSpecifier>) -> Option<String> {
    let Some(RouteSpecifier::RouteConfig(configuration)) = wire else {
        return Some("routes that are not in the listener are not served".to_owned());
    };
    let route::RouteConfiguration {
        virtual_hosts,
        typed_per_filter_config,
        ..
    } = configuration;
    let strange = |what: &str| {
        Some(format!(
            "route configuration {:?}: {what}",
            configuration.name
        ))
    };
    let [host] = &**virtual_hosts else {
        return strange("more or less than one virtual host is not served");
    };
    let [route] = &*host.routes else {
        return strange("more or less than one route is not served");
    };
    let is_any = |domains: &[String]| matches!(domains, [domain] if domain == "*");
    let by_filter = [
        typed_per_filter_config,
        &host.typed_per_filter_config,
        &route.typed_per_filter_config,
    ];
    if by_filter.iter().any(|config| !config.is_empty()) {
        return strange("typed_per_filter_config is not served");
    }
    let catch_all = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..route::RouteMatch::default()
    };
    let leads_on = match &route.action {
        Some(route::route::Action::Route(to)) => {
            matches!(to.cluster_specifier, Some(ClusterSpecifier::Cluster(_)))
        }
        Some(route::route::Action::NonForwardingAction(_)) => true,
        _ => false,
    };
    match is_any(&host.domains) && route.r#match.as_ref() == Some(&catch_all) && leads_on {
        true => None,
        false => strange("its route is not one for all requests"),
    }
}
