//! Clusters and their endpoints (`envoy.config.cluster.v3.Cluster`, `ClusterLoadAssignment`).

mod name;
mod workload;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::lb::locality::Locality;
use crate::lb::{Balancer, LbConfig, LbPolicy};
use crate::tls::ClientTls;

pub use name::IstioName;
pub use workload::{Service, Workload};

/// A cluster with the endpoints that it has now.
#[derive(Debug)]
pub struct Cluster {
    /// Its name, as `outbound|9080|v1|reviews.default.svc.cluster.local`.
    pub name: Arc<str>,
    /// What is spoken to its endpoints.
    pub protocol: Protocol,
    /// `connect_timeout`
    pub connect_timeout: Duration,
    /// Its endpoints, in the order of the assignment.
    pub endpoints: Box<[Endpoint]>,
    /// How they share the traffic. With it the balancer can be made again when health changes.
    pub lb: LbConfig,
    /// Picks one of them.
    pub balancer: Balancer,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// Why no call may be made, though the cluster exists: its content cannot be honoured.
    pub fault: Option<Arc<str>>,
    /// Why endpoints are missing that have a name instead of an address.
    pub unresolved: Option<Arc<str>>,
    /// The service that it stands for (metadata `istio.services[0]`), where the control plane tells it.
    pub service: Option<Arc<Service>>,
}

/// Where the endpoints of a cluster come from (`Cluster.type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// The control plane names them: [`Cluster::endpoints`].
    Endpoints,
    /// `ORIGINAL_DST`: the host and the port that the caller asked for. The cluster has no endpoints of its own.
    OriginalDestination {
        /// How the host must be reached.
        transport: Transport,
        /// `use_downstream_protocol_config`: the caller's HTTP version instead of [`Cluster::protocol`].
        callers_version: bool,
    },
}

impl Cluster {
    /// A cluster over these endpoints. A policy alone as `lb` stands for Envoy's defaults.
    pub fn new(
        name: Arc<str>,
        protocol: Protocol,
        connect_timeout: Duration,
        lb: impl Into<LbConfig>,
        endpoints: impl Into<Box<[Endpoint]>>,
    ) -> Self {
        let endpoints = endpoints.into();
        let lb = lb.into();
        let balancer = Balancer::new(&lb, &endpoints);
        Self {
            name,
            protocol,
            connect_timeout,
            endpoints,
            lb,
            balancer,
            discovery: Discovery::Endpoints,
            fault: None,
            unresolved: None,
            service: None,
        }
    }

    /// A cluster that leads to whatever host a caller asks for, in plaintext (`ORIGINAL_DST`).
    pub fn original_destination(
        name: Arc<str>,
        protocol: Protocol,
        connect_timeout: Duration,
    ) -> Self {
        let none = Self::new(name, protocol, connect_timeout, LbPolicy::RoundRobin, []);
        Self {
            discovery: Discovery::OriginalDestination {
                transport: Transport::Plaintext,
                callers_version: false,
            },
            ..none
        }
    }

    /// A cluster that exists but cannot be called, with the reason.
    pub fn faulty(name: Arc<str>, fault: impl Into<Arc<str>>) -> Self {
        let none = Self::new(
            name,
            Protocol::Http1,
            Duration::ZERO,
            LbPolicy::RoundRobin,
            [],
        );
        Self {
            fault: Some(fault.into()),
            ..none
        }
    }
}

/// The HTTP version towards the endpoints of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2 with prior knowledge
    Http2,
}

/// One endpoint (`LbEndpoint`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its weight, at least 1.
    pub weight: u32,
    /// `LocalityLbEndpoints.priority`; 0 is the highest.
    pub priority: u32,
    /// `LocalityLbEndpoints.locality`; `None` is the one without a name.
    pub locality: Option<Arc<Locality>>,
    /// Whether it may be picked.
    pub health: Health,
    /// How it must be reached.
    pub transport: Transport,
    /// Who is there (metadata `istio.workload`), where the control plane tells it.
    pub workload: Option<Arc<Workload>>,
}

impl Endpoint {
    /// A healthy plaintext endpoint of weight 1 and the highest priority.
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            weight: 1,
            priority: 0,
            locality: None,
            health: Health::Healthy,
            transport: Transport::Plaintext,
            workload: None,
        }
    }
}

/// `LbEndpoint.health_status` as picks see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// May be picked: HEALTHY and UNKNOWN.
    Healthy,
    /// Picked for what the healthy endpoints cannot take: DEGRADED.
    Degraded,
    /// Picked in panic only: UNHEALTHY and TIMEOUT.
    Unhealthy,
    /// On its way out: DRAINING. Picked in panic only, and it does not count among the endpoints
    /// that should be healthy (Envoy's excluded hosts).
    Draining,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        })
    }
}

/// What the configuration demands of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transport {
    /// No TLS.
    Plaintext,
    /// TLS on these terms.
    Tls(Arc<ClientTls>),
    /// Something is demanded that cannot be served: calls fail and never fall back to plaintext. The text says who demands
    /// what.
    Refused(Arc<str>),
}

impl Transport {
    /// Why there can be no connection, where that is so.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Plaintext | Self::Tls(_) => None,
            Self::Refused(who) => Some(format!(
                "TLS is demanded by the {who} and cannot be served; plaintext is never used in its place"
            )),
        }
    }

    /// Why a connection must not be plaintext, where that is so.
    pub fn no_plaintext(&self) -> Option<String> {
        match self {
            Self::Plaintext => None,
            Self::Tls(tls) => Some(format!(
                "TLS is demanded by the {}, and plaintext is never used in its place",
                tls.terms().who
            )),
            Self::Refused(_) => self.refusal(),
        }
    }
}
