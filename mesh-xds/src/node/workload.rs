//! What metrics call a node.

use std::sync::Arc;

use envoy_types::pb::google::protobuf::value::Kind;
use mesh_core::cluster::Workload;

use super::Node;

/// Where Istio finds a canonical name and revision (`istio.io/istio/pkg/model`, "canonical service"), best first.
const NAMES: [&str; 3] = [
    "service.istio.io/canonical-name",
    "app.kubernetes.io/name",
    "app",
];
const REVISIONS: [&str; 3] = [
    "service.istio.io/canonical-revision",
    "app.kubernetes.io/version",
    "version",
];

impl Node {
    /// The workload that this node is, as Istio's metrics name it: of the metadata `WORKLOAD_NAME` (the node's name
    /// without it), `NAMESPACE` and `CLUSTER_ID` (`Kubernetes` without it), and of the labels. The canonical service
    /// is the workload's name where no label says it, the revision `latest`.
    pub fn workload(&self) -> Workload {
        let meta = |key| self.meta(key);
        let label = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| self.labels.get(*key));
            found.map(String::as_str)
        };
        let text = |text: Option<&str>, otherwise: &str| Arc::from(text.unwrap_or(otherwise));
        let name = meta("WORKLOAD_NAME").unwrap_or(&self.name);
        Workload {
            name: name.into(),
            namespace: text(meta("NAMESPACE"), &self.namespace),
            canonical_service: text(label(&NAMES), name),
            canonical_revision: text(label(&REVISIONS), "latest"),
            cluster: text(meta("CLUSTER_ID"), "Kubernetes"),
            app: text(label(&["app"]), ""),
            version: text(label(&["version"]), ""),
        }
    }
    /// The mesh that this node is in, of the metadata `MESH_ID`.
    pub fn mesh_id(&self) -> Option<&str> {
        self.meta("MESH_ID")
    }

    fn meta(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)?.kind.as_ref()? {
            Kind::StringValue(text) => Some(text),
            _ => None,
        }
    }
}
