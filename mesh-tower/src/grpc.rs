//! gRPC: [`MeshChannel`] under tonic's generated clients.

mod channel;
mod target;

pub use channel::MeshChannel;
pub use target::InvalidTarget;
