//! Workloads by namespace and label.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decode::{Labels, selects};

use super::Workload;

/// The workloads of all namespaces, so that a selector need not look at each.
#[derive(Default)]
pub(super) struct Workloads {
    by_namespace: HashMap<String, Vec<Arc<Workload>>>,
    /// By namespace, label and value.
    by_label: HashMap<(String, String, String), Vec<Arc<Workload>>>,
}

impl Workloads {
    pub(super) fn add(&mut self, workload: Workload) {
        let workload = Arc::new(workload);
        for (key, value) in &workload.endpoint.labels {
            let label = (workload.namespace.clone(), key.clone(), value.clone());
            self.by_label
                .entry(label)
                .or_default()
                .push(Arc::clone(&workload));
        }
        self.by_namespace
            .entry(workload.namespace.clone())
            .or_default()
            .push(workload);
    }

    pub(super) fn selected(&self, namespace: &str, selector: &Labels) -> Vec<Arc<Workload>> {
        let with = |(key, value): (&String, &String)| {
            let found = self
                .by_label
                .get(&(namespace.to_owned(), key.clone(), value.clone()));
            found.map_or(&[][..], Vec::as_slice)
        };
        let all = || {
            self.by_namespace
                .get(namespace)
                .map_or(&[][..], Vec::as_slice)
        };
        let candidates = selector
            .iter()
            .map(with)
            .min_by_key(|list| list.len())
            .unwrap_or_else(all);
        let fits = |workload: &&Arc<Workload>| selects(selector, &workload.endpoint.labels);
        candidates.iter().filter(fits).cloned().collect()
    }
}
