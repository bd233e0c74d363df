//! Istio YAML compiled to xDS: what istiod would send to a node, from a folder of files.
//!
//! ```text
//! folder -> yaml (documents, positions) -> kinds (typed, checked) -> registry -> compile -> mesh_xds::Resources
//! ```
//!
//! [`Config::load`] reads a folder; a fault of any document rejects the whole folder, with file, line and column.
//! Kinds and fields of Istio that this version does not serve are accepted and listed in [`Loaded::notes`],
//! except those that secure a call: these are refused, because plaintext in their place would be worse.
//!
//! ```
//! # fn main() -> Result<(), mesh_istio::Rejected> {
//! let text = "
//! apiVersion: networking.istio.io/v1
//! kind: ServiceEntry
//! metadata: { name: reviews, namespace: default }
//! spec:
//!   hosts: [reviews.default.svc.cluster.local]
//!   location: MESH_INTERNAL
//!   resolution: STATIC
//!   ports: [ { number: 9080, name: http, protocol: HTTP } ]
//!   endpoints: [ { address: 127.0.0.1 } ]
//! ";
//! let loaded = mesh_istio::Config::parse([("reviews.yaml".into(), text.to_owned())])?;
//! let resources = loaded.config.resources(&mesh_xds::Node::sidecar("productpage", "default"));
//! assert!(resources.clusters.contains_key("outbound|9080||reviews.default.svc.cluster.local"));
//! # Ok(())
//! # }
//! ```

mod analyze;
mod compile;
mod config;
mod decode;
mod diagnostic;
mod edit;
mod folder;
mod host;
mod kinds;
mod object;
mod registry;
#[cfg(feature = "watch")]
pub mod watch;
mod yaml;

pub use analyze::{Analysis, Finding, Level, analyze};
pub use config::{Config, Loaded, Options};
pub use diagnostic::{Diagnostic, Rejected, Severity};
pub use edit::{Action, Applied, apply, delete};
pub use mesh_xds::Dialect;
pub use object::Object;
pub use registry::{Own, Unselected};
