//! Where the rules come from.

use std::path::PathBuf;

use mesh_xds::Bootstrap;
use mesh_xds::bootstrap::variable;

/// Where the environment says that rules come from: what [`Mesh::from_env`](crate::Mesh::from_env) goes by. A variable
/// that is empty counts as one that is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RulesFrom {
    /// `MESH=off`: there is no mesh. Any other value of `MESH` says nothing.
    Off,
    /// `GRPC_XDS_BOOTSTRAP` or `GRPC_XDS_BOOTSTRAP_CONFIG`: a control plane.
    Bootstrap,
    /// `MESH_CONFIG`: a folder of Istio YAML.
    Folder(PathBuf),
    /// None of them.
    Nowhere,
}

impl RulesFrom {
    /// Reads the environment; the first of the list that it names.
    pub fn env() -> Self {
        if variable("MESH").is_some_and(|value| value == "off") {
            Self::Off
        } else if Bootstrap::is_named() {
            Self::Bootstrap
        } else if let Some(folder) = variable("MESH_CONFIG") {
            Self::Folder(folder.into())
        } else {
            Self::Nowhere
        }
    }
}
