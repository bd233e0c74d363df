//! What a service mesh is told: the xDS client of `mesh-tower`.
//!
//! ```text
//! ADS stream -> ads::Machine (sans-IO) -> cache -> assemble -> mesh_core::Snapshot
//! folder     -> mesh-istio -> the same resources -^
//! ```
pub mod ads;
mod assemble;
pub mod bootstrap;
mod decode;
pub mod node;
pub mod resource;

pub use assemble::{Assembled, Change, DOES_NOT_EXIST_AFTER, MISSING_CLUSTER_GRACE};
pub use bootstrap::{Bootstrap, BootstrapError};
pub use decode::{Invalid, Rejected};
pub use node::{Node, NodeType};
pub use resource::{ResourceType, Resources};
