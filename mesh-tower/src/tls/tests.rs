//! Handshakes over real sockets, with a workload of ours at one end and rustls, told what to show, at the other.

mod arrival;
mod by_name;
mod cases;
mod files;
mod live;
mod matrix;
mod pki;
mod pools;
mod resumption;
mod rotation;
mod scene;
mod store;
mod terms;
