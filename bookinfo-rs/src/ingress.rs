//! The ingress: Bookinfo's way in from outside the mesh, a reverse proxy over the gateway's own routes.
//!
//! Inside it is a [`MeshClient`](mesh_tower::MeshClient) for the routes of `http.PORT` (the number in the `Gateway`,
//! whatever port is listened on). Outside it is a plain HTTP server that trusts nobody: framing is checked before it is parsed
//! ([`framing`]), who says nothing is not waited for ([`Limits`]), and headers that belong to a connection stay on it
//! ([`headers`]).

pub mod framing;
pub mod headers;
mod opening;
mod proxy;
mod server;

pub use proxy::Proxy;
pub use server::{IngressError, Limits, serve, serve_within};
