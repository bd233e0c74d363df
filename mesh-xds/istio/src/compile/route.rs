//! `envoy.config.route.v3.Route` from `HTTPRoute`, and the parts that all route configurations share.

mod answer;
mod filters;
mod forward;
mod headers;
mod retry;

use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3 as pb;

use crate::decode::selects;
use crate::kinds::http_match::HttpMatch;
use crate::kinds::http_route::{Action, HttpRoute};
use crate::kinds::virtual_service::{MESH, Merged, Semantics};
use crate::registry::Named;

use super::{View, cluster_name, matcher, proto};

pub(super) use filters::CORS;
pub(super) use retry::policy as retry_policy;

/// The gateways for which routes are wanted: `mesh`, or `namespace/name`s.
pub(super) struct Gateways<'a>(pub(super) &'a [String]);

impl Gateways<'_> {
    /// Whether a list of full names has one of ours.
    pub(super) fn wanted(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.0.contains(name))
    }
}

/// For whom routes are made.
struct Listener<'a> {
    view: &'a View<'a>,
    port: u32,
    is_gateway: bool,
    semantics: Semantics,
}

/// The routes of a `VirtualService` for one port, up to the first that takes everything.
pub(super) fn routes(
    view: &View<'_>,
    service: &Named<Merged>,
    gateways: &Gateways<'_>,
    port: u32,
) -> Vec<pb::Route> {
    let listener = Listener {
        view,
        port,
        is_gateway: !gateways.wanted(&[MESH.to_owned()]),
        semantics: service.spec.semantics,
    };
    let mut out: Vec<pb::Route> = Vec::new();
    for http in &service.spec.http {
        let matches = &http.policy.matches;
        if matches.is_empty() {
            out.push(route(&listener, service, http, None));
        }
        for entry in matches.iter().filter(|m| applies(view, m, gateways, port)) {
            out.push(route(&listener, service, http, Some(entry)));
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

/// The conditions that istiod decides, not the proxy. It looks at the source only where no gateway is named.
fn applies(view: &View<'_>, entry: &HttpMatch, gateways: &Gateways<'_>, port: u32) -> bool {
    let source = || {
        let namespace = entry.source_namespace.as_deref().unwrap_or_default();
        selects(&entry.source_labels, view.labels)
            && (namespace.is_empty() || namespace == view.namespace)
    };
    entry.port.is_none_or(|wanted| wanted == port)
        && match entry.gateways.is_empty() {
            true => source(),
            false => gateways.wanted(&entry.gateways),
        }
}

fn route(
    listener: &Listener<'_>,
    service: &Named<Merged>,
    http: &HttpRoute,
    entry: Option<&HttpMatch>,
) -> pb::Route {
    let policy = &http.policy;
    let match_name = entry.map_or("", |m| m.name.as_str());
    let path = proto::config_path("virtual-service", &service.namespace, &service.name);
    let mut out = pb::Route {
        name: match match_name {
            "" => policy.name.clone(),
            name => format!("{}.{name}", policy.name),
        },
        r#match: Some(entry.map_or_else(matcher::everything, matcher::route_match)),
        metadata: Some(proto::istio_metadata("config", path)),
        stat_prefix: entry.map_or_else(String::new, |m| m.stat_prefix.clone()),
        typed_per_filter_config: filters::per_route(policy),
        ..pb::Route::default()
    };
    if let Some(operations) = &policy.headers {
        headers::of_route(operations, &mut out);
    }
    out.action = Some(match &http.action {
        Action::Forward(destinations) => {
            if let [only] = &destinations[..]
                && let Some(operations) = &only.headers
            {
                headers::of_route(operations, &mut out);
            }
            pb::route::Action::Route(forward::action(listener, policy, destinations))
        }
        Action::Redirect(to) => pb::route::Action::Redirect(answer::redirect(to, listener.port)),
        Action::Respond(with) => pb::route::Action::DirectResponse(answer::respond(with)),
    });
    let operation = operation(&out, &service.name, listener.port);
    out.decorator = Some(pb::Decorator {
        operation,
        ..pb::Decorator::default()
    });
    out
}

/// The operation of a span: the host and port called, or the rule where that is not one host, and the path matched.
fn operation(route: &pb::Route, rule: &str, port: u32) -> String {
    use pb::route_match::PathSpecifier;
    let path = match route
        .r#match
        .as_ref()
        .and_then(|m| m.path_specifier.as_ref())
    {
        Some(PathSpecifier::Prefix(path)) => format!("{path}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(path)) => path.regex.clone(),
        _ => "/*".to_owned(),
    };
    if let Some(pb::route::Action::Route(action)) = &route.action
        && let Some(pb::route_action::ClusterSpecifier::Cluster(cluster)) =
            &action.cluster_specifier
        && let [_, port, _, host] = cluster.split('|').collect::<Vec<_>>()[..]
    {
        return format!("{host}:{port}{path}");
    }
    format!("{rule}:{port}{path}")
}

/// The route of a service that no `VirtualService` speaks of.
pub(super) fn default_route(host: &str, port: u32) -> pb::Route {
    let cluster = pb::route_action::ClusterSpecifier::Cluster(cluster_name(port, "", host));
    let action = route_action(cluster, Duration::ZERO, retry::policy(None));
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
        action: Some(pb::route::Action::DirectResponse(answer::plain(status))),
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
