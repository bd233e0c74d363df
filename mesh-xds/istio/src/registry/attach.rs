//! Routes of Gateway API become rules for the hosts of the services that they name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::diagnostic::Diagnostic;
use crate::host;
use crate::kinds::gateway_api::{Parent, Ranked, Route, Target};
use crate::kinds::http_match::HttpMatch;
use crate::kinds::kubernetes;
use crate::kinds::virtual_service::{MESH, Merged, Semantics, VirtualService};
use crate::kinds::{ExportTo, Spec};

use super::Named;

/// The services that routes may name.
#[derive(Default)]
pub(super) struct Parents {
    /// Names and numbers of ports, by host.
    ports: HashMap<String, Vec<(String, u32)>>,
    /// Hosts, by namespace and name of the `ServiceEntry`.
    entries: HashMap<(String, String), Vec<String>>,
}

impl Parents {
    pub(super) fn add(&mut self, name: &str, namespace: &str, spec: &Spec) {
        let service = match spec {
            Spec::ServiceEntry(entry) => {
                let key = (namespace.to_owned(), name.to_owned());
                self.entries.insert(key, entry.hosts.clone());
                entry
            }
            Spec::Kubernetes(kubernetes::Service::Own(service)) => service,
            Spec::Kubernetes(kubernetes::Service::Alias(_)) => {
                let host = host::resolve(name, namespace);
                self.ports.entry(host).or_default();
                return;
            }
            _ => return,
        };
        for host in &service.hosts {
            let ports = self.ports.entry(host.clone()).or_default();
            ports.extend(service.ports.iter().map(|p| (p.name.clone(), p.number)));
        }
    }

    /// The hosts of a parent, and the port that it means; else why it has none.
    fn find(&self, parent: &Parent) -> Result<(Vec<String>, Option<u32>), String> {
        let hosts = match &parent.target {
            Target::Host(host) if self.ports.contains_key(host) => vec![host.clone()],
            Target::Host(host) => return Err(format!("there is no service {host}")),
            Target::ServiceEntry(name) => {
                let key = (parent.namespace.clone(), name.clone());
                let hosts = self.entries.get(&key).cloned();
                hosts.ok_or_else(|| format!("there is no ServiceEntry {}/{name}", key.0))?
            }
        };
        let known = |fits: &dyn Fn(&(String, u32)) -> bool| {
            let mut ports = hosts
                .iter()
                .filter_map(|host| self.ports.get(host))
                .flatten();
            ports.find(|port| fits(port)).map(|(_, number)| *number)
        };
        let port = match (&parent.section, parent.port) {
            (None, None) => None,
            (None, Some(number)) => Some(
                known(&|port| port.1 == number)
                    .ok_or_else(|| format!("the service has no port {number}"))?,
            ),
            (Some(name), number) => Some(
                known(&|port| port.0 == *name && number.is_none_or(|number| port.1 == number))
                    .ok_or_else(|| format!("the service has no such port {name:?}"))?,
            ),
        };
        Ok((hosts, port))
    }
}

/// A rule of one object, for one host.
struct Rule {
    ranked: Ranked,
    created: Option<String>,
    object: String,
    /// Whether the service is of the route's own namespace.
    of_producer: bool,
}

/// One object for each namespace and host, with the rules of all routes for it in the order in which they are tried:
/// by their matches, then by the age and the name of the routes, then as they stand in the file.
pub(super) fn attach(
    routes: Vec<Named<Route>>,
    parents: &Parents,
    export_to: &ExportTo,
    notes: &mut Vec<Diagnostic>,
) -> Vec<Named<Merged>> {
    let mut found: BTreeMap<(String, String), Vec<Rule>> = BTreeMap::new();
    for route in routes {
        missing_backends(&route, parents, notes);
        // A parent that is named twice has the rules once.
        let mut seen = HashSet::new();
        for parent in &route.spec.parents {
            let (hosts, port) = match parents.find(parent) {
                Ok(found) => found,
                Err(reason) => {
                    let message = format!("{reason}: the route has no effect for this parent");
                    let note = parent.note.clone();
                    notes.push(Diagnostic { message, ..note });
                    continue;
                }
            };
            for host in hosts {
                if !seen.insert((host.clone(), port)) {
                    continue;
                }
                let key = (route.namespace.clone(), host);
                let rules = route.spec.rules.iter().map(|ranked| Rule {
                    ranked: on_port(ranked, port),
                    created: route.spec.created.clone(),
                    object: route.name.clone(),
                    of_producer: parent.namespace == route.namespace,
                });
                found.entry(key).or_default().extend(rules);
            }
        }
    }
    let merged = found.into_iter().map(|((namespace, host), mut rules)| {
        // Stable: those of one route stay as they are.
        rules.sort_by(|a, b| {
            let order = |rule: &Rule| Reverse(rule.ranked.precedence);
            order(a)
                .cmp(&order(b))
                .then_with(|| (&a.created, &a.object).cmp(&(&b.created, &b.object)))
        });
        let for_all = rules.iter().any(|rule| rule.of_producer);
        let http = rules.into_iter().map(|rule| rule.ranked.route).collect();
        let spec = VirtualService {
            gateways: vec![MESH.to_owned()],
            // A route for the service of another namespace is for the callers of its own.
            export_to: match for_all {
                true => export_to.clone(),
                false => ExportTo::of("."),
            },
            hosts: vec![host.clone()],
            semantics: Semantics::GatewayApi,
            http,
        };
        Named::new(format!("{namespace}~{host}"), namespace, spec)
    });
    merged.collect()
}

fn on_port(ranked: &Ranked, port: Option<u32>) -> Ranked {
    let mut ranked = ranked.clone();
    let matches = ranked.route.policy.matches.iter_mut();
    matches.for_each(|entry: &mut HttpMatch| entry.port = port);
    ranked
}

fn missing_backends(route: &Named<Route>, parents: &Parents, notes: &mut Vec<Diagnostic>) {
    for backend in &route.spec.backends {
        if !parents.ports.contains_key(&backend.host) {
            let host = &backend.host;
            let message = format!("there is no service {host}: calls to this backend fail");
            let note = backend.note.clone();
            notes.push(Diagnostic { message, ..note });
        }
    }
}
