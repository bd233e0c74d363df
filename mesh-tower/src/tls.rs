//! All that knows rustls.

mod outside;

pub use outside::CryptoProvider;
pub(crate) use outside::{Outbound, Settings, Stream};
