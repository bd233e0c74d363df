//! `envoy.config.route.v3.Route` from `HTTPRoute`, and the parts that all route configurations share.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;

use mesh_xds::NodeType;

use crate::decode::selects;
use crate::host;
use crate::kinds::http_match::HttpMatch;
use crate::kinds::http_route::{Action, Destination, HttpRoute, Redirect, Retries};
use crate::kinds::virtual_service::{MESH, VirtualService};
use crate::registry::Named;

use super::{View, cluster_name, matcher, proto};

/// `mesh.defaultHttpRetryPolicy` as istiod fills it.
const RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const RETRIES: u32 = 2;

/// The gateways for which routes are wanted: `mesh`, or `namespace/name`s.
pub(super) struct Gateways<'a>(pub(super) &'a [String]);

impl Gateways<'_> {
    /// Whether a list of names, as an object of `namespace` writes them, has one of ours.
    pub(super) fn wanted(&self, names: &[String], namespace: &str) -> bool {
        names.iter().any(|name| {
            let full = if name == MESH || name.contains('/') {
                name.clone()
            } else {
                format!("{namespace}/{name}")
            };
            self.0.contains(&full)
        })
    }
}

/// The routes of a `VirtualService` for one port, up to the first that takes everything.
pub(super) fn routes(
    view: &View<'_>,
    service: &Named<VirtualService>,
    gateways: &Gateways<'_>,
    port: u32,
) -> Vec<pb::Route> {
    let mut out: Vec<pb::Route> = Vec::new();
    for http in &service.spec.http {
        if http.matches.is_empty() {
            out.extend(route(view, service, http, None, port));
        }
        for entry in http
            .matches
            .iter()
            .filter(|m| applies(view, &service.namespace, m, gateways, port))
        {
            out.extend(route(view, service, http, Some(entry), port));
            if out.last().is_some_and(takes_all) {
                break;
            }
        }
        if out.last().is_some_and(takes_all) {
            break;
        }
    }
    out
}

/// Whether no request gets past a route.
pub(super) fn takes_all(route: &pb::Route) -> bool {
    route.r#match.as_ref().is_some_and(matcher::is_catch_all)
}

/// The conditions that istiod decides, not the proxy.
fn applies(
    view: &View<'_>,
    namespace: &str,
    entry: &HttpMatch,
    gateways: &Gateways<'_>,
    port: u32,
) -> bool {
    entry.port.is_none_or(|wanted| wanted == port)
        && selects(&entry.source_labels, view.labels)
        && entry
            .source_namespace
            .as_ref()
            .is_none_or(|wanted| wanted.is_empty() || wanted == view.namespace)
        && (entry.gateways.is_empty() || gateways.wanted(&entry.gateways, namespace))
}

fn route(
    view: &View<'_>,
    service: &Named<VirtualService>,
    http: &HttpRoute,
    entry: Option<&HttpMatch>,
    port: u32,
) -> Option<pb::Route> {
    let action = match &http.action {
        Action::Forward(destinations) => {
            let clusters = forward(view, &service.namespace, destinations, port)?;
            let timeout = http.timeout.unwrap_or_default();
            pb::route::Action::Route(route_action(
                clusters,
                timeout,
                retry_policy(http.retries.as_ref()),
            ))
        }
        Action::Redirect(to) => pb::route::Action::Redirect(redirect(to)),
        Action::DirectResponse { status, body } => {
            pb::route::Action::DirectResponse(direct(*status, body.as_deref()))
        }
        Action::Delegate => return None,
    };
    let match_name = entry
        .map(|m| m.name.as_str())
        .filter(|name| !name.is_empty());
    let path = proto::config_path("virtual-service", &service.namespace, &service.name);
    Some(pb::Route {
        name: match_name.map_or_else(|| http.name.clone(), |name| format!("{}.{name}", http.name)),
        r#match: Some(entry.map_or_else(matcher::everything, matcher::route_match)),
        metadata: Some(proto::istio_metadata("config", path)),
        decorator: decorator(&action, entry),
        action: Some(action),
        ..pb::Route::default()
    })
}

