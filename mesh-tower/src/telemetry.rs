//! What is counted: cells owned by clusters and endpoints, read through `Mesh::stats`.

mod cells;
mod layer;
mod stats;

pub(crate) use cells::{Cells, Errors, Outcome};
pub use layer::{Telemetry, TelemetryLayer};
pub use stats::{EdgeStats, Stats};
