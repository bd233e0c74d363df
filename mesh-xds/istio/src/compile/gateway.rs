//! What a router serves, by the `Gateway`s that select it: a listener for each port, and its route configurations,
//! `http.PORT` for the servers of plaintext on it, `https.PORT.NAME.GATEWAY.NAMESPACE` for each that ends TLS.

mod listener;
mod servers;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::{self as pb, virtual_host::TlsRequirementType};
use mesh_xds::Node;

use crate::host;
use crate::kinds::gateway::{Gateway, ServerHost};
use crate::kinds::virtual_service::Merged;
use crate::registry::{Named, Registry};

use super::View;
use super::route::{self, Gateways};
use servers::{Owned, Place, Servers};

/// What a host has on a port.
#[derive(Default)]
struct Routes {
    /// The rules that the routes come from, by their places in the registry.
    rules: Vec<usize>,
    routes: Vec<pb::Route>,
    /// Whether plaintext is sent away.
    redirects: bool,
}

pub(super) fn listeners(registry: &Registry, node: &Node) -> Vec<Listener> {
    listener::all(registry, node)
}

pub(super) fn routes(view: &View<'_>) -> Vec<pb::RouteConfiguration> {
    let merged = servers::merged(view.registry, view.labels);
    let of = |(place, servers): (Place<'_>, Servers<'_>)| match servers {
        Servers::Plain(all) => vec![table(view, servers::http_table(place), place.port, &all)],
        Servers::Secured(each) => each
            .iter()
            .map(|server| {
                let name = servers::https_table(server.owned);
                table(view, name, place.port, &[server.owned])
            })
            .collect(),
    };
    merged.into_iter().flat_map(of).collect()
}

/// The routes of the servers that have a table in common.
fn table(
    view: &View<'_>,
    name: String,
    port: u32,
    servers: &[Owned<'_>],
) -> pb::RouteConfiguration {
    let mut hosts: BTreeMap<String, Routes> = BTreeMap::new();
    for owned in servers {
        add(view, port, *owned, &mut hosts);
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
    route::configuration(name, virtual_hosts)
}

/// Adds what the rules bound to a gateway say of a server's hosts.
fn add(view: &View<'_>, port: u32, owned: Owned<'_>, hosts: &mut BTreeMap<String, Routes>) {
    let Owned { gateway, server } = owned;
    let visible =
        |rule: &&Named<Merged>| rule.spec.export_to.visible(&rule.namespace, view.namespace);
    let name = [format!("{}/{}", gateway.namespace, gateway.name)];
    let gateways = Gateways(&name);
    let rules = view.registry.virtual_services.iter().enumerate();
    for (at, rule) in rules.filter(|(_, rule)| visible(rule)) {
        if !gateways.wanted(&rule.spec.gateways) {
            continue;
        }
        let domains = domains(rule, gateway, &server.hosts);
        if domains.is_empty() {
            continue;
        }
        let routes = route::routes(view, rule, &gateways, port);
        for domain in domains {
            let known = hosts.entry(domain).or_default();
            known.rules.push(at);
            known.routes.extend_from_slice(&routes);
            known.redirects |= server.redirects;
        }
    }
    if server.redirects {
        // Also of hosts that no rule is for.
        for ServerHost { host, .. } in &server.hosts {
            hosts.entry(host.clone()).or_default().redirects = true;
        }
    }
}

/// Hosts with the same routes become one, called after the first of them (istiod's route collapse).
fn virtual_hosts(hosts: BTreeMap<String, Routes>, port: u32) -> Vec<pb::VirtualHost> {
    let mut hosts: Vec<_> = hosts.into_iter().collect();
    hosts.retain(|(_, of_host)| !of_host.routes.is_empty() || of_host.redirects);
    // Names before wildcards, the longest first.
    hosts.sort_by_key(|(name, _)| (name.starts_with('*'), Reverse(name.len())));
    let mut out: Vec<pb::VirtualHost> = Vec::new();
    // Only what comes from the same rules can be the same.
    let mut alike: HashMap<(Vec<usize>, bool), usize> = HashMap::new();
    for (domain, of_host) in hosts {
        let Routes {
            rules,
            mut routes,
            redirects,
        } = of_host;
        let key = (rules, redirects);
        // Several rules for one host: what takes everything goes last.
        routes.sort_by_key(route::takes_all);
        let same = alike.get(&key).and_then(|at| out.get_mut(*at));
        match same.filter(|host| host.routes == routes) {
            Some(host) => host.domains.push(domain),
            None => {
                alike.insert(key, out.len());
                let name = format!("{domain}:{port}");
                let mut host = route::virtual_host(name, vec![domain], routes);
                if redirects {
                    host.require_tls = TlsRequirementType::All.into();
                }
                out.push(host);
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
