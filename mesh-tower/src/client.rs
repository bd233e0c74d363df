//! The client: layers with typed seams, assembled into [`MeshClient`].

mod answer;
mod direct;
mod dispatch;
mod fault;
mod head;
mod limit;
mod mesh_client;
mod mirror;
mod options;
mod outbound;
mod retry;
mod route;
mod seam;

pub use crate::pool::Failed;
pub use crate::telemetry::{Telemetry, TelemetryLayer};
pub(crate) use direct::send as direct;
pub use dispatch::Dispatch;
pub(crate) use fault::Faults;
pub(crate) use limit::{By, Expired, Limit, Trail, Watch};
pub use mesh_client::{MeshClient, ResponseFuture};
pub(crate) use mirror::Mirrors;
pub use options::CallOptions;
pub use outbound::{Outbound, OutboundLayer};
pub(crate) use retry::Repeats;
pub use retry::{Retry, RetryFuture, RetryLayer};
pub use route::{Route, RouteFuture, RouteLayer};
pub(crate) use route::{Scope, explain};
pub use seam::{Answered, Attempt, CallInfo, Routed};
