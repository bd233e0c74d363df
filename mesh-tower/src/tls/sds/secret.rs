//! What a secret of Envoy's says, as far as it can be honoured. No error quotes it.

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use pb::secret::Type;
use zeroize::{Zeroize, Zeroizing};

use super::held;
use super::watch::Which;
use crate::tls::crypto::Crypto;
use crate::tls::keys::{Identity, InvalidPem, KeyFault, PrivateKey};
use crate::tls::own::Rejected;
use crate::tls::roots::Roots;

/// Why a secret is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretFault {
    #[error("it holds no {0}")]
    OfOtherType(&'static str),
    #[error("its {0} is not inline; files and variables of the agent are not read")]
    NotInline(&'static str),
    #[error("its {0} is not served")]
    NotServed(&'static str),
    #[error("its {0}: {1}")]
    Pem(&'static str, InvalidPem),
    #[error("{0}")]
    Key(#[from] KeyFault),
    #[error("{0}")]
    Rejected(#[from] Rejected),
}

/// Reads the secret that was asked for.
pub(super) fn read(
    which: Which,
    secret: pb::Secret,
    crypto: &Crypto,
) -> Result<held::Secret, SecretFault> {
    match (which, secret.r#type) {
        (Which::Pair, Some(Type::TlsCertificate(pair))) => {
            self::pair(pair, crypto).map(held::Secret::Pair)
        }
        (Which::Roots, Some(Type::ValidationContext(context))) => {
            roots(context).map(held::Secret::Roots)
        }
        (which, other) => {
            if let Some(Type::TlsCertificate(pair)) = other {
                wipe(pair.private_key);
            }
            Err(SecretFault::OfOtherType(which.holds()))
        }
    }
}

fn pair(pair: pb::TlsCertificate, crypto: &Crypto) -> Result<Identity, SecretFault> {
    // First, so that it is wiped whatever is wrong.
    let key = inline(pair.private_key, "private_key").map(Zeroizing::new);
    for (is_set, field) in [
        (pair.private_key_provider.is_some(), "private_key_provider"),
        (pair.pkcs12.is_some(), "pkcs12"),
        (pair.password.is_some(), "password"),
    ] {
        if is_set {
            return Err(SecretFault::NotServed(field));
        }
    }
    let chain = inline(pair.certificate_chain, "certificate_chain")?;
    let key = PrivateKey::from_pem(&key?);
    let key = key.map_err(|error| SecretFault::Pem("private_key", error))?;
    let identity = Identity::from_pem(&chain, key)
        .map_err(|error| SecretFault::Pem("certificate_chain", error))?;
    identity.certified(crypto)?;
    Ok(identity)
}

fn roots(mut context: pb::CertificateValidationContext) -> Result<Roots, SecretFault> {
    let trusted = context.trusted_ca.take();
    if context.crl.is_some() {
        return Err(SecretFault::NotServed(
            "crl (nothing is revoked by lists here)",
        ));
    }
    // What would make it believe less than all that these authorities sign.
    if context != pb::CertificateValidationContext::default() {
        return Err(SecretFault::NotServed("validation beside trusted_ca"));
    }
    let text = inline(trusted, "trusted_ca")?;
    Roots::from_pem(&text).map_err(|error| SecretFault::Pem("trusted_ca", error))
}

fn inline(source: Option<DataSource>, field: &'static str) -> Result<Vec<u8>, SecretFault> {
    match source.and_then(|source| source.specifier) {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes),
        Some(Specifier::InlineString(text)) => Ok(text.into_bytes()),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) | None => {
            Err(SecretFault::NotInline(field))
        }
    }
}

fn wipe(source: Option<DataSource>) {
    if let Ok(mut bytes) = inline(source, "private_key") {
        bytes.zeroize();
    }
}
