//! Hosts outside of the mesh.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod direct;
#[cfg(feature = "tls")]
mod https;
mod kept;
mod names;
mod policy;
mod scripted;

#[path = "../support/mod.rs"]
mod support;
