//! `Sidecar`s of which several are for one workload.

use std::collections::BTreeMap;

use crate::config::Tree;
use crate::decode::Labels;

use super::code::Code;
use super::finding::Report;
use super::mesh::Mesh;
use super::node::Node;
use super::workload;

/// One of them with its selector.
type Selecting<'a> = (&'a Tree, Labels);

pub(super) fn judge(mesh: &Mesh<'_>, report: &mut Report) {
    let mut namespaces: BTreeMap<&str, Vec<Selecting<'_>>> = BTreeMap::new();
    for tree in mesh.of_kind("Sidecar") {
        let selector = Node::spec(tree).get("workloadSelector");
        let labels = selector.map(|s| s.labels("labels")).unwrap_or_default();
        let namespace = tree.header.namespace.as_str();
        namespaces
            .entry(namespace)
            .or_default()
            .push((tree, labels));
    }
    for (namespace, sidecars) in namespaces {
        let (some, all): (Vec<_>, Vec<_>) = sidecars.into_iter().partition(|(_, l)| !l.is_empty());
        for (tree, _) in all.iter().filter(|_| all.len() > 1) {
            let message = format!(
                "the Sidecars {} are all for every workload of the namespace {namespace}, and one of them holds; merge \
                 them, or give them a workloadSelector",
                names(&all)
            );
            report.add(Code::MANY_SIDECARS, tree, &Node::name(tree), message);
        }
        selecting(namespace, &some, mesh, report);
    }
}

/// Those with selectors must not meet in a workload.
fn selecting(namespace: &str, sidecars: &[Selecting<'_>], mesh: &Mesh<'_>, report: &mut Report) {
    let mut of_workload: BTreeMap<String, Vec<Selecting<'_>>> = BTreeMap::new();
    for (tree, selector) in sidecars {
        let labels: Vec<_> = selector.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        let mut workloads = vec![format!("any workload with {{ {} }}", labels.join(", "))];
        let found = workload::selected(mesh, namespace, selector);
        workloads.extend(
            found
                .into_iter()
                .map(|(name, _)| format!("the workload {name}")),
        );
        for workload in workloads {
            let of_workload = of_workload.entry(workload).or_default();
            of_workload.push((tree, selector.clone()));
        }
    }
    for (workload, sidecars) in of_workload.iter().filter(|(_, list)| list.len() > 1) {
        for (tree, _) in sidecars {
            let message = format!(
                "the Sidecars {} are all for {workload}, and one of them holds; merge them, or make their selectors differ",
                names(sidecars)
            );
            report.add(Code::SAME_WORKLOAD, tree, &Node::name(tree), message);
        }
    }
}

fn names(sidecars: &[Selecting<'_>]) -> String {
    let names = sidecars.iter().map(|(tree, _)| tree.header.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}