/// The operation of a span: the host and port called, and the path matched.
fn decorator(action: &pb::route::Action, entry: Option<&HttpMatch>) -> Option<pb::Decorator> {
    use crate::kinds::http_match::StringMatch;
    let pb::route::Action::Route(route) = action else {
        return None;
    };
    let Some(pb::route_action::ClusterSpecifier::Cluster(cluster)) = &route.cluster_specifier
    else {
        return None;
    };
    let [_, port, _, host] = cluster.split('|').collect::<Vec<_>>()[..] else {
        return None;
    };
    let path = match entry.and_then(|m| m.uri.as_ref()) {
        Some(StringMatch::Exact(path) | StringMatch::Regex(path)) => path.clone(),
        Some(StringMatch::Prefix(path)) => format!("{path}*"),
        _ => "/*".to_owned(),
    };
    Some(pb::Decorator {
        operation: format!("{host}:{port}{path}"),
        ..pb::Decorator::default()
    })
}

/// One cluster, or clusters by weight. Nothing where no destination is left.
fn forward(
    view: &View<'_>,
    namespace: &str,
    destinations: &[Destination],
    port: u32,
) -> Option<pb::route_action::ClusterSpecifier> {
    if let [only] = destinations {
        return Some(pb::route_action::ClusterSpecifier::Cluster(cluster_of(
            view, namespace, only, port,
        )));
    }
    let weighted =
        destinations
            .iter()
            .filter(|d| d.weight > 0)
            .map(|d| pb::weighted_cluster::ClusterWeight {
                name: cluster_of(view, namespace, d, port),
                weight: Some(proto::uint32(d.weight)),
                ..Default::default()
            });
    let clusters: Vec<_> = weighted.collect();
    if clusters.is_empty() {
        return None;
    }
    let clusters = pb::WeightedCluster {
        clusters,
        ..pb::WeightedCluster::default()
    };
    Some(pb::route_action::ClusterSpecifier::WeightedClusters(
        clusters,
    ))
}

/// The cluster of a destination, whether it exists or not: a missing one is found out by the caller (503 NC).
fn cluster_of(view: &View<'_>, namespace: &str, to: &Destination, listener: u32) -> String {
    let host = host::resolve(&to.host, namespace);
    let only_port = || match view
        .registry
        .service(&host, view.namespace)
        .map(|s| s.ports.as_slice())
    {
        // istiod looks a workload's destinations up among the services of the table's own port only.
        Some([port]) if view.node_type == NodeType::Router => Some(port.number),
        _ => None,
    };
    let port = to.port.or_else(only_port).unwrap_or(listener);
    cluster_name(port, &to.subset, &host)
}

/// The route of a service that no `VirtualService` speaks of.
pub(super) fn default_route(host: &str, port: u32) -> pb::Route {
    let cluster = pb::route_action::ClusterSpecifier::Cluster(cluster_name(port, "", host));
    let action = route_action(cluster, Duration::ZERO, retry_policy(None));
    pb::Route {
        name: "default".to_owned(),
        r#match: Some(matcher::everything()),
        decorator: Some(pb::Decorator {
            operation: format!("{host}:{port}/*"),
            ..pb::Decorator::default()
        }),
        action: Some(pb::route::Action::Route(action)),
        ..pb::Route::default()
    }
}

/// A route that sends everything to one cluster, without retries.
pub(super) fn plain_route(name: &str, cluster: &str) -> pb::Route {
    let cluster = pb::route_action::ClusterSpecifier::Cluster(cluster.to_owned());
    pb::Route {
        name: name.to_owned(),
        r#match: Some(matcher::everything()),
        action: Some(pb::route::Action::Route(route_action(
            cluster,
            Duration::ZERO,
            None,
        ))),
        ..pb::Route::default()
    }
}

/// A route that answers everything with a status.
pub(super) fn answer_route(name: &str, status: u32) -> pb::Route {
    pb::Route {
        name: name.to_owned(),
        r#match: Some(matcher::everything()),
        action: Some(pb::route::Action::DirectResponse(direct(status, None))),
        ..pb::Route::default()
    }
}

