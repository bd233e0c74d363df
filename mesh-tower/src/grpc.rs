//! gRPC: [`MeshChannel`] under tonic's generated clients.

mod channel;
mod target;
mod upload;

pub use channel::MeshChannel;
pub use target::InvalidTarget;
