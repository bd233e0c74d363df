//! What a service mesh is told: the xDS client of `mesh-tower`.
//!
//! ```text
//! ADS stream -> ads::Machine (sans-IO) -> cache -> assemble -> mesh_core::Snapshot
//! folder     -> mesh-istio -> the same resources -^
//! ```
//!
//! The machine has no sockets: whoever drives it sends what it asks for and hands it what arrives.
//!
//! ```
//! use std::time::Instant;
//!
//! use mesh_core::snapshot::TableKey;
//! use mesh_xds::Node;
//! use mesh_xds::ads::Machine;
//!
//! let mut machine = Machine::new(Node::sidecar("reviews-v1", "default"), "127.0.0.1:15010");
//! machine.want("9080".parse::<TableKey>()?); // the routes of all services on port 9080
//! machine.connected();
//! let first = machine.request(Instant::now()).expect("a stream begins with the clusters");
//! assert!(first.type_url.ends_with("Cluster") && first.node.is_some());
//! # Ok::<(), mesh_core::snapshot::InvalidTableKey>(())
//! ```
pub mod ads;
mod assemble;
pub mod bootstrap;
pub mod csds;
mod decode;
mod dialect;
pub mod dns;
pub mod ext_authz;
pub mod link;
mod listener_name;
pub mod node;
pub mod resource;
mod server_listener;

pub use assemble::{Assembled, Callees, Change, DOES_NOT_EXIST_AFTER, MISSING_CLUSTER_GRACE};
pub use bootstrap::{Bootstrap, BootstrapError, CertificateFiles};
pub use decode::{Invalid, Rejected};
pub use dialect::Dialect;
pub use listener_name::{InvalidListenerName, ListenerName, Wanted};
pub use node::{Node, NodeLocality, NodeType, PodError};
pub use resource::{ResourceType, Resources};
pub use server_listener::{InvalidTemplate, ServerListener, ServerListenerTemplate};
