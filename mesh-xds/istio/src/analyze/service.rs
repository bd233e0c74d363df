//! Ports that do not say what is spoken on them.

use crate::config::Tree;
use crate::kinds::kubernetes;
use crate::kinds::service_entry::Protocol;

use super::code::Code;
use super::finding::Report;
use super::mesh::Mesh;
use super::node::Node;

pub(super) fn judge(mesh: &Mesh<'_>, report: &mut Report) {
    let of_cluster = |t: &&Tree| t.header.group().is_empty() && t.header.kind == "Service";
    for tree in mesh.trees.iter().filter(of_cluster) {
        port_names(tree, report);
    }
    if !allocates(mesh) {
        for tree in mesh.of_kind("ServiceEntry") {
            addresses(tree, report);
        }
    }
}

/// Istio takes a port's protocol from `appProtocol` or from what its name begins with.
fn port_names(tree: &Tree, report: &mut Report) {
    let labels = tree.root.get("metadata").and_then(|m| m.get("labels"));
    if labels.is_some_and(|l| l.get("gateway.istio.io/managed").is_some()) {
        return; // No one wrote its names.
    }
    let spec = Node::spec(tree);
    let external = spec.string("type") == "ExternalName";
    for port in spec.items("ports") {
        let Some(number) = port.get("port").and_then(|n| n.number()) else {
            continue;
        };
        let name = port.string("name");
        let said = port
            .get("appProtocol")
            .and_then(|said| said.text())
            .unwrap_or(name);
        let unset = port.string("protocol") != "UDP"
            && kubernetes::protocol(said, number) == Protocol::Unset;
        let node = port.key("name").unwrap_or_else(|| port.clone());
        if external && (unset || name == "tcp") {
            let message = format!(
                "the port {number} of an ExternalName is called {name:?}, and is taken for TCP; name it after its \
                 protocol, such as http or http-web"
            );
            report.add(Code::EXTERNAL_PORT, tree, &node, message);
        } else if unset && !external {
            let message = format!(
                "the name {name:?} of the port {number} begins with no protocol, so it has to be detected; call it http, \
                 http-web or grpc, or write appProtocol"
            );
            report.add(Code::PORT_NAME, tree, &node, message);
        }
    }
}

/// TCP connections are told apart by their address alone.
fn addresses(tree: &Tree, report: &mut Report) {
    let spec = Node::spec(tree);
    if spec.get("addresses").is_some() {
        return;
    }
    for port in spec.items("ports") {
        let protocol = port.string("protocol");
        if protocol.is_empty() || protocol.eq_ignore_ascii_case("TCP") {
            let message = "a port of TCP, or without a protocol, needs spec.addresses, by which its connections are known; \
                           add them, or say the protocol";
            report.add(Code::ADDRESSES, tree, &port, message.to_owned());
        }
    }
}

/// Whether proxies are told to give addresses to names (`meshConfig.defaultConfig.proxyMetadata`).
fn allocates(mesh: &Mesh<'_>) -> bool {
    let is_config = |t: &&Tree| t.header.group() == "mesh.istio.io";
    let Some(tree) = mesh.trees.iter().find(is_config) else {
        return false;
    };
    let defaults = Node::spec(tree).get("defaultConfig");
    let Some(metadata) = defaults.and_then(|defaults| defaults.get("proxyMetadata")) else {
        return false;
    };
    let on = |key: &str| metadata.string(key) == "true";
    on("ISTIO_META_DNS_CAPTURE")
        && (on("ISTIO_META_DNS_AUTO_ALLOCATE") || on("PILOT_ENABLE_IP_AUTOALLOCATE"))
}
