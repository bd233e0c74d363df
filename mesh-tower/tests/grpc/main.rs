//! Calls of tonic's generated clients.

#![cfg(feature = "grpc")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod calls;
mod cancel;
mod failures;
mod wire;

#[path = "../support/mod.rs"]
mod support;
