//! `PeerAuthentication`, `AuthorizationPolicy` and `RequestAuthentication` that are for nobody, or for ports that nobody
//! has, or that are one too many.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Tree;
use crate::decode::{Labels, selects};

use super::code::Code;
use super::finding::Report;
use super::mesh::Mesh;
use super::node::Node;
use super::workload::labels_of;

const GROUP: &str = "security.istio.io";

/// An endpoint of the files.
struct Workload<'a> {
    namespace: &'a str,
    labels: Labels,
}

pub(super) fn judge(mesh: &Mesh<'_>, report: &mut Report) {
    let (workloads, known) = (workloads(mesh), known(mesh));
    let root = mesh.config.root_namespace.as_str();
    let mut scopes: BTreeMap<(&str, Labels), Vec<&Tree>> = BTreeMap::new();
    for tree in mesh
        .trees
        .iter()
        .filter(|tree| tree.header.group() == GROUP)
    {
        let peers = match tree.header.kind.as_str() {
            "PeerAuthentication" => true,
            "AuthorizationPolicy" | "RequestAuthentication" => false,
            _ => continue,
        };
        let namespace = tree.header.namespace.as_str();
        let selector = Node::spec(tree).get("selector");
        let labels = selector
            .map(|s| s.labels("matchLabels"))
            .unwrap_or_default();
        if peers {
            let scope = scopes.entry((namespace, labels.clone())).or_default();
            scope.push(tree);
        }
        // In the root namespace a policy is for all workloads; a PeerAuthentication that selects is for none.
        let everywhere = !peers && namespace == root;
        let nowhere = peers && namespace == root;
        let is_meant = |workload: &Workload<'_>| {
            (everywhere || workload.namespace == namespace) && selects(&labels, &workload.labels)
        };
        if !labels.is_empty() && (nowhere || !workloads.iter().any(is_meant)) {
            nobody(tree, nowhere, report);
        } else {
            ports(tree, &known, report);
        }
        if !peers {
            principals(tree, report);
        }
    }
    for trees in scopes.values().filter(|trees| trees.len() > 1) {
        let names = trees.iter().map(|tree| tree.header.name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        for tree in trees {
            let message = format!(
                "the PeerAuthentications {names} are for the same workloads, and the first by name holds; merge them"
            );
            report.add(Code::TWO_PEERS, tree, &Node::name(tree), message);
        }
    }
}

fn workloads<'a>(mesh: &Mesh<'a>) -> Vec<Workload<'a>> {
    let entries = mesh.of_kind("WorkloadEntry").map(|tree| Workload {
        namespace: tree.header.namespace.as_str(),
        labels: labels_of(tree),
    });
    let inline = mesh.of_kind("ServiceEntry").flat_map(|tree| {
        let endpoints = Node::spec(tree).items("endpoints").into_iter();
        endpoints.map(|endpoint| Workload {
            namespace: tree.header.namespace.as_str(),
            labels: endpoint.labels("labels"),
        })
    });
    entries.chain(inline).collect()
}

fn nobody(tree: &Tree, nowhere: bool, report: &mut Report) {
    let Some(selector) = Node::spec(tree).key("selector") else {
        return;
    };
    let message = match nowhere {
        true => {
            "a selector counts for nobody in the root namespace; write the object into the workloads' own"
        }
        false => "no workload of the files has these labels: the object is for nobody",
    };
    report.add(Code::NO_WORKLOAD, tree, &selector, message.to_owned());
}

/// The ports that the files know: those of services and those that endpoints listen on.
fn known(mesh: &Mesh<'_>) -> BTreeSet<u32> {
    let mut out = BTreeSet::new();
    for tree in mesh.trees {
        let spec = Node::spec(tree);
        for port in spec.items("ports") {
            let numbers = ["number", "port", "targetPort"].map(|key| port.get(key)?.number());
            out.extend(numbers.into_iter().flatten());
        }
        let endpoints = spec.items("endpoints").into_iter();
        for endpoint in endpoints.chain([spec]) {
            let ports = endpoint.get("ports");
            let ports = ports.as_ref().map_or(&[][..], Node::entries);
            let number = |value: &crate::yaml::Value| match value.data {
                crate::yaml::Data::Integer(number) => u32::try_from(number).ok(),
                _ => None,
            };
            out.extend(ports.iter().filter_map(|entry| number(&entry.value)));
        }
    }
    out
}

fn ports(tree: &Tree, known: &BTreeSet<u32>, report: &mut Report) {
    let spec = Node::spec(tree);
    let mut add = |text: &str, at: &Node<'_>| {
        let is_known = text.parse().is_ok_and(|port| known.contains(&port));
        if !is_known {
            let message = format!("nobody of the files serves the port {text}");
            report.add(Code::UNSERVED_PORT, tree, at, message);
        }
    };
    if let Some(of_ports) = spec.key("portLevelMtls") {
        for entry in of_ports.entries() {
            add(&entry.key, &of_ports);
        }
    }
    for rule in spec.items("rules") {
        for to in rule.items("to") {
            let Some(operation) = to.get("operation") else {
                continue;
            };
            for port in operation.items("ports") {
                if let Some(text) = port.text() {
                    add(text, &port);
                }
            }
        }
    }
}

/// The scheme of a SPIFFE id, which principals are written without.
const SCHEME: &str = "spiffe://";

/// Istio puts the scheme before a principal itself, so that one which has it is nobody's.
fn principals(tree: &Tree, report: &mut Report) {
    let mut written = Vec::new();
    for rule in Node::spec(tree).items("rules") {
        for source in rule
            .items("from")
            .iter()
            .filter_map(|from| from.get("source"))
        {
            for key in ["principals", "notPrincipals"] {
                written.extend(source.items(key));
            }
        }
        let is_principal = |when: &&Node<'_>| when.string("key") == "source.principal";
        for when in rule.items("when").iter().filter(is_principal) {
            for key in ["values", "notValues"] {
                written.extend(when.items(key));
            }
        }
    }
    for node in written {
        if let Some(principal) = node.text().and_then(|text| text.strip_prefix(SCHEME)) {
            let message = format!(
                "principals are written without {SCHEME}, so this one matches nobody; write {principal:?}"
            );
            report.add(Code::PRINCIPAL, tree, &node, message);
        }
    }
}
