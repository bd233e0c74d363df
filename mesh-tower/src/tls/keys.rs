//! What a workload proves itself by, and whom it believes.

use std::fmt;
use std::sync::Arc;

use mesh_core::identity::SpiffeId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, InconsistentKeys};
use zeroize::Zeroize;

use super::crypto::Crypto;
use super::roots::Roots;

/// A private key. It is overwritten when it is dropped, and nothing can show, copy, compare or write it.
///
/// The cryptography makes its own key of it and keeps that one as it sees fit; so does whoever has read the PEM text.
///
/// ```
/// let pem = b"no key";
/// assert!(mesh_tower::PrivateKey::from_pem(pem).is_err());
/// fn taken(key: mesh_tower::PrivateKey) { drop(key); }
/// // What follows compiles for a type that has these traits.
/// fn all(one: String, other: String) -> bool {
///     format!("{one:?} {one}");
///     drop(serde_json::to_string(&one));
///     one.clone() == other
/// }
/// ```
/// ```compile_fail,E0277
/// fn shown(key: mesh_tower::PrivateKey) { format!("{key:?}"); }
/// ```
/// ```compile_fail,E0277
/// fn shown(key: mesh_tower::PrivateKey) { format!("{key}"); }
/// ```
/// ```compile_fail,E0599
/// fn copied(key: mesh_tower::PrivateKey) { drop(key.clone()); }
/// ```
/// ```compile_fail,E0369
/// fn compared(one: mesh_tower::PrivateKey, other: mesh_tower::PrivateKey) -> bool { one == other }
/// ```
/// ```compile_fail,E0277
/// fn written(key: mesh_tower::PrivateKey) { drop(serde_json::to_string(&key)); }
/// ```
#[expect(missing_debug_implementations, reason = "it must not be shown")]
pub struct PrivateKey(PrivateKeyDer<'static>);

/// A certificate with the chain that leads to a root, and its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
}

/// All that a workload has at one moment: what it proves itself by, and whom it believes. They travel together, so that
/// no connection sees the one of today with the other of yesterday.
#[derive(Debug)]
pub struct Material {
    pub(super) identity: Identity,
    pub(super) roots: Roots,
    pub(super) whence: Arc<str>,
    /// Whose certificate it must be, where whoever gave it has said that.
    pub(super) of: Option<SpiffeId>,
}

/// A PEM text that does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPem(pub(super) String);

impl PrivateKey {
    /// The first key of a PEM text (PKCS#8, PKCS#1 or SEC1, not encrypted).
    ///
    /// # Errors
    /// When there is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidPem> {
        // The reason of the reader may quote the text.
        PrivateKeyDer::from_pem_slice(pem).map(Self).map_err(|_| {
            InvalidPem(
                "the text holds no PRIVATE KEY block that can be read; encrypted ones cannot"
                    .to_owned(),
            )
        })
    }
}

#[cfg(any(feature = "csr", feature = "spiffe"))]
impl PrivateKey {
    /// A key in DER.
    pub(super) fn from_pkcs8(der: Vec<u8>) -> Self {
        Self(rustls::pki_types::PrivatePkcs8KeyDer::from(der).into())
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Identity {
    /// The certificates of a PEM text, the workload's own first, with its key. Whether they belong together is judged when
    /// they are taken.
    ///
    /// # Errors
    /// When the text holds no certificate.
    pub fn from_pem(chain: &[u8], key: PrivateKey) -> Result<Self, InvalidPem> {
        Ok(Self {
            chain: certificates(chain)?,
            key,
        })
    }

    /// The same of certificates in DER, one behind the other.
    #[cfg(feature = "spiffe")]
    pub(super) fn from_der(chain: &[u8], key: PrivateKey) -> Result<Self, InvalidPem> {
        let chain = super::roots::in_der(chain)?;
        Ok(Self { chain, key })
    }

    /// What rustls shows, if the key belongs to the certificate.
    pub(super) fn certified(&self, crypto: &Crypto) -> Result<CertifiedKey, KeyFault> {
        let copy = self.key.0.clone_key();
        let key = crypto.provider.key_provider.load_private_key(copy);
        let key = key.map_err(|error| KeyFault::Unusable(error.to_string().into()))?;
        let certified = CertifiedKey::new(self.chain.clone(), key);
        match certified.keys_match() {
            Ok(()) => Ok(certified),
            Err(RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(KeyFault::NotOfCertificate)
            }
            Err(error) => Err(KeyFault::Unusable(error.to_string().into())),
        }
    }
}

impl Material {
    /// What the workload shows, by what it judges others, and where both come from, for errors: `the files in /etc/certs`.
    pub fn new(identity: Identity, roots: Roots, whence: impl Into<Arc<str>>) -> Self {
        Self {
            identity,
            roots,
            whence: whence.into(),
            of: None,
        }
    }

    /// The same, which is taken if the certificate is of this workload.
    #[cfg(feature = "spiffe")]
    pub(super) fn of(self, id: SpiffeId) -> Self {
        Self {
            of: Some(id),
            ..self
        }
    }
}

/// Why a key is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyFault {
    #[error(
        "the private key is not the key of the certificate; replace both, best in one step, as by a link to another folder"
    )]
    NotOfCertificate,
    #[error("the private key or its certificate cannot be used: {0}")]
    Unusable(Box<str>),
}

pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidPem> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = parsed.map_err(|error| InvalidPem(format!("the text is not valid PEM: {error}")))?;
    match all.is_empty() {
        false => Ok(all),
        true => Err(InvalidPem("the text holds no CERTIFICATE block".to_owned())),
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}
