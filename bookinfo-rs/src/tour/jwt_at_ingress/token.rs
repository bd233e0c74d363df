//! Tokens, signed with the key of RFC 8037, appendix A: everybody knows it, so it proves nothing outside of this tour.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{Error, SignatureScheme};

/// Who signs: `issuer` of `tasks/request-authentication-ingress.yaml`.
const ISSUER: &str = "testing@bookinfo.example.com";
/// How long a token is good.
const SECONDS: u64 = 600;
/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, 10.3).
const BEFORE_KEY: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// `d` of the key.
const KEY: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

/// A token that is good.
pub(super) fn signed() -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let claims = serde_json::json!({
        "iss": ISSUER,
        "sub": ISSUER,
        "iat": now,
        "exp": now + SECONDS,
    });
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"JWT"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes())?);
    Ok(format!("{message}.{signature}"))
}

/// The same with a signature that is none of its own.
pub(super) fn forged(token: &str) -> String {
    let (message, _) = token.rsplit_once('.').unwrap_or((token, ""));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode([1; 64]))
}

fn sign(message: &[u8]) -> Result<Vec<u8>, Error> {
    let unfit = |error: &dyn std::fmt::Display| Error::General(error.to_string());
    let key = URL_SAFE_NO_PAD.decode(KEY).map_err(|error| unfit(&error))?;
    let der: Vec<u8> = BEFORE_KEY.into_iter().chain(key).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der));
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)?;
    let signer = key.choose_scheme(&[SignatureScheme::ED25519]);
    signer
        .ok_or_else(|| Error::General("no Ed25519 key".to_owned()))?
        .sign(message)
}
