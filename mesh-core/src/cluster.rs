//! Clusters and their endpoints (`envoy.config.cluster.v3.Cluster`, `ClusterLoadAssignment`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::lb::{Balancer, LbPolicy};

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
    /// Picks one of them.
    pub balancer: Balancer,
    /// Why no call may be made, though the cluster exists: its content cannot be honoured.
    pub fault: Option<Arc<str>>,
}

impl Cluster {
    /// A cluster over these endpoints. Only those of the first priority that has a healthy one are picked.
    pub fn new(
        name: Arc<str>,
        protocol: Protocol,
        connect_timeout: Duration,
        policy: LbPolicy,
        endpoints: impl Into<Box<[Endpoint]>>,
    ) -> Self {
        let endpoints = endpoints.into();
        let balancer = Balancer::new(policy, &endpoints);
        Self {
            name,
            protocol,
            connect_timeout,
            endpoints,
            balancer,
            fault: None,
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
    /// Whether it may be picked.
    pub health: Health,
    /// How it must be reached.
    pub transport: Transport,
}

impl Endpoint {
    /// A healthy plaintext endpoint of weight 1 and the highest priority.
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            weight: 1,
            priority: 0,
            health: Health::Healthy,
            transport: Transport::Plaintext,
        }
    }
}

/// `LbEndpoint.health_status` as picks see it: UNKNOWN counts as healthy, everything else does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// May be picked.
    Healthy,
    /// Must not be picked.
    Unhealthy,
}

/// What the configuration demands of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transport {
    /// No TLS.
    Plaintext,
    /// TLS, which is not served yet: calls fail and never fall back to plaintext. The text says who demands it.
    TlsDemanded(Arc<str>),
}
