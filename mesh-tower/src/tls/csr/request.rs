//! A key of our own, the request that is signed by it, and what comes back.

use mesh_core::identity::SpiffeId;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use zeroize::Zeroize;

use crate::tls::keys::{Identity, InvalidPem, Material, PrivateKey};
use crate::tls::roots::Roots;

/// A new key and whose certificate it asks for.
pub(super) struct Request {
    key: Secret,
    params: CertificateParams,
}

/// rcgen keeps the key as text beside the one that signs.
struct Secret(KeyPair);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("a key for the request cannot be made: {0}")]
    Key(rcgen::Error),
    #[error("the request cannot be written: {0}")]
    Write(rcgen::Error),
    #[error("it answered with {0} certificates; the workload's and the root are wanted")]
    Short(usize),
    #[error("what it answered: {0}")]
    Pem(#[from] InvalidPem),
}

impl Request {
    /// ECDSA on P-256, as Istio's agent asks for by `ECC_SIGNATURE_ALGORITHM`: of those that all peers can use, the one
    /// that signs quickest.
    pub(super) fn new(id: Option<&SpiffeId>) -> Result<Self, RequestError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(id) = id {
            let name = id.as_str().try_into().map_err(RequestError::Write)?;
            params.subject_alt_names = vec![SanType::URI(name)];
        }
        let key = KeyPair::generate().map_err(RequestError::Key)?;
        Ok(Self {
            key: Secret(key),
            params,
        })
    }

    pub(super) fn pem(&self) -> Result<String, RequestError> {
        let request = self.params.serialize_request(&self.key.0);
        request
            .and_then(|request| request.pem())
            .map_err(RequestError::Write)
    }

    /// What the authority made of it: the workload's certificate, those above it, and last the roots.
    pub(super) fn answered(
        self,
        chain: &[String],
        whence: String,
    ) -> Result<Material, RequestError> {
        let [own @ .., roots] = chain else {
            return Err(RequestError::Short(0));
        };
        if own.is_empty() {
            return Err(RequestError::Short(1));
        }
        let key = PrivateKey::from_pkcs8(self.key.0.serialize_der());
        // Each may end without a line's end.
        let identity = Identity::from_pem(own.join("\n").as_bytes(), key)?;
        Ok(Material::new(
            identity,
            Roots::from_pem(roots.as_bytes())?,
            whence,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::keys::has;

    #[test]
    fn the_new_key_can_only_sign() {
        assert!(!has!(Secret, std::fmt::Debug) && !has!(Secret, std::fmt::Display));
        assert!(!has!(Secret, Clone) && !has!(Secret, PartialEq));
        assert!(!has!(Request, std::fmt::Debug) && !has!(Request, Clone));
        assert!(has!(Secret, Drop), "it overwrites itself");
    }

    #[test]
    fn a_request_does_not_show_its_key() {
        let request = Request::new(None).unwrap();
        let (asked, key) = (request.pem().unwrap(), request.key.0.serialize_pem());
        let text =
            |pem: &str| -> String { pem.lines().filter(|it| !it.starts_with('-')).collect() };
        let shows = |pem: &str| {
            // PKCS#8 of P-256: the secret is 32 bytes from the 36th on.
            let key = text(&key);
            (48..80).any(|at| text(pem).contains(&key[at..at + 10]))
        };
        assert!(asked.contains("CERTIFICATE REQUEST") && !shows(&asked));
        assert!(shows(&key), "it would be seen");
    }
}
