//! The aggregated discovery service: a sans-IO machine, and the task that moves its bytes.
//!
//! A response may have 256 MiB. A larger one is not read: it ends the stream with an error that tells both sizes,
//! what is cached stays in force, and the stream is opened again after the usual back-off.

mod accept;
mod at;
mod delta;
mod history;
mod link;
mod machine;
mod peer;
mod request;
mod server;
mod sotw;
mod strays;
mod stream;
mod task;

pub use at::At;
pub(crate) use history::{Failure, Record, Trouble};
pub use machine::{Machine, Status};
pub use peer::{Features, Peer, Variant};
pub use request::Request;
pub use server::{InvalidServer, Server};
pub use task::{Control, run};
