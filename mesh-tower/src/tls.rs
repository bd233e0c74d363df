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
#[cfg(feature = "csr")]
mod csr;
mod error;
mod files;
mod keys;
mod link;
mod moment;
mod named;
mod outside;
mod proof;
mod provider;
mod registry;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod thread;
mod trust;
mod verify;

pub(crate) use client::Client;
#[cfg(feature = "csr")]
pub use csr::Csr;
pub(crate) use error::TlsError;
pub use files::Files;
pub use keys::{Identity, InvalidPem, Material, PrivateKey, Roots};
pub(crate) use link::{Believed, Link};
pub use outside::CryptoProvider;
pub(crate) use outside::{Outbound, Settings, Stream};
pub use provider::{CertificateProvider, Certificates, Feeding};
#[allow(unused_imports, reason = "listeners take it next")]
pub(crate) use registry::{Kept, Side};
pub use store::Rejected;
pub(crate) use store::Store;
