//! Single layers of the mesh around services of your own: no control plane, no rules, no `Mesh`.
//!
//! Each is a `tower::Layer` over any `Service<Request<B>>`, as hyper-util's client, tonic's `Channel`, axum's
//! `Router`, or [`MeshClient`](crate::MeshClient). They share their inner parts with the layers of a client of the
//! mesh ([`crate::client`]), which travel with routed requests and are no use elsewhere.
//!
//! - [`Routes`]: one of several services, by paths, headers and weights.
//! - [`RepeatLayer`]: repeats a request that was not sent.
//! - [`TimeoutLayer`]: Envoy's limits of a call's time.
//! - [`StatsLayer`]: counts calls, those that run, and how they ended.
//!
//! Layers of a `ServiceBuilder` are written from the outside in. Counts that callers see, limits over all tries, and a
//! choice among two clients:
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use mesh_tower::{Body, Mesh};
//! use mesh_tower::layer::{RepeatLayer, Routes, Rule, StatsLayer, TimeoutLayer, UploadBody};
//! use tower::ServiceBuilder;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mesh = Mesh::builder().direct().build()?;
//! # let (old, new) = (mesh.client(), mesh.client());
//! let stats = StatsLayer::new();
//! let service = ServiceBuilder::new()
//!     .layer(stats.clone())
//!     .layer(TimeoutLayer::new().timeout(Duration::from_secs(15)))
//!     .layer(RepeatLayer::new())
//!     .map_request(|request: Request<UploadBody<Full<Bytes>>>| request.map(Body::new))
//!     .service(
//!         Routes::builder()
//!             .service("old", old)
//!             .service("new", new)
//!             .rule(Rule::any().split([("old", 99), ("new", 1)]))
//!             .build()?,
//!     );
//! # fn takes<S: tower::Service<Request<Full<Bytes>>>>(_: S) {}
//! # takes(service);
//! # Ok(()) }
//! ```

mod repeat;
mod routes;
mod stats;
mod timeout;

pub use repeat::{Repeat, RepeatFuture, RepeatLayer, not_sent};
pub use routes::{InvalidRoutes, Routes, RoutesBuilder, RoutesFuture, Rule};
pub use stats::{CallStats, CountedBody, StatsFuture, StatsLayer, WithStats};
pub use timeout::{TimedBody, Timeout, TimeoutFuture, TimeoutLayer, UploadBody};
