//! One accepted configuration, and what it compiles to for each kind of node.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mesh_istio::{Config, Dialect};
use mesh_xds::{Node, NodeType};

use crate::session::{Compiled, View};

/// How many kinds of nodes are remembered; nodes beyond it are compiled for each time, so that made-up labels
/// cannot fill the memory.
const MAX_KINDS: usize = 1024;

/// All that the compiler reads of a node.
type NodeKind = (Dialect, NodeType, String, BTreeMap<String, String>);
/// Filled outside the map's lock: one slow compilation holds up only those who wait for the same result.
type Slot = Arc<OnceLock<Arc<Compiled>>>;

/// A configuration with its number.
pub(crate) struct Generation {
    /// Counts accepted configurations from 1.
    pub(crate) number: u64,
    /// `START/NUMBER`: the start marker keeps versions of two runs apart.
    version: Arc<str>,
    /// The configuration.
    pub(crate) config: Config,
    compiled: Mutex<HashMap<NodeKind, Slot>>,
}

impl Generation {
    pub(crate) fn new(start: &str, number: u64, config: Config) -> Self {
        let version = format!("{start}/{number}").into();
        Self {
            number,
            version,
            config,
            compiled: Mutex::default(),
        }
    }

    /// What this node is to have.
    pub(crate) fn view(&self, node: &Node) -> View {
        let compile = || {
            Arc::new(Compiled {
                dialect: Dialect::of(node),
                resources: self.config.resources(node),
            })
        };
        let compiled = match self.slot(node) {
            Some(slot) => Arc::clone(slot.get_or_init(compile)),
            None => compile(),
        };
        View {
            version: Arc::clone(&self.version),
            compiled,
        }
    }

    fn slot(&self, node: &Node) -> Option<Slot> {
        let kind = (
            Dialect::of(node),
            node.node_type,
            node.namespace.clone(),
            node.labels.clone(),
        );
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= MAX_KINDS && !compiled.contains_key(&kind) {
            return None;
        }
        Some(Arc::clone(compiled.entry(kind).or_default()))
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
