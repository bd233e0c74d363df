//! `Gateway`s that want the same requests.

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

/// `namespace/host`.
fn full(host: &str, own: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.split_once('/') {
        Some((".", name)) => format!("{own}/{name}"),
        Some(_) => host,
        None => format!("*/{host}"),
    }
}
