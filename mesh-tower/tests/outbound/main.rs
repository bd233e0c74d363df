//! Clients that keep their own connections, under the mesh's rules.

// The compiler's own limit is 128. What a program wraps around ours counts too, and may not meet it.
#![recursion_limit = "96"]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod depth;
mod hyper;
mod limits;
mod passed;
#[cfg(feature = "reqwest")]
mod reqwest;
mod scene;

#[path = "../support/mod.rs"]
mod support;
