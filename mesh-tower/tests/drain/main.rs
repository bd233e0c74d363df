//! Draining: by the application and by signals.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[cfg(unix)]
mod signal;
mod silence;
#[cfg(feature = "grpc")]
mod streams;
mod ways;
mod wire;

#[path = "../support/mod.rs"]
mod support;
