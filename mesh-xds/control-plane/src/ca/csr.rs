//! A request for a certificate (PKCS#10, RFC 2986): of it the key is taken, and that the asker holds it.

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateSigningRequestDer, SignatureVerificationAlgorithm};
use webpki::aws_lc_rs as algorithms;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::der_parser::Oid;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo as Spki;

/// The longest text that is read: a request with a key of 8192 bits has 3 KiB.
const LONGEST: usize = 64 << 10;
/// The shortest RSA key (NIST SP 800-57; istiod's own bound).
const RSA_BITS: usize = 2048;

/// A request whose signature is that of the key in it. Its names have not been read and are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    pub(super) key: SubjectPublicKeyInfo,
    pub(super) is_rsa: bool,
}

/// A request that is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCsr {
    /// It is no request.
    #[error("the request is no CERTIFICATE REQUEST in PEM that can be read: {0}")]
    Unreadable(String),
    /// Its key is weak or of an unusual kind.
    #[error(
        "the key of the request is not signed for: it is {0}; make one of ECDSA on P-256 or P-384, or of RSA with 2048 bits or more"
    )]
    Key(String),
    /// The asker does not hold the key.
    #[error(
        "the request is not signed by the key in it, or with another hash than SHA-256, SHA-384 and SHA-512"
    )]
    Signature,
}

impl Csr {
    /// Reads a request and verifies its signature.
    ///
    /// # Errors
    /// When it cannot be read, its key is weak, or its signature is not that of its key.
    pub fn from_pem(text: &str) -> Result<Self, InvalidCsr> {
        let unreadable = |reason: &str| InvalidCsr::Unreadable(reason.to_owned());
        if text.len() > LONGEST {
            return Err(unreadable("it is longer than 64 KiB"));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
            .map_err(|error| unreadable(&error.to_string()))?;
        let (rest, request) = X509CertificationRequest::from_der(&der)
            .map_err(|error| unreadable(&error.to_string()))?;
        if !rest.is_empty() {
            return Err(unreadable("bytes follow it"));
        }
        let info = &request.certification_request_info;
        let kind = Kind::of(&info.subject_pki)?;
        let algorithm = kind
            .verifier(request.signature_algorithm.oid())
            .ok_or(InvalidCsr::Signature)?;
        algorithm
            .verify_signature(
                &info.subject_pki.subject_public_key.data,
                info.raw,
                &request.signature_value.data,
            )
            .map_err(|_| InvalidCsr::Signature)?;
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
            .map_err(|error| InvalidCsr::Key(error.to_string()))?;
        Ok(Self {
            key,
            is_rsa: matches!(kind, Kind::Rsa),
        })
    }
}

/// The keys that are signed for: those that Envoy, gRPC and rustls all take.
#[derive(Clone, Copy)]
enum Kind {
    Rsa,
    P256,
    P384,
}

impl Kind {
    fn of(key: &Spki<'_>) -> Result<Self, InvalidCsr> {
        let refused = |what: String| Err(InvalidCsr::Key(what));
        let algorithm = &key.algorithm;
        match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => match rsa.key_size() {
                bits @ ..RSA_BITS => refused(format!("of RSA with {bits} bits")),
                _ => Ok(Self::Rsa),
            },
            Ok(PublicKey::EC(_)) => {
                let curve = algorithm
                    .parameters
                    .as_ref()
                    .and_then(|any| any.as_oid().ok());
                match curve {
                    Some(curve) if curve == oid::OID_EC_P256 => Ok(Self::P256),
                    Some(curve) if curve == oid::OID_NIST_EC_P384 => Ok(Self::P384),
                    Some(curve) => refused(format!("on the curve {curve}")),
                    None => refused("on a curve without a name".to_owned()),
                }
            }
            Ok(_) => refused(format!("of the kind {}", algorithm.algorithm)),
            Err(error) => refused(format!("broken: {error}")),
        }
    }

    fn verifier(self, signature: &Oid<'_>) -> Option<&'static dyn SignatureVerificationAlgorithm> {
        let rsa = [
            &oid::OID_PKCS1_SHA256WITHRSA,
            &oid::OID_PKCS1_SHA384WITHRSA,
            &oid::OID_PKCS1_SHA512WITHRSA,
        ];
        let ecdsa = [
            &oid::OID_SIG_ECDSA_WITH_SHA256,
            &oid::OID_SIG_ECDSA_WITH_SHA384,
            &oid::OID_SIG_ECDSA_WITH_SHA512,
        ];
        type Three = [&'static dyn SignatureVerificationAlgorithm; 3];
        let (names, verifiers): (_, Three) = match self {
            Self::Rsa => (
                rsa,
                [
                    algorithms::RSA_PKCS1_2048_8192_SHA256,
                    algorithms::RSA_PKCS1_2048_8192_SHA384,
                    algorithms::RSA_PKCS1_2048_8192_SHA512,
                ],
            ),
            Self::P256 => (
                ecdsa,
                [
                    algorithms::ECDSA_P256_SHA256,
                    algorithms::ECDSA_P256_SHA384,
                    algorithms::ECDSA_P256_SHA512,
                ],
            ),
            Self::P384 => (
                ecdsa,
                [
                    algorithms::ECDSA_P384_SHA256,
                    algorithms::ECDSA_P384_SHA384,
                    algorithms::ECDSA_P384_SHA512,
                ],
            ),
        };
        let at = names.iter().position(|name| *name == signature)?;
        verifiers.get(at).copied()
    }
}
