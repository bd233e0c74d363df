//! The clusters that a virtual host's routes name, each once.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_core::route::ClusterIndex;

use crate::decode::Invalid;

#[derive(Default)]
pub(super) struct Clusters {
    names: Vec<Arc<str>>,
    indices: HashMap<Arc<str>, ClusterIndex>,
}

impl Clusters {
    pub(super) fn index(&mut self, name: &str) -> Result<ClusterIndex, Invalid> {
        if let Some(index) = self.indices.get(name) {
            return Ok(*index);
        }
        let index =
            u32::try_from(self.names.len()).map_err(|_| Invalid::new("", "too many clusters"))?;
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.indices.insert(name, ClusterIndex(index));
        Ok(ClusterIndex(index))
    }

    pub(super) fn into_names(self) -> Vec<Arc<str>> {
        self.names
    }
}
