//! What `VirtualService`s name: hosts, subsets, gateways, delegates, and each other's hosts.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Tree;
use crate::host;
use crate::kinds::ExportTo;
use crate::kinds::virtual_service::{MESH, full_gateway};

use super::code::Code;
use super::finding::Report;
use super::mesh::{self, Mesh};
use super::node::Node;

/// A host of an object that holds for the calls of workloads.
struct Claim<'a> {
    tree: &'a Tree,
    host: Node<'a>,
    export_to: ExportTo,
}

/// Several objects for one host: istiod takes the oldest, and files have no age.
pub(super) fn hosts(mesh: &Mesh<'_>, report: &mut Report) {
    let mut claims: BTreeMap<String, Vec<Claim<'_>>> = BTreeMap::new();
    for tree in mesh.virtual_services() {
        let spec = Node::spec(tree);
        let gateways = spec.strings("gateways");
        if !gateways.is_empty() && !gateways.contains(&MESH) {
            continue;
        }
        let mut export_to = mesh::exports(&spec);
        export_to.or(&mesh.config.export.virtual_services);
        for host in spec.items("hosts") {
            let Some(name) = host.text() else { continue };
            let name = host::resolve(&name.to_ascii_lowercase(), &tree.header.namespace);
            claims.entry(name).or_default().push(Claim {
                tree,
                host,
                export_to: export_to.clone(),
            });
        }
    }
    for (name, claims) in claims.iter().filter(|(_, claims)| claims.len() > 1) {
        for claim in claims {
            let others = claims.iter().filter(|other| meet(claim, other));
            let names: Vec<_> = others.map(|other| id(other.tree)).collect();
            if !names.is_empty() {
                let names = names.join(", ");
                let message = format!(
                    "the host {name} is also one of VirtualService {names}, and only one of them holds for calls of \
                     the mesh; merge them, or let each be exported to other namespaces"
                );
                report.add(Code::SAME_HOST, claim.tree, &claim.host, message);
            }
        }
    }
}

/// Whether there is a namespace that sees both.
fn meet(one: &Claim<'_>, other: &Claim<'_>) -> bool {
    if std::ptr::eq(one.tree, other.tree) {
        return false;
    }
    let namespaces = |claim: &Claim<'_>| -> Vec<String> {
        let own = &claim.tree.header.namespace;
        let name = |name: &str| {
            if name == "." {
                own.clone()
            } else {
                name.to_owned()
            }
        };
        claim.export_to.names().map(name).collect()
    };
    let everyone = |names: &[String]| names.is_empty() || names.iter().any(|name| name == "*");
    let (one, other) = (namespaces(one), namespaces(other));
    let no_one = |names: &[String]| matches!(names, [only] if only == "~");
    if no_one(&one) || no_one(&other) {
        return false;
    }
    everyone(&one) || everyone(&other) || one.iter().any(|name| other.contains(name))
}

fn id(tree: &Tree) -> String {
    format!("{}/{}", tree.header.namespace, tree.header.name)
}

/// A name without dots is short for a host of the object's own namespace. Hosts with dots may be any of the outside, and
/// those of a gateway are its own.
pub(super) fn short_hosts(tree: &Tree, mesh: &Mesh<'_>, report: &mut Report) {
    let spec = Node::spec(tree);
    if spec.strings("gateways").iter().any(|name| *name != MESH) {
        return;
    }
    let own = &tree.header.namespace;
    let in_full = |name: &str| host::resolve(&name.to_ascii_lowercase(), own);
    // Of a host to which it also sends, `references` tells that it is missing.
    let destinations: BTreeSet<String> = destinations(&spec)
        .iter()
        .map(|to| in_full(to.string("host")))
        .collect();
    for host in spec.items("hosts") {
        let Some(name) = host.text().filter(|name| !name.contains(['.', '*'])) else {
            continue;
        };
        let full = in_full(name);
        // An address of IPv6 has no dots either.
        let is_name = full.contains('.');
        if !is_name || destinations.contains(&full) || !mesh.services(&full).is_empty() {
            continue;
        }
        let others = mesh.namesakes(&full);
        let advice = match others.is_empty() {
            true => "add a ServiceEntry or a Service for it, or correct the name".to_owned(),
            false => format!("write in full which is meant: {}", others.join(", ")),
        };
        let message = format!(
            "a name without dots is one of the namespace {own}, and there is no host {full}; {advice}"
        );
        report.add(Code::UNKNOWN_NAME, tree, &host, message);
    }
}

/// What one object names.
pub(super) fn references(tree: &Tree, mesh: &Mesh<'_>, report: &mut Report) {
    let spec = Node::spec(tree);
    let hosts = spec.strings("hosts");
    for name in spec.items("gateways") {
        gateway(tree, &name, &hosts, mesh, report);
    }
    for route in spec.items("http") {
        for name in route
            .items("match")
            .iter()
            .flat_map(|m| m.items("gateways"))
        {
            gateway(tree, &name, &[], mesh, report);
        }
        if let Some(to) = route.key("delegate") {
            delegate(tree, &to, mesh, report);
        }
    }
    for to in destinations(&spec) {
        destination(tree, &to, mesh, report);
    }
}

/// Where the HTTP routes send calls, and copies of them.
fn destinations<'a>(spec: &Node<'a>) -> Vec<Node<'a>> {
    let mut out = Vec::new();
    for route in spec.items("http") {
        let entries = [route.items("route"), route.items("mirrors")].concat();
        out.extend(entries.iter().filter_map(|entry| entry.get("destination")));
        out.extend(route.get("mirror"));
    }
    out
}

