//! Clients that keep their own connections, under the mesh's rules.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod hyper;
mod limits;
mod passed;
#[cfg(feature = "reqwest")]
mod reqwest;
mod scene;

#[path = "../support/mod.rs"]
mod support;
