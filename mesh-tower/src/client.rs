//! The client: layers with typed seams, assembled into [`MeshClient`].

mod dispatch;
mod mesh_client;
mod retry;
mod route;
mod seam;

pub use crate::pool::Failed;
pub use crate::telemetry::{Telemetry, TelemetryLayer};
pub use dispatch::Dispatch;
pub use mesh_client::{MeshClient, ResponseFuture};
pub use retry::{Retry, RetryFuture, RetryLayer};
pub(crate) use route::Scope;
pub use route::{Route, RouteFuture, RouteLayer};
pub use seam::{Answered, Attempt, CallInfo, Routed};
