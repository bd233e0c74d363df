//! The aggregated discovery service: a sans-IO machine, and the task that moves its bytes.

mod accept;
mod machine;
mod sotw;
mod task;

pub use machine::{Machine, Status};
pub use task::{Control, InvalidServer, Server, run};
