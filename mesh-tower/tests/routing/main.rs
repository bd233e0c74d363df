//! What the rules do to a request and to its answer.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod faults;
mod gateway_api;
mod header_changes;
mod mirrors;
mod normalization;
mod rewrites;
mod timeouts;

#[path = "../support/mod.rs"]
mod support;
