//! The route configurations of a router: `http.PORT`, or `http.PORT.BIND`, for the HTTP servers of the `Gateway`s that select it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use envoy_types::pb::envoy::config::route::v3 as pb;

use crate::decode::selects;
use crate::host;
use crate::kinds::gateway::{Gateway, ServerHost};
use crate::kinds::virtual_service::Merged;
use crate::registry::Named;

use super::View;
use super::route::{self, Gateways};

/// What the servers of one port have in common: who owns them, and for which hosts.
type Servers<'a> = Vec<(&'a Named<Gateway>, &'a [ServerHost])>;

/// The routes of a host, and the rules that they come from by their places in the registry.
#[derive(Default)]
struct Routes {
    rules: Vec<usize>,
    routes: Vec<pb::Route>,
}

pub(super) fn routes(view: &View<'_>) -> Vec<pb::RouteConfiguration> {
    let mut ports: BTreeMap<(u32, &str), Servers<'_>> = BTreeMap::new();
    for gateway in view
        .registry
        .gateways
        .iter()
        .filter(|g| selects(&g.spec.selector, view.labels))
    {
        for server in &gateway.spec.servers {
            ports
                .entry((server.port, &server.bind))
                .or_default()
                .push((gateway, &server.hosts));
        }
    }
    ports
        .into_iter()
        .map(|((port, bind), servers)| of_port(view, port, bind, &servers))
        .collect()
}

fn of_port(
    view: &View<'_>,
    port: u32,
    bind: &str,
    servers: &Servers<'_>,
) -> pb::RouteConfiguration {
    let mut hosts: BTreeMap<String, Routes> = BTreeMap::new();
    let visible =
        |rule: &&Named<Merged>| rule.spec.export_to.visible(&rule.namespace, view.namespace);
    for (gateway, server_hosts) in servers {
        let name = [format!("{}/{}", gateway.namespace, gateway.name)];
        let gateways = Gateways(&name);
        let rules = view.registry.virtual_services.iter().enumerate();
        for (at, rule) in rules.filter(|(_, rule)| visible(rule)) {
            if !gateways.wanted(&rule.spec.gateways) {
                continue;
            }
            let domains = domains(rule, gateway, server_hosts);
            if domains.is_empty() {
                continue;
            }
            let routes = route::routes(view, rule, &gateways, port);
            for domain in domains {
                let known = hosts.entry(domain).or_default();
                known.rules.push(at);
                known.routes.extend_from_slice(&routes);
            }
        }
    }
    let mut virtual_hosts = virtual_hosts(hosts, port);
    if virtual_hosts.is_empty() {
        // Without a route Envoy answers 404.
        virtual_hosts.push(pb::VirtualHost {
            name: format!("blackhole:{port}"),
            domains: vec!["*".to_owned()],
            ..pb::VirtualHost::default()
        });
    }
    let name = match bind {
        "" => format!("http.{port}"),
        bind => format!("http.{port}.{bind}"),
    };
    route::configuration(name, virtual_hosts)
}

/// Hosts with the same routes become one, called after the first of them (istiod's route collapse).
fn virtual_hosts(hosts: BTreeMap<String, Routes>, port: u32) -> Vec<pb::VirtualHost> {
    let mut hosts: Vec<_> = hosts.into_iter().collect();
    hosts.retain(|(_, of_host)| !of_host.routes.is_empty());
    // Names before wildcards, the longest first.
    hosts.sort_by_key(|(name, _)| (name.starts_with('*'), Reverse(name.len())));
    let mut out: Vec<pb::VirtualHost> = Vec::new();
    // Only what comes from the same rules can be the same.
    let mut alike: HashMap<Vec<usize>, usize> = HashMap::new();
    for (domain, Routes { rules, mut routes }) in hosts {
        // Several rules for one host: what takes everything goes last.
        routes.sort_by_key(route::takes_all);
        let same = alike.get(&rules).and_then(|at| out.get_mut(*at));
        match same.filter(|host| host.routes == routes) {
            Some(host) => host.domains.push(domain),
            None => {
                alike.insert(rules, out.len());
                let name = format!("{domain}:{port}");
                out.push(route::virtual_host(name, vec![domain], routes));
            }
        }
    }
    out
}

/// The hosts that a rule and a server have in common, as narrow as either says.
fn domains(rule: &Named<Merged>, gateway: &Named<Gateway>, hosts: &[ServerHost]) -> Vec<String> {
    let mut out = Vec::new();
    for name in &rule.spec.hosts {
        let name = host::resolve(name, &rule.namespace);
        for server in hosts {
            let may_bind = match server.namespace.as_str() {
                "*" => true,
                "." => rule.namespace == gateway.namespace,
                namespace => rule.namespace == namespace,
            };
            let common = if may_bind {
                host::intersection(&server.host, &name)
            } else {
                None
            };
            if let Some(common) = common
                .map(str::to_owned)
                .filter(|common| !out.contains(common))
            {
                out.push(common);
            }
        }
    }
    out
}
