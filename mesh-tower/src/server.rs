//! The server side: accepts connections, tells the application who calls, and drains.

mod drain;
mod inbound;
mod incoming;
mod listener;
mod serve;
mod signal;
mod stream;

pub(crate) use drain::Drain;
pub use inbound::{Answering, Inbound, InboundLayer};
pub use incoming::Incoming;
pub(crate) use listener::ACCEPT_PAUSE;
pub use listener::{ListenError, MeshListener};
pub use signal::SignalError;
pub use stream::{MeshStream, PeerIdentity};
