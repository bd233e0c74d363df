//! Objects that say by a selector for whom they are, and nodes of which nobody knows the labels.

use std::fmt;

use mesh_xds::Node;

use crate::decode::Labels;

use super::{Named, Registry};

/// How many objects are named.
const MOST_NAMED: usize = 3;

/// Objects with a selector, of which none applies to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unselected {
    name: String,
    namespace: String,
    /// `Kind namespace/name`.
    objects: Vec<String>,
    /// Whether a `Sidecar` is among them.
    has_sidecar: bool,
}

impl Registry {
    /// The objects that may select a workload of this namespace by its labels, where the node's are not known: it tells
    /// none, and no workload at its address is taken to be its own.
    pub(crate) fn unselected(&self, node: &Node) -> Option<Unselected> {
        if !node.labels.is_empty() || !self.own(node).labels.is_empty() {
            return None;
        }
        let (own, root) = (node.namespace.as_str(), self.mesh.root_namespace.as_str());
        let by_all = [own, root];
        let policies = selecting("AuthorizationPolicy", &self.policies, &by_all, |it| {
            Some(&it.selector)
        });
        let tokens = selecting("RequestAuthentication", &self.tokens, &by_all, |it| {
            Some(&it.selector)
        });
        // With a selector, those of the root namespace are for that namespace alone.
        let peers = selecting("PeerAuthentication", &self.peers, &[own], |it| {
            Some(&it.selector)
        });
        let sidecars = selecting("Sidecar", &self.sidecars, &[own], |it| it.selector.as_ref());
        let has_sidecar = !sidecars.is_empty();
        let objects = [policies, tokens, peers, sidecars].concat();
        (!objects.is_empty()).then(|| Unselected {
            name: node.name.clone(),
            namespace: node.namespace.clone(),
            objects,
            has_sidecar,
        })
    }
}

fn selecting<T>(
    kind: &str,
    all: &[Named<T>],
    namespaces: &[&str],
    selector: impl Fn(&T) -> Option<&Labels>,
) -> Vec<String> {
    let is_one = |it: &&Named<T>| {
        namespaces.contains(&&*it.namespace) && selector(&it.spec).is_some_and(|it| !it.is_empty())
    };
    let id = |it: &Named<T>| format!("{kind} {}/{}", it.namespace, it.name);
    all.iter().filter(is_one).map(id).collect()
}

impl fmt::Display for Unselected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            namespace,
            objects,
            has_sidecar,
        } = self;
        write!(
            f,
            "there is no WorkloadEntry {name:?} in namespace {namespace:?}, and the node's metadata has no LABELS, so that no policy with a selector applies to it ("
        )?;
        f.write_str(&objects[..objects.len().min(MOST_NAMED)].join(", "))?;
        if let Some(more @ 1..) = objects.len().checked_sub(MOST_NAMED) {
            write!(f, " and {more} more")?;
        }
        f.write_str("); give it the name and namespace of its WorkloadEntry, or metadata LABELS")?;
        match has_sidecar {
            true => f.write_str(" (a Sidecar's workloadSelector reads LABELS alone)"),
            false => Ok(()),
        }
    }
}