/// A gateway that is named must be there, and take calls for one of the hosts.
fn gateway(tree: &Tree, node: &Node<'_>, hosts: &[&str], mesh: &Mesh<'_>, report: &mut Report) {
    let Some(name) = node.text().filter(|name| *name != MESH) else {
        return;
    };
    let own = &tree.header.namespace;
    let full = full_gateway(name, own);
    let Some(gateway) = mesh.gateways.get(&full) else {
        let message = format!(
            "there is no Gateway {full}; add it, or name one that there is (NAMESPACE/NAME, or mesh for calls of the mesh)"
        );
        return report.add(Code::NOT_FOUND, tree, node, message);
    };
    let spec = Node::spec(gateway);
    let servers = spec.items("servers");
    let open: Vec<&str> = servers
        .iter()
        .flat_map(|server| server.strings("hosts"))
        .collect();
    let serves = |host: &str| {
        let host = host::resolve(&host.to_ascii_lowercase(), own);
        open.iter().any(|server| {
            let (namespace, name) = server.split_once('/').unwrap_or(("*", server));
            let namespace = if namespace == "." {
                &gateway.header.namespace
            } else {
                namespace
            };
            let allowed = namespace == "*" || namespace == own;
            allowed && host::intersection(&name.to_ascii_lowercase(), &host).is_some()
        })
    };
    if !hosts.is_empty() && !hosts.iter().any(|host| serves(host)) {
        let message = format!(
            "none of the hosts {} is one of Gateway {full}, which serves {}; add the host to one of its servers, or \
             correct spec.hosts",
            hosts.join(", "),
            open.join(", ")
        );
        report.add(Code::NOT_IN_GATEWAY, tree, node, message);
    }
}

/// Where calls go must be a host that the namespace sees, with the port and the subset.
fn destination(tree: &Tree, to: &Node<'_>, mesh: &Mesh<'_>, report: &mut Report) {
    let Some(host) = to.get("host") else { return };
    let Some(name) = host.text() else { return };
    let own = &tree.header.namespace;
    let full = host::resolve(&name.to_ascii_lowercase(), own);
    let known = mesh.services(&full);
    let seen: Vec<_> = known
        .iter()
        .filter(|service| service.visible(own))
        .collect();
    if seen.is_empty() {
        let message = match known.first() {
            Some(service) => format!(
                "the host {full} is that of {} {}, which is not exported to the namespace {own}; add it to its exportTo",
                service.tree.header.kind,
                id(service.tree)
            ),
            None => format!(
                "there is no host {full}; add a ServiceEntry or a Service for it, or correct the name (a name without \
                 dots is one of the namespace {own})"
            ),
        };
        return report.add(Code::NOT_FOUND, tree, &host, message);
    }
    let mut ports: Vec<u32> = seen.iter().flat_map(|s| &s.ports).copied().collect();
    ports.sort_unstable();
    ports.dedup();
    port(tree, to, &full, &ports, report);
    subset(tree, to, &full, mesh, report);
}

fn port(tree: &Tree, to: &Node<'_>, host: &str, ports: &[u32], report: &mut Report) {
    let list = ports
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let Some(port) = to.get("port") else {
        if ports.len() > 1 {
            let message =
                format!("the host {host} has the ports {list}; say which one, as port.number");
            report.add(Code::PORT_REQUIRED, tree, to, message);
        }
        return;
    };
    let Some(node) = port.get("number") else {
        return;
    };
    let Some(number) = node.number() else { return };
    if !ports.is_empty() && !ports.contains(&number) {
        let message = format!("the host {host} has no port {number}; it has {list}");
        report.add(Code::NOT_FOUND, tree, &node, message);
    }
}

fn subset(tree: &Tree, to: &Node<'_>, host: &str, mesh: &Mesh<'_>, report: &mut Report) {
    let Some(node) = to.get("subset") else { return };
    let Some(name) = node.text().filter(|name| !name.is_empty()) else {
        return;
    };
    let rules = mesh.rules(host);
    let mut known: Vec<&str> = rules.iter().flat_map(|r| &r.subsets).copied().collect();
    if known.contains(&name) {
        return;
    }
    known.sort_unstable();
    known.dedup();
    let have = match (rules.is_empty(), known.is_empty()) {
        (true, _) => format!("there is no DestinationRule for {host}"),
        (false, true) => "its DestinationRule has none".to_owned(),
        (false, false) => format!("its DestinationRule has {}", known.join(", ")),
    };
    let message = format!(
        "the host {host} has no subset {name:?} ({have}), so calls fail; add the subset, or correct the name"
    );
    report.add(Code::NOT_FOUND, tree, &node, message);
}

fn delegate(tree: &Tree, to: &Node<'_>, mesh: &Mesh<'_>, report: &mut Report) {
    let name = to.string("name");
    let namespace = match to.string("namespace") {
        "" => tree.header.namespace.as_str(),
        namespace => namespace,
    };
    let full = format!("{namespace}/{name}");
    if name.is_empty() || mesh.delegates.contains_key(&full) {
        return;
    }
    let has_hosts = mesh.virtual_services().any(|other| id(other) == full);
    let message = match has_hosts {
        true => format!(
            "VirtualService {full} has hosts, and only one without can be a delegate; the route is left out"
        ),
        false => format!(
            "there is no VirtualService {full}, so the route is left out; add it, without hosts, or correct the name"
        ),
    };
    report.add(Code::NOT_FOUND, tree, to, message);
}
