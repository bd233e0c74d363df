//! Hosts outside of the mesh. A sidecar passes a call to them through to the address that the caller
//! had resolved; here the name is resolved and dialled in its place, and `https` gets its TLS.

mod destination;
mod destinations;
mod dial;
mod resolve;

use std::sync::Arc;
use std::time::Duration;

use mesh_core::cluster::{Cluster, Protocol};
use mesh_core::istiod::PASSTHROUGH;

use mesh_xds::dns::Resolver;

use crate::duration::bounded;
use crate::live::LiveCluster;
use crate::security::Security;
use crate::telemetry::{Edges, Errors};
#[cfg(feature = "tls")]
use crate::tls;
pub(crate) use destination::Destination;
use destinations::Destinations;
pub(crate) use destinations::Full;
pub(crate) use dial::{Dial, DialError};

/// istiod's value, for calls whose cluster no configuration gives.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a builder may say of the outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) resolver: Resolver,
    #[cfg(feature = "tls")]
    pub(crate) tls: tls::Settings,
}

/// How hosts are found and reached.
#[derive(Debug)]
struct Means {
    resolver: Resolver,
    #[cfg(feature = "tls")]
    tls: Arc<tls::Outbound>,
    security: Security,
    edges: Arc<Edges>,
}

/// The outside of one mesh.
#[derive(Debug)]
pub(crate) struct Outside {
    means: Means,
    /// Where calls are counted when the configuration has no cluster for them: a mesh without rules, and hosts
    /// that the registry knows under `REGISTRY_ONLY`.
    own: Arc<LiveCluster>,
    destinations: Destinations,
}

/// A host and how it is to be reached: what has connections of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Whether it is reached by TLS.
    pub(crate) secure: bool,
}

impl Outside {
    pub(crate) fn new(
        settings: Settings,
        security: Security,
        errors: &Arc<Errors>,
        edges: &Arc<Edges>,
    ) -> Self {
        let model =
            Cluster::original_destination(PASSTHROUGH.into(), Protocol::Http1, CONNECT_TIMEOUT);
        Self {
            means: Means {
                resolver: settings.resolver,
                #[cfg(feature = "tls")]
                tls: Arc::new(tls::Outbound::new(settings.tls)),
                security,
                edges: Arc::clone(edges),
            },
            own: Arc::new(LiveCluster::following_the_caller(model, errors, edges)),
            destinations: Destinations::default(),
        }
    }

    pub(crate) const fn own(&self) -> &Arc<LiveCluster> {
        &self.own
    }

    /// [`Self::own`], once a call was counted on it.
    pub(crate) fn counted(&self) -> Option<&Arc<LiveCluster>> {
        Some(&self.own).filter(|own| own.cells.started() > 0)
    }

    /// The connections to a host; made at its first call.
    pub(crate) fn destination(
        &self,
        name: Name<'_>,
        cluster: &Cluster,
    ) -> Result<Arc<Destination>, Full> {
        let connect_timeout = bounded(cluster.connect_timeout);
        self.destinations.get(name, connect_timeout, &self.means)
    }
}
