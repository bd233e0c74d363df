//! What is counted: cells owned by clusters and endpoints, read through `Mesh::stats`.

mod cells;
mod layer;
mod running;
mod stats;

pub(crate) use cells::{Cells, Errors, Outcome};
pub use layer::{Telemetry, TelemetryLayer};
pub(crate) use running::Running;
pub use stats::{EdgeStats, FaultStats, MirrorStats, Stats};
