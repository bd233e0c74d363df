//! All that knows rustls.
#![cfg_attr(
    not(test),
    allow(dead_code, reason = "listeners take the side of servers next")
)]

mod cert;
mod client;
mod crypto;
mod error;
mod files;
mod keys;
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
pub(crate) use error::{PeerRefused, TlsError};
pub use files::Files;
pub use keys::{Identity, InvalidPem, Material, PrivateKey, Roots};
pub use outside::CryptoProvider;
pub(crate) use outside::{Outbound, Settings, Stream};
pub use provider::{CertificateProvider, Certificates, Feeding};
#[allow(unused_imports, reason = "listeners take it next")]
pub(crate) use registry::{Kept, Side};
pub use store::Rejected;
pub(crate) use store::Store;
