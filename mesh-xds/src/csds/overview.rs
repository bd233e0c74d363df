//! What a client was told, in words of its own: for pages that people read.

use envoy_types::pb::envoy::admin::v3::ClientResourceStatus;
use envoy_types::pb::envoy::service::status::v3::ClientConfig;
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;

use super::Csds;

/// How a client stands, without the contents of its resources: they may hold what no page should show.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overview {
    /// The node's id.
    pub node: String,
    /// The control plane in use, or the folder.
    pub source: String,
    /// What it wants or has.
    pub resources: Vec<ResourceState>,
}

/// How one resource stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceState {
    /// Its type, as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
    pub type_url: String,
    /// Its name.
    pub name: String,
    /// The version in force; empty when there is none.
    pub version: String,
    /// `envoy.admin.v3.ClientResourceStatus`: `REQUESTED`, `DOES_NOT_EXIST`, `ACKED`, `NACKED`, ...
    pub state: &'static str,
    /// What was wrong with the last update, if it was refused.
    pub last_error: Option<RefusedUpdate>,
}

/// An update that a client refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedUpdate {
    /// Its version.
    pub version: String,
    /// Why.
    pub details: String,
}

impl Csds {
    /// How the client stands. `None` when it has ended, or has no source of rules.
    pub async fn overview(&self) -> Option<Overview> {
        self.ask(false).await.map(Overview::of)
    }
}

impl Overview {
    fn of(config: ClientConfig) -> Self {
        let resources = config.generic_xds_configs.into_iter();
        Self {
            node: config.node.unwrap_or_default().id,
            source: config.client_scope,
            resources: resources.map(ResourceState::of).collect(),
        }
    }
}

impl ResourceState {
    fn of(config: GenericXdsConfig) -> Self {
        let state = config.client_status();
        let refused = config.error_state.map(|error| RefusedUpdate {
            version: error.version_info,
            details: error.details,
        });
        Self {
            type_url: config.type_url,
            name: config.name,
            version: config.version_info,
            state: ClientResourceStatus::as_str_name(&state),
            last_error: refused,
        }
    }
}
