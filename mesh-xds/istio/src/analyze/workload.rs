//! Which workloads of the files a selector means.

use crate::config::Tree;
use crate::decode::{Labels, selects};

use super::mesh::Mesh;
use super::node::Node;

/// The names and labels of the `WorkloadEntry`s of a namespace that a selector selects.
pub(super) fn selected(
    mesh: &Mesh<'_>,
    namespace: &str,
    selector: &Labels,
) -> Vec<(String, Labels)> {
    let of_namespace = |tree: &&Tree| tree.header.namespace == namespace;
    let entries = mesh.of_kind("WorkloadEntry").filter(of_namespace);
    let labelled = entries.map(|t| (t.header.name.clone(), Node::spec(t).labels("labels")));
    labelled
        .filter(|(_, labels)| selects(selector, labels))
        .collect()
}

/// The labels of each endpoint of a `ServiceEntry` that the files tell of.
pub(super) fn of_entry(mesh: &Mesh<'_>, entry: &Tree) -> Vec<Labels> {
    let spec = Node::spec(entry);
    match spec.get("workloadSelector") {
        Some(selector) => {
            let found = selected(mesh, &entry.header.namespace, &selector.labels("labels"));
            found.into_iter().map(|(_, labels)| labels).collect()
        }
        None => spec
            .items("endpoints")
            .iter()
            .map(|e| e.labels("labels"))
            .collect(),
    }
}
