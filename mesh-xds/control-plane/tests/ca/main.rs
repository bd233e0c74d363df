//! The certificate authority: whom it signs for, what it signs, and where it comes from.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod files;
mod kit;
mod service;
mod sign;
mod tls;
mod tokens;
mod written;
