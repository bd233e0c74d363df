//! The ingress: Bookinfo's way in from outside the mesh, a reverse proxy over the gateway's own routes.
//!
//! Inside it is a [`MeshClient`](mesh_tower::MeshClient) for the routes of `http.8080` (the port of the `Gateway`, whatever the port that is listened
//! on). Outside it is a plain HTTP server that trusts nobody: framing is checked before it is parsed
//! ([`framing`]), and headers that belong to a connection stay on it ([`headers`]).

pub mod framing;
pub mod headers;
mod proxy;
mod server;

pub use proxy::Proxy;
pub use server::{IngressError, serve};

/// The port of the `Gateway` whose routes are served.
pub const GATEWAY_PORT: u16 = 8080;
