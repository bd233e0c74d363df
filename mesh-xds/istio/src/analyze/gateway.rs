//! `Gateway`s that want the same requests, and servers that do not go together.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Tree;
use crate::decode::Labels;

use super::code::Code;
use super::finding::Report;
use super::mesh::Mesh;
use super::node::Node;

/// Workloads, port, address, host.
type Key<'a> = (Labels, u32, &'a str, String);

/// Two gateways with one selector must not serve a host on one port twice.
pub(super) fn judge(mesh: &Mesh<'_>, report: &mut Report) {
    twice(mesh, report);
    ports(mesh, report);
}

fn twice(mesh: &Mesh<'_>, report: &mut Report) {
    let mut servers: BTreeMap<Key<'_>, Vec<(&Tree, Node<'_>)>> = BTreeMap::new();
    for tree in mesh.gateways.values().copied() {
        let spec = Node::spec(tree);
        let selector = spec.labels("selector");
        for server in spec.items("servers") {
            let port = server
                .get("port")
                .and_then(|port| port.get("number")?.number());
            let Some(port) = port else { continue };
            for host in server.items("hosts") {
                let Some(name) = host.text() else { continue };
                let name = full(name, &tree.header.namespace);
                let key = (selector.clone(), port, server.string("bind"), name);
                servers.entry(key).or_default().push((tree, host));
            }
        }
    }
    for ((_, port, _, name), claims) in servers {
        for (tree, host) in &claims {
            let others = claims
                .iter()
                .filter(|(other, _)| !std::ptr::eq(*other, *tree));
            let names: BTreeSet<_> = others
                .map(|(other, _)| format!("{}/{}", other.header.namespace, other.header.name))
                .collect();
            if names.is_empty() {
                continue;
            }
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            let message = format!(
                "Gateway {names} has the same selector and serves {name} on the port {port} too; keep one of them, or \
                 give them other hosts, ports or selectors"
            );
            report.add(Code::SAME_SERVER, tree, host, message);
        }
    }
}

/// What one server says of its port.
struct Server<'a> {
    tree: &'a Tree,
    node: Node<'a>,
    is_https: bool,
    /// Without their namespaces.
    hosts: Vec<String>,
}

/// On one port plaintext and TLS do not go together, nor two certificates for one host: the server that comes first, by
/// the names of the gateways, is served, the other one is not.
fn ports(mesh: &Mesh<'_>, report: &mut Report) {
    let mut places: BTreeMap<(Labels, u32, &str), Vec<Server<'_>>> = BTreeMap::new();
    for tree in mesh.gateways.values().copied() {
        let spec = Node::spec(tree);
        let selector = spec.labels("selector");
        for node in spec.items("servers") {
            let port = node.get("port");
            let number = port.as_ref().and_then(|port| port.get("number")?.number());
            let Some((port, number)) = port.zip(number) else {
                continue;
            };
            let is_https = port.string("protocol").eq_ignore_ascii_case("HTTPS");
            let hosts = node.items("hosts");
            let hosts = hosts.iter().filter_map(|host| Some(bare(host.text()?)));
            let (hosts, bind) = (hosts.collect(), node.string("bind"));
            let at = places.entry((selector.clone(), number, bind)).or_default();
            at.push(Server {
                tree,
                node,
                is_https,
                hosts,
            });
        }
    }
    for ((_, port, _), servers) in places {
        for (at, server) in servers.iter().enumerate() {
            let found = servers[..at].iter().find_map(|first| clash(first, server));
            if let Some(fault) = found {
                let message = format!(
                    "on the port {port} this server is left out: {fault}; give it another port or address"
                );
                report.add(Code::SAME_SERVER, server.tree, &server.node, message);
            }
        }
    }
}

/// Why a server is left out beside one before it.
fn clash(first: &Server<'_>, second: &Server<'_>) -> Option<String> {
    let header = &first.tree.header;
    let who = format!("{}/{}", header.namespace, header.name);
    match (first.is_https, second.is_https) {
        (true, false) => Some(format!("Gateway {who} serves HTTPS there")),
        (false, true) => Some(format!("Gateway {who} serves plaintext there")),
        (false, false) => None,
        (true, true) => {
            // Of two gateways it is told already.
            let is_one = std::ptr::eq(first.tree, second.tree);
            let mut hosts = second.hosts.iter();
            let host = hosts.find(|host| is_one && first.hosts.contains(host))?;
            Some(format!(
                "a server before it has another certificate for {host}"
            ))
        }
    }
}

/// The host in `namespace/host`.
fn bare(host: &str) -> String {
    let host = host.split_once('/').map_or(host, |(_, host)| host);
    host.to_ascii_lowercase()
}

/// `namespace/host`.
fn full(host: &str, own: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.split_once('/') {
        Some((".", name)) => format!("{own}/{name}"),
        Some(_) => host,
        None => format!("*/{host}"),
    }
}
