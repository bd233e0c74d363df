//! The server side: accepts connections, tells the application who calls, and drains.

mod asking;
mod closed;
mod connection;
mod door;
mod drain;
mod gateway;
mod guard;
mod half_open;
mod health;
mod hygiene;
mod inbound;
mod incoming;
mod keys;
mod listener;
mod opening;
mod places;
mod refusal;
mod serve;
mod signal;
mod stream;
mod talk;
#[cfg(all(test, feature = "tls"))]
mod tests;
mod unguarded;
mod untold;
#[cfg(feature = "tls")]
mod xfcc;

pub(crate) use door::Door;
pub(crate) use drain::Drain;
pub use gateway::GatewayChain;
pub(crate) use gateway::upgrade;
pub use inbound::{Answering, Inbound, InboundLayer};
pub use incoming::Incoming;
pub(crate) use listener::ACCEPT_PAUSE;
pub use listener::{ListenError, MeshListener};
pub use signal::SignalError;
pub use stream::{MeshStream, PeerIdentity};
