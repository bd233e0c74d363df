//! Which workloads of the files a selector means, and which ports of theirs are anybody's.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Tree;
use crate::decode::{Labels, selects};
use crate::yaml::{Data, Entry};

use super::code::Code;
use super::finding::Report;
use super::mesh::Mesh;
use super::node::Node;

/// What selects workloads of its own namespace, and what it calls their ports.
struct Selecting<'a> {
    namespace: &'a str,
    selector: Labels,
    /// `ServiceEntry reviews`.
    name: String,
    ports: BTreeSet<&'a str>,
}

pub(super) fn judge(mesh: &Mesh<'_>, report: &mut Report) {
    let entries: Vec<(&Tree, Labels)> = mesh
        .of_kind("WorkloadEntry")
        .map(|tree| (tree, labels_of(tree)))
        .collect();
    for tree in mesh.of_kind("ServiceEntry") {
        elsewhere(tree, &entries, report);
    }
    let selecting: Vec<Selecting<'_>> = mesh.trees.iter().filter_map(Selecting::of).collect();
    for (tree, labels) in &entries {
        ports(tree, labels, &selecting, report);
    }
}

/// A selector that means workloads of another namespace, where it does not reach. Where the files have no such workload at
/// all, they may come from elsewhere.
fn elsewhere(tree: &Tree, entries: &[(&Tree, Labels)], report: &mut Report) {
    let Some(node) = Node::spec(tree).key("workloadSelector") else {
        return;
    };
    let selector = node.labels("labels");
    let meant = entries.iter().filter(|(_, has)| selects(&selector, has));
    let namespaces: BTreeSet<&str> = meant
        .map(|(entry, _)| entry.header.namespace.as_str())
        .collect();
    let own = tree.header.namespace.as_str();
    if namespaces.is_empty() || namespaces.contains(own) {
        return;
    }
    let others = namespaces.into_iter().collect::<Vec<_>>().join(", ");
    let message = format!(
        "no WorkloadEntry of the namespace {own} has these labels, and a selector means those of its own; in {others} there \
         are some: move the ServiceEntry or them, or the host has no endpoints"
    );
    report.add(Code::NO_WORKLOAD, tree, &node, message);
}

/// `ports` of a workload go by the names of the ports of who selects it; any other name is read by nobody.
fn ports(tree: &Tree, labels: &Labels, selecting: &[Selecting<'_>], report: &mut Report) {
    let Some(given) = Node::spec(tree).key("ports") else {
        return;
    };
    let own = tree.header.namespace.as_str();
    let by: BTreeMap<&str, &BTreeSet<&str>> = selecting
        .iter()
        .filter(|one| one.namespace == own && selects(&one.selector, labels))
        .map(|one| (one.name.as_str(), &one.ports))
        .collect();
    let allowed: BTreeSet<&str> = by
        .values()
        .flat_map(|ports| ports.iter().copied())
        .collect();
    let unknown = given.entries().iter().map(|entry| entry.key.as_str());
    for name in unknown.filter(|name| !by.is_empty() && !allowed.contains(name)) {
        let at = given.key(name).unwrap_or_else(|| given.clone());
        let names = by.keys().copied().collect::<Vec<_>>().join(" and ");
        let allowed = allowed.iter().copied().collect::<Vec<_>>().join(", ");
        let message = format!(
            "{names}, which selects this workload, has no port of the name {name:?}, so nobody reads this one; it has {allowed}"
        );
        report.add(Code::UNREAD_PORT, tree, &at, message);
    }
}

impl<'a> Selecting<'a> {
    fn of(tree: &'a Tree) -> Option<Self> {
        let spec = Node::spec(tree);
        let header = &tree.header;
        let selector = match (header.group(), header.kind.as_str()) {
            ("networking.istio.io", "ServiceEntry") => {
                spec.get("workloadSelector")?.labels("labels")
            }
            // Without a selector it lists its endpoints elsewhere.
            ("", "Service") => Some(spec.labels("selector")).filter(|labels| !labels.is_empty())?,
            _ => return None,
        };
        let ports = spec.items("ports").into_iter();
        Some(Self {
            namespace: &header.namespace,
            selector,
            name: format!("{} {}", header.kind, header.name),
            ports: ports.map(|port| port.string("name")).collect(),
        })
    }
}

/// Those of the spec, and over them those of the object.
pub(super) fn labels_of(tree: &Tree) -> Labels {
    let mut labels = Node::spec(tree).labels("labels");
    let metadata = tree.root.get("metadata").and_then(|m| m.get("labels"));
    if let Some(Data::Map(entries)) = metadata.map(|labels| &labels.data) {
        let text = |e: &Entry| Some((e.key.clone(), e.value.as_str()?.to_owned()));
        labels.extend(entries.iter().filter_map(text));
    }
    labels
}

/// The names and labels of the `WorkloadEntry`s of a namespace that a selector selects.
pub(super) fn selected(
    mesh: &Mesh<'_>,
    namespace: &str,
    selector: &Labels,
) -> Vec<(String, Labels)> {
    let of_namespace = |tree: &&Tree| tree.header.namespace == namespace;
    let entries = mesh.of_kind("WorkloadEntry").filter(of_namespace);
    let labelled = entries.map(|t| (t.header.name.clone(), labels_of(t)));
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
