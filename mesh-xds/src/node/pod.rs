//! A node from the environment of a Kubernetes pod, by the variables that Istio's injector sets.

use std::collections::BTreeMap;

use super::Node;
use crate::bootstrap;

/// Metadata as text: `ISTIO_META_CLUSTER_ID=c1` is the field `CLUSTER_ID`.
const META: &str = "ISTIO_META_";
/// Metadata as JSON: `ISTIO_METAJSON_LABELS={"app":"reviews"}`.
const META_JSON: &str = "ISTIO_METAJSON_";

/// A pod's environment that holds no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {variable}: {reason}")]
pub struct PodError {
    variable: String,
    reason: String,
}

impl Node {
    /// Reads `POD_NAME`, `POD_NAMESPACE`, `INSTANCE_IP`, `SERVICE_ACCOUNT` (may be missing), and
    /// `ISTIO_META_*` and `ISTIO_METAJSON_*` as metadata, of which `LABELS` are the labels. Empty variables
    /// count as missing. `None` when there is no `POD_NAME`: this is no pod, or it was not told its name.
    ///
    /// # Errors
    /// When a variable is missing or cannot be used, with its name.
    pub fn from_pod(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Option<Self>, PodError> {
        let variables: BTreeMap<String, String> = variables
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let Some(name) = variables.get("POD_NAME") else {
            return Ok(None);
        };
        let required = |variable: &str, what: &str| {
            let missing = || PodError {
                variable: variable.to_owned(),
                reason: format!(
                    "is not set, but POD_NAME is; let the pod's template set it to {what}"
                ),
            };
            variables.get(variable).ok_or_else(missing)
        };
        let namespace = required("POD_NAMESPACE", "metadata.namespace")?;
        let ip = required("INSTANCE_IP", "status.podIP")?;
        let ip = ip.parse().map_err(|_| PodError {
            variable: "INSTANCE_IP".to_owned(),
            reason: format!("{ip:?} is not an IP address"),
        })?;
        let mut node = Self::sidecar(name, namespace).with_ip(ip);
        node.service_account = variables.get("SERVICE_ACCOUNT").cloned();
        for (variable, text) in &variables {
            if let Some(key) = variable.strip_prefix(META_JSON) {
                node.add_json(variable, key, text)?;
            } else if let Some(key) = variable.strip_prefix(META) {
                node.metadata.insert(key.to_owned(), super::string(text));
            }
        }
        Ok(Some(node))
    }

    fn add_json(&mut self, variable: &str, key: &str, text: &str) -> Result<(), PodError> {
        let error = |reason: String| PodError {
            variable: variable.to_owned(),
            reason,
        };
        if key == "LABELS" {
            let labels: BTreeMap<String, String> = serde_json::from_str(text)
                .map_err(|e| error(format!("no JSON object of texts: {e}")))?;
            self.labels.extend(labels);
            return Ok(());
        }
        let json = serde_json::from_str(text).map_err(|e| error(format!("no JSON: {e}")))?;
        self.metadata.insert(key.to_owned(), bootstrap::value(json));
        Ok(())
    }
}
