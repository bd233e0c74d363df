//! Single layers of the mesh around services of your own: no control plane, no rules, no `Mesh`.
//!
//! Each is a `tower::Layer` over any `Service<Request<B>>`, as hyper-util's client, tonic's `Channel`, axum's
//! `Router`, or [`MeshClient`](crate::MeshClient). They share their inner parts with the layers of a client of the
//! mesh ([`crate::client`]), which travel with routed requests and are no use elsewhere.
//!
//! - [`RepeatLayer`]: repeats a request that was not sent.
//! - [`TimeoutLayer`]: Envoy's limits of a call's time.
//! - [`StatsLayer`]: counts calls, those that run, and how they ended.

mod repeat;
mod stats;
mod timeout;

pub use repeat::{Repeat, RepeatFuture, RepeatLayer, not_sent};
pub use stats::{CallStats, CountedBody, StatsFuture, StatsLayer, WithStats};
pub use timeout::{TimedBody, Timeout, TimeoutFuture, TimeoutLayer, UploadBody};
