//! The aggregated discovery service: a sans-IO machine, and the task that moves its bytes.

mod accept;
mod machine;
mod request;
mod sotw;
mod task;

pub use machine::{Machine, Status};
pub use request::Request;
pub use task::{Control, InvalidServer, Server, run};
