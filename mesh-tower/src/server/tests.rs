//! Servers whose rules the test publishes, over real sockets.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod changes;
mod half_open;
mod health;
mod opening;
mod policy;
mod scene;
mod tricks;
mod unguarded;
mod untold;
