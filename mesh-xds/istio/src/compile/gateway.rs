//! The route configurations of a router: `http.PORT`, or `http.PORT.BIND`, for the HTTP servers of the `Gateway`s that select it.

use std::collections::BTreeMap;

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
    let mut hosts: BTreeMap<String, Vec<pb::Route>> = BTreeMap::new();
    let visible =
        |rule: &&Named<Merged>| rule.spec.export_to.visible(&rule.namespace, view.namespace);
    for rule in view.registry.virtual_services.iter().filter(visible) {
        for (gateway, server_hosts) in servers {
            let name = [format!("{}/{}", gateway.namespace, gateway.name)];
            let gateways = Gateways(&name);
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
                // One rule bound through two servers of a port gives its routes once.
                known.extend(
                    routes
                        .iter()
                        .filter(|r| !known.contains(r))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
            }
        }
    }
    let mut virtual_hosts = Vec::new();
    for (domain, mut routes) in hosts {
        // Several rules for one host: what takes everything goes last.
        routes.sort_by_key(route::takes_all);
        if !routes.is_empty() {
            virtual_hosts.push(route::virtual_host(
                format!("{domain}:{port}"),
                vec![domain],
                routes,
            ));
        }
    }
    if virtual_hosts.is_empty() {
        let answer = route::answer_route("default", 404);
        virtual_hosts.push(route::virtual_host(
            format!("blackhole:{port}"),
            vec!["*".to_owned()],
            vec![answer],
        ));
    }
    let name = match bind {
        "" => format!("http.{port}"),
        bind => format!("http.{port}.{bind}"),
    };
    route::configuration(name, virtual_hosts)
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
