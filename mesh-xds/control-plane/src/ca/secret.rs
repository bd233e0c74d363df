//! Keys that are overwritten when they are dropped.

use rcgen::{Error, KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::{Zeroize, Zeroizing};

/// A private key that signs. It has no `Debug`, `Clone` or `Serialize`. The cryptography behind it holds the key a second
/// time, and overwrites that by itself.
pub(super) struct Secret(KeyPair);

impl Secret {
    /// A new key of ECDSA on P-256: of those that every peer in a mesh can use, the one that signs quickest.
    pub(super) fn generate() -> Result<Self, Error> {
        KeyPair::generate().map(Self)
    }

    /// The first key of a PEM text, in PKCS#8, PKCS#1 or SEC1.
    pub(super) fn from_pem(pem: &str) -> Result<Self, Error> {
        KeyPair::from_pem(pem).map(Self)
    }

    pub(super) fn pem(&self) -> Zeroizing<String> {
        self.0.serialize_pem().into()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for Secret {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Secret {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message)
    }
}
