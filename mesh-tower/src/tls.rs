//! All that knows rustls.
#![cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "handshakes between workloads are complete before the pool and the server take them"
    )
)]

mod cert;
mod client;
mod crypto;
mod error;
mod files;
mod jws;
mod keys;
mod outside;
mod proof;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod verify;

pub use keys::{Identity, InvalidPem, Material, PrivateKey, Roots};
pub use outside::CryptoProvider;
pub(crate) use outside::{Outbound, Settings, Stream};
