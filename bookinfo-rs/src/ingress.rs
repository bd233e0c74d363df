//! The ingress: Bookinfo's way in from outside the mesh, a reverse proxy over the gateway's own routes.
//!
//! Outside it is the listener of one port of a `Gateway` (the number there, whatever port is listened on): plaintext or TLS,
//! with the certificate of the server that a client names, and with the policies that select the gateway. It trusts nobody:
//! framing is checked before it is parsed ([`framing`]), who says nothing is not waited for ([`Limits`]), and headers that
//! belong to a connection stay on it ([`headers`]). Inside it is a [`MeshClient`](mesh_tower::MeshClient) for the routes of
//! the server by which a request came. Where those lead out of the mesh, it is an egress gateway.

pub mod framing;
pub mod headers;
mod opening;
mod proxy;
mod server;
mod tunnel;

pub use proxy::Proxy;
pub use server::{Gateway, IngressError, Limits, serve, serve_within};
