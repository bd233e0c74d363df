//! Handshakes over real sockets, with a workload of ours at one end and rustls, told what to show, at the other.

mod arrival;
mod by_name;
mod cases;
mod files;
mod live;
mod matrix;
pub(crate) mod pki;
mod pools;
mod resumption;
mod rotation;
pub(crate) mod scene;
mod store;
mod terms;
