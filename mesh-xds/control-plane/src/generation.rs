//! One accepted configuration, and what it compiles to for each kind of node.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use envoy_types::pb::google::protobuf::value::Kind;
use mesh_istio::{Config, Dialect, Own};
use mesh_xds::{Node, NodeType};

use crate::session::{Compiled, View};

/// How many kinds of nodes are remembered; nodes beyond it are compiled for each time, so that made-up labels
/// cannot fill the memory.
const MAX_KINDS: usize = 1024;

/// All that the compiler reads of a node. Its address is not in it, which would be another for each replica, but what
/// lies at it: nobody gets the inbound listener of another workload, and replicas of one share theirs.
#[derive(PartialEq, Eq, Hash)]
struct NodeKind {
    dialect: Dialect,
    node_type: NodeType,
    namespace: String,
    labels: BTreeMap<String, String>,
    /// Region, zone and sub-zone; then the network.
    place: [String; 4],
    own: Own,
}

impl NodeKind {
    fn of(node: &Node, config: &Config) -> Self {
        let network = node.metadata.get("NETWORK").and_then(|v| v.kind.as_ref());
        let network = match network {
            Some(Kind::StringValue(network)) => network.clone(),
            _ => String::new(),
        };
        let at = node.locality.clone();
        Self {
            dialect: Dialect::of(node),
            node_type: node.node_type,
            namespace: node.namespace.clone(),
            labels: node.labels.clone(),
            place: [at.region, at.zone, at.sub_zone, network],
            own: config.own(node),
        }
    }
}

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
        let kind = NodeKind::of(node, &self.config);
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use mesh_xds::NodeLocality;

    use super::*;

    /// One service of two workloads that have the same labels and listen on different ports.
    const FOLDER: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec:
  hosts: [a.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ { number: 80, name: http, protocol: HTTP } ]
  endpoints:
  - { address: 127.0.1.1, ports: { http: 8001 }, labels: { app: a } }
  - { address: 127.0.1.2, ports: { http: 8002 }, labels: { app: a } }
  - { address: 127.0.1.3, ports: { http: 8002 }, labels: { app: a } }
";

    fn node(last: u8) -> Node {
        Node::sidecar("a", "default")
            .with_labels([("app", "a")])
            .with_ip(IpAddr::from([127, 0, 1, last]))
    }

    #[test]
    fn nobody_gets_the_listener_of_another_workload() {
        let folder = [("a.yaml".into(), FOLDER.to_owned())];
        let mesh = mesh_istio::Options::default().certificates(true);
        let config = mesh.parse(folder).unwrap().config;
        let generation = Generation::new("run", 1, config.clone());
        let views = [1, 2, 3, 9].map(|last| generation.view(&node(last)).compiled);
        for (view, last) in views.iter().zip([1, 2, 3, 9]) {
            assert_eq!(view.resources, config.resources(&node(last)), "{last}");
        }
        let [first, second, replica, stranger] = &views;
        assert_ne!(first.resources.listeners, second.resources.listeners);
        assert_ne!(first.resources.listeners, stranger.resources.listeners);
        // Replicas share what they have in common.
        assert!(Arc::ptr_eq(second, replica));
        let mut elsewhere = node(2);
        elsewhere.locality = NodeLocality {
            region: "r".to_owned(),
            ..NodeLocality::default()
        };
        assert!(!Arc::ptr_eq(second, &generation.view(&elsewhere).compiled));
    }
}
