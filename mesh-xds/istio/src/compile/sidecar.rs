//! The route configurations of a sidecar: one per port (`9080`) and one per service and port (`FQDN:9080`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use envoy_types::pb::envoy::config::route::v3 as pb;
use mesh_core::istiod::{ALLOW_ANY, BLOCK_ALL, PASSTHROUGH};

use crate::host;
use crate::kinds::mesh_config::OutboundPolicy;
use crate::kinds::service_entry::Protocol;
use crate::kinds::virtual_service::{MESH, Merged};
use crate::registry::{Named, Service, ServicePort};

use super::route::{self, Gateways};
use super::{View, hash};

/// The port on which hosts without a service have their routes.
const DEFAULT_PORT: u32 = 80;

pub(super) fn routes(view: &View<'_>) -> Vec<pb::RouteConfiguration> {
    let mesh = mesh();
    let gateways = Gateways(&mesh);
    let rules = Rules::new(view, &gateways);
    let mut by_port: BTreeMap<u32, Vec<pb::VirtualHost>> = BTreeMap::new();
    let mut out = Vec::new();
    for service in &view.services {
        let rule = rules.of(&service.host);
        let scope = view.scope.as_ref();
        let routed = |port: &&ServicePort| {
            port.protocol != Protocol::Opaque
                && scope.is_none_or(|scope| scope.routes(service, port.number))
        };
        for port in view.ports(service).filter(routed) {
            let name = format!("{}:{}", service.host, port.number);
            let routes = service_routes(view, service, rule, &gateways, port.number);
            let alone = route::virtual_host(name.clone(), vec!["*".to_owned()], routes.clone());
            out.push(route::configuration(name.clone(), vec![alone]));
            let domains = domains(view, service);
            let host = route::virtual_host(name, domains, routes);
            by_port.entry(port.number).or_default().push(host);
        }
    }
    for (name, rule) in rules.without_service(view) {
        let routes = route::routes(view, rule, &gateways, DEFAULT_PORT);
        if !routes.is_empty() {
            let host = route::virtual_host(format!("{name}:{DEFAULT_PORT}"), vec![name], routes);
            by_port.entry(DEFAULT_PORT).or_default().push(host);
        }
    }
    // Also without a service on it: clients look there for what holds on ports that have no table.
    by_port.entry(DEFAULT_PORT).or_default();
    for (port, mut hosts) in by_port {
        hosts.push(catch_all(view.outbound));
        out.push(route::configuration(
            port.to_string(),
            unique_domains(hosts),
        ));
    }
    out
}

/// Everything by which a workload may call a service: its names and those that stand for it, the names below them where
/// each endpoint has one, and its addresses.
pub(super) fn domains(view: &View<'_>, service: &Service) -> Vec<String> {
    let mut domains = Vec::new();
    for name in [&service.host].into_iter().chain(&service.aliases) {
        domains.push(name.clone());
        domains.extend(host::short_names(name, view.namespace));
    }
    if service.headless {
        let below: Vec<_> = domains.iter().map(|name| format!("*.{name}")).collect();
        domains.extend(below);
    }
    domains.extend(service.addresses.iter().map(|ip| match ip.contains(':') {
        true => format!("[{ip}]"),
        false => ip.clone(),
    }));
    domains
}

/// The gateways whose rules hold for workloads.
pub(super) fn mesh() -> [String; 1] {
    [MESH.to_owned()]
}

/// The routes of one port of a service.
pub(super) fn service_routes(
    view: &View<'_>,
    service: &Service,
    rule: Option<&Named<Merged>>,
    gateways: &Gateways<'_>,
    port: u32,
) -> Vec<pb::Route> {
    let routes = rule
        .map(|rule| route::routes(view, rule, gateways, port))
        .unwrap_or_default();
    if routes.is_empty() {
        let mut route = route::default_route(&service.host, port);
        hash::add_default(view, service, port, &mut route);
        vec![route]
    } else {
        routes
    }
}

/// The virtual host for all other hosts.
fn catch_all(policy: OutboundPolicy) -> pb::VirtualHost {
    let route = match policy {
        OutboundPolicy::AllowAny => route::plain_route(ALLOW_ANY, PASSTHROUGH),
        OutboundPolicy::RegistryOnly => route::answer_route(BLOCK_ALL, 502),
    };
    route::virtual_host(route.name.clone(), vec!["*".to_owned()], vec![route])
}

/// Envoy rejects a route configuration in which a domain stands twice: the first keeps it.
fn unique_domains(hosts: Vec<pb::VirtualHost>) -> Vec<pb::VirtualHost> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for mut host in hosts {
        host.domains
            .retain(|domain| seen.insert(domain.to_ascii_lowercase()));
        if !host.domains.is_empty() {
            out.push(host);
        }
    }
    out
}

/// The `VirtualService`s of the mesh gateway by host.
pub(super) struct Rules<'a> {
    exact: HashMap<String, &'a Named<Merged>>,
    /// In the order of the objects.
    wildcard: Vec<(String, &'a Named<Merged>)>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(view: &View<'a>, gateways: &Gateways<'_>) -> Self {
        let visible = |rule: &&Named<Merged>| {
            let (spec, owner) = (&rule.spec, rule.namespace.as_str());
            spec.export_to.visible(owner, view.namespace)
                && gateways.wanted(&spec.gateways)
                && view.scope.as_ref().is_none_or(|scope| scope.has_rule(rule))
        };
        let mut rules: Vec<_> = view
            .registry
            .virtual_services
            .iter()
            .filter(visible)
            .collect();
        // Those of the client's own namespace come first; of two for one host the first counts.
        rules.sort_by_key(|rule| rule.namespace != view.namespace);
        let mut this = Self {
            exact: HashMap::new(),
            wildcard: Vec::new(),
        };
        for rule in rules {
            for name in &rule.spec.hosts {
                let name = host::resolve(name, &rule.namespace);
                if name.starts_with('*') {
                    this.wildcard.push((name, rule));
                } else {
                    this.exact.entry(name).or_insert(rule);
                }
            }
        }
        this
    }

    /// The rule for a service: by its name, else by the narrowest wildcard that covers it.
    pub(super) fn of(&self, host: &str) -> Option<&'a Named<Merged>> {
        if let Some(rule) = self.exact.get(host) {
            return Some(rule);
        }
        let covering = self
            .wildcard
            .iter()
            .filter(|(pattern, _)| host::covers(pattern, host));
        // `max_by_key` takes the last of equals; the first counts.
        covering
            .rev()
            .max_by_key(|(pattern, _)| pattern.len())
            .map(|(_, rule)| *rule)
    }

    /// The hosts of rules that no service has, in order.
    fn without_service(&self, view: &View<'_>) -> BTreeMap<String, &'a Named<Merged>> {
        let exact = self.exact.iter().map(|(name, rule)| (name, *rule));
        let wildcard = self.wildcard.iter().rev().map(|(name, rule)| (name, *rule));
        // A service on other ports only has no virtual host in this table.
        let is_on = |service: &Service| service.ports.iter().any(|p| p.number == DEFAULT_PORT);
        let unserved = |name: &str| {
            !view
                .services
                .iter()
                .any(|service| is_on(service) && host::covers(name, &service.host))
        };
        let named = |name: &str| {
            let service = view.registry.service(name, view.namespace);
            !service.is_some_and(is_on)
        };
        exact
            .filter(|(name, _)| named(name))
            .chain(wildcard.filter(|(name, _)| unserved(name)))
            .map(|(name, rule)| (name.clone(), rule))
            .collect()
    }
}