// `max_grpc_timeout` is deprecated in Envoy, and what istiod sends.
#[allow(deprecated)]
fn route_action(
    clusters: pb::route_action::ClusterSpecifier,
    timeout: Duration,
    retry_policy: Option<pb::RetryPolicy>,
) -> pb::RouteAction {
    pb::RouteAction {
        timeout: Some(proto::duration(timeout)),
        max_grpc_timeout: Some(proto::duration(timeout)),
        retry_policy,
        cluster_specifier: Some(clusters),
        ..pb::RouteAction::default()
    }
}

/// istiod's default where the rule says nothing; nothing where it turns retries off.
fn retry_policy(from: Option<&Retries>) -> Option<pb::RetryPolicy> {
    let attempts = from.map_or(RETRIES, |r| r.attempts);
    if attempts == 0 {
        return None;
    }
    let predicate = pb::retry_policy::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(
            pb::retry_policy::retry_host_predicate::ConfigType::TypedConfig(proto::any(
                &PreviousHostsPredicate {},
            )),
        ),
    };
    let (retry_on, codes) = retry_on(from.and_then(|r| r.retry_on.as_deref()));
    Some(pb::RetryPolicy {
        retry_on,
        num_retries: Some(proto::uint32(attempts)),
        per_try_timeout: from.and_then(|r| r.per_try_timeout).map(proto::duration),
        retry_host_predicate: vec![predicate],
        host_selection_retry_max_attempts: 5,
        retriable_status_codes: codes,
        retry_back_off: from
            .and_then(|r| r.backoff)
            .filter(|b| !b.is_zero())
            .map(|base| pb::retry_policy::RetryBackOff {
                base_interval: Some(proto::duration(base)),
                max_interval: None,
            }),
        ..pb::RetryPolicy::default()
    })
}

/// Status codes among the conditions move to a list of their own.
fn retry_on(given: Option<&str>) -> (String, Vec<u32>) {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return (RETRY_ON.to_owned(), Vec::new());
    };
    let (mut words, mut codes) = (Vec::new(), Vec::new());
    for part in given
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        match part.parse::<u32>() {
            Ok(code) => codes.push(code),
            Err(_) => words.push(part),
        }
    }
    if !codes.is_empty() && !words.contains(&"retriable-status-codes") {
        words.push("retriable-status-codes");
    }
    (words.join(","), codes)
}

fn redirect(to: &Redirect) -> pb::RedirectAction {
    use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let code = match to.code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    pb::RedirectAction {
        host_redirect: to.authority.clone().unwrap_or_default(),
        port_redirect: to.port.unwrap_or_default(),
        response_code: code.into(),
        scheme_rewrite_specifier: to
            .scheme
            .clone()
            .map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: to.uri.clone().map(PathRewriteSpecifier::PathRedirect),
        ..pb::RedirectAction::default()
    }
}

fn direct(status: u32, body: Option<&str>) -> pb::DirectResponseAction {
    let body = body.map(|text| core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.to_owned())),
        ..core::DataSource::default()
    });
    pb::DirectResponseAction {
        status,
        body,
        ..pb::DirectResponseAction::default()
    }
}

/// A route configuration around virtual hosts.
pub(super) fn configuration(
    name: String,
    virtual_hosts: Vec<pb::VirtualHost>,
) -> pb::RouteConfiguration {
    pb::RouteConfiguration {
        name,
        virtual_hosts,
        validate_clusters: Some(proto::bool_value(false)),
        max_direct_response_body_size_bytes: Some(proto::uint32(1 << 20)),
        ignore_port_in_host_matching: true,
        ..pb::RouteConfiguration::default()
    }
}

/// A virtual host.
pub(super) fn virtual_host(
    name: String,
    domains: Vec<String>,
    routes: Vec<pb::Route>,
) -> pb::VirtualHost {
    pb::VirtualHost {
        name,
        domains,
        routes,
        include_request_attempt_count: true,
        ..pb::VirtualHost::default()
    }
}
