//! Handshakes over real sockets, with a workload of ours at one end and rustls, told what to show, at the other.

#[path = "../../tests/support/agent.rs"]
mod agent;
mod arrival;
mod by_name;
mod cases;
mod domains;
mod files;
mod hostile;
pub(crate) mod keys;
mod live;
pub(super) mod mask;
mod matrix;
pub(crate) mod pki;
mod pools;
mod resumption;
mod rotation;
pub(crate) mod scene;
mod sds;
#[cfg(feature = "spiffe")]
mod spiffe;
mod store;
mod terms;
mod usage;
