//! A service mesh without sidecars: tower layers around hyper clients and servers, ruled by an xDS
//! control plane.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mesh = mesh_tower::Mesh::from_env().await?;
//! let page = mesh.client().get("http://reviews:9080/reviews/0").await?;
//! println!("{}", page.into_body().text().await?);
//! # Ok(()) }
//! ```
//!
//! A call runs through typed seams, so that layers in a wrong order do not compile:
//!
//! ```text
//! TelemetryLayer -> RouteLayer -> RetryLayer -> Dispatch
//! Request<Body>     -> Routed      -> Attempt     -> Response<Body>
//! ```
//!
//! Limits of time, repeats, counts and a choice by rules are in [`layer`] for services of your own, without a mesh.

mod admin;
pub mod body;
mod builder;
pub mod client;
mod control;
mod duration;
mod error;
#[cfg(feature = "grpc")]
mod grpc;
pub mod layer;
mod live;
mod mesh;
mod outside;
mod pool;
mod random;
mod security;
mod seldom;
mod server;
mod telemetry;
#[cfg(feature = "tls")]
mod tls;
mod weak_map;

pub use body::Body;
pub use builder::{Builder, RulesFrom, StartError};
pub use client::{CallInfo, CallOptions, MeshClient, Outbound, OutboundLayer};
pub use error::{BoxError, Error, Sent};
#[cfg(feature = "grpc")]
pub use grpc::{InvalidTarget, MeshChannel};
pub use mesh::Mesh;
pub use mesh_core::explain;
pub use mesh_core::identity::{SpiffeId, TrustDomain};
pub use mesh_core::request::PathNormalization;
pub use mesh_xds::Dialect;
pub use mesh_xds::ads::{Status, Variant};
pub use mesh_xds::csds::CsdsService;
pub use mesh_xds::dns::{Resolve, Resolving};
pub use mesh_xds::{Bootstrap, BootstrapError, Node, NodeType};
pub use security::Security;
pub use server::{
    Answering, GatewayChain, Inbound, InboundLayer, Incoming, ListenError, MeshListener,
    MeshStream, PeerIdentity, SignalError,
};
#[cfg(feature = "metrics")]
pub use telemetry::MetricsBridge;
pub use telemetry::{AccessLog, Accounted, EdgeStats, FaultStats, MirrorStats, Propagation, Stats};
#[cfg(feature = "csr")]
pub use tls::Csr;
#[cfg(feature = "spiffe")]
pub use tls::WorkloadApi;
#[cfg(feature = "tls")]
pub use tls::{
    CertificateProvider, Certificates, CryptoProvider, Feeding, Files, Identity, InvalidPem,
    Material, PrivateKey, Rejected, Roots, Sds, Serving,
};
