//! Resources in their wire form: what a control plane, or a folder of YAML, hands over.

use std::collections::BTreeMap;
use std::fmt;

use envoy_types::pb::google::protobuf::Any;

/// The resource types that we subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoints,
    /// `envoy.config.route.v3.RouteConfiguration`
    Route,
    /// `envoy.config.listener.v3.Listener`: in gRPC's dialect those that calls begin with, in the dialect of sidecars those
    /// of a server, once it asks.
    Listener,
}

impl ResourceType {
    /// All types, in the order in which a control plane should push them: make before break.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Route, Self::Listener];

    /// The `type_url` of the type on the wire.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
        }
    }

    /// The type of a `type_url`, if it is one of ours.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.type_url() == url)
    }

    /// Whether a response of this type is the whole state (absence is deletion): CDS and LDS are, EDS and RDS are not.
    pub const fn is_full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints",
            Self::Route => "route configuration",
            Self::Listener => "listener",
        })
    }
}

/// A whole set of resources by type and name, each packed as it goes over the wire.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// Clusters by name.
    pub clusters: BTreeMap<String, Any>,
    /// Load assignments by cluster (EDS service) name.
    pub endpoints: BTreeMap<String, Any>,
    /// Route configurations by name.
    pub routes: BTreeMap<String, Any>,
    /// Listeners by name: in gRPC's dialect those that calls begin with, in the dialect of sidecars `virtualInbound`.
    pub listeners: BTreeMap<String, Any>,
}

impl Resources {
    /// The resources of one type.
    pub fn of(&self, resource_type: ResourceType) -> &BTreeMap<String, Any> {
        match resource_type {
            ResourceType::Cluster => &self.clusters,
            ResourceType::Endpoints => &self.endpoints,
            ResourceType::Route => &self.routes,
            ResourceType::Listener => &self.listeners,
        }
    }
}
