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
mod jws;
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
pub(crate) mod tests;
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
pub(crate) use proof::Proof;
pub use provider::{CertificateProvider, Certificates, Feeding};
pub(crate) use registry::{Kept, Side};
pub(crate) use server::{Arrived, Hello, Server, arrival};
pub use store::Rejected;
pub(crate) use store::Store;
