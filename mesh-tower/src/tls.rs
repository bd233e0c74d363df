//! All that knows rustls.

mod bundle_map;
mod cert;
mod client;
mod crypto;
#[cfg(feature = "csr")]
mod csr;
mod error;
mod files;
mod hello;
mod jws;
mod keys;
mod link;
mod moment;
mod named;
mod outside;
mod own;
mod pause;
mod proof;
mod provider;
mod registry;
mod roots;
mod sds;
mod server;
mod serving;
#[cfg(feature = "spiffe")]
mod spiffe;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod thread;
mod trust;
mod verify;

pub(crate) use client::Client;
#[cfg(feature = "csr")]
pub use csr::Csr;
pub(crate) use error::{PeerRefused, TlsError};
pub use files::Files;
pub(crate) use hello::Offered;
pub use keys::{Identity, InvalidPem, Material, PrivateKey};
pub(crate) use link::{Believed, Link};
pub use outside::CryptoProvider;
pub(crate) use outside::{Outbound, Settings, Stream};
pub use own::Rejected;
pub(crate) use proof::Proof;
pub use provider::{CertificateProvider, Certificates, Feeding};
pub(crate) use registry::{Kept, Revocation, Side};
pub use roots::Roots;
pub use sds::Sds;
pub(crate) use server::{Arrived, Hello, Server, arrival};
pub use serving::Serving;
#[cfg(feature = "spiffe")]
pub use spiffe::WorkloadApi;
pub(crate) use store::Store;
