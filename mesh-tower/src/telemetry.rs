//! What is counted: cells owned by clusters and endpoints, read through `Mesh::stats`, and those of Istio's metrics,
//! owned by edges and read through `Mesh::prometheus`.
//!
//! An [`Account`] of each call goes with it to the end of its response, since only there it is known how it ended and
//! how long it took. The routing layer opens it: it alone learns both where a call goes and what comes of it.

mod account;
mod answer;
mod cells;
mod edge;
mod edges;
mod ended;
#[cfg(feature = "metrics")]
mod facade;
mod histogram;
mod layer;
mod observe;
mod prometheus;
mod running;
mod series;
mod stats;

pub(crate) use account::{Account, Begun, Toward};
pub use answer::Accounted;
pub(crate) use cells::{Cells, Errors, Outcome};
pub(crate) use edge::Edge;
pub(crate) use edges::{Edges, service_of};
#[cfg(feature = "metrics")]
pub use facade::MetricsBridge;
pub use layer::{Telemetry, TelemetryLayer};
pub use observe::{AccessLog, Propagation};
pub(crate) use observe::{Asked, Observed, Observer, Scope};
#[cfg(feature = "otel")]
pub(crate) use observe::{Tracer, Tried};
pub(crate) use running::Running;
pub use stats::{EdgeStats, FaultStats, MirrorStats, Stats};
