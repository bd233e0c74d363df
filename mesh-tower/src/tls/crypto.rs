//! The cryptography that TLS between workloads is made of.

use std::fmt;
use std::sync::Arc;

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::{Hash, HashAlgorithm};

use super::outside;

/// A provider, and the hash that certificates are known by.
#[derive(Clone)]
pub(crate) struct Crypto {
    pub(super) provider: Arc<CryptoProvider>,
    sha256: &'static dyn Hash,
}

impl Crypto {
    /// The provider that is given, else the process's, else the one compiled in; says what is missing.
    pub(crate) fn of(given: Option<Arc<CryptoProvider>>) -> Result<Self, &'static str> {
        let provider = outside::provider(given)?;
        let hashes = provider
            .cipher_suites
            .iter()
            .filter_map(|suite| match suite {
                SupportedCipherSuite::Tls13(suite) => Some(suite.common.hash_provider),
                SupportedCipherSuite::Tls12(_) => None,
            });
        let sha256 = hashes
            .into_iter()
            .find(|hash| hash.algorithm() == HashAlgorithm::SHA256)
            .ok_or("the cryptography has no TLS 1.3 with SHA-256, by which certificates are known: give the builder another `crypto_provider`")?;
        // One that is of another length would make all certificates look the same.
        match sha256.hash(&[]).as_ref().len() {
            32 => Ok(Self { provider, sha256 }),
            _ => Err(
                "the cryptography's SHA-256 is not of 32 bytes: give the builder another `crypto_provider`",
            ),
        }
    }

    /// SHA-256.
    pub(super) fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        digest(self.sha256.hash(bytes).as_ref())
    }
}

/// [`Crypto::of`] has seen to the length.
fn digest(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap_or_default()
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crypto")
    }
}
