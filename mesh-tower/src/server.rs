//! The server side: accepts connections, tells the application who calls, and drains.

mod drain;
mod listener;
mod serve;

pub(crate) use drain::Drain;
pub use listener::{ListenError, MeshListener};
pub use serve::PeerIdentity;
