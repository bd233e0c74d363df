//! One token in its compact form (RFC 7515, 7.1), read before anything of it is believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::Claims;
use super::json::{self, Fields};
use super::outcome::Why;
use crate::authz::Value;

/// The longest token that is looked at, in bytes.
pub const LONGEST: usize = 16 * 1024;

/// How a token may be signed (RFC 7518, 3.1; RFC 8037). `none` and the algorithms of shared keys are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the registry")]
pub enum Alg {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Alg {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// Its name in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of a name, which is told by case (RFC 7515, 4.1.1).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }
}

/// A token that is well formed. Nothing in it is proved.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) alg: Alg,
    pub(super) kid: Option<Box<str>>,
    pub(super) header: Fields,
    pub(super) claims: Claims,
    /// The payload as it is in the token.
    pub(super) payload: &'a str,
    /// What the signature is over: header and payload as they are in the token, with the dot.
    pub(super) signed: &'a str,
    pub(super) signature: Box<[u8]>,
}

impl<'a> Token<'a> {
    /// Reads a token; the first thing that is wrong is told, in Envoy's order.
    pub(super) fn parse(text: &'a str) -> Result<Self, Why> {
        if text.len() > LONGEST {
            return Err(Why::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Why::BadFormat)?;
        let (header, payload) = signed.split_once('.').ok_or(Why::BadFormat)?;
        if header.is_empty() || payload.is_empty() || signature.is_empty() || payload.contains('.')
        {
            return Err(Why::BadFormat);
        }
        let header = decoded(header).ok_or(Why::HeaderBase64)?;
        let header = json::object(&header).ok_or(Why::HeaderJson)?;
        let (alg, kid) = named(&header)?;
        let claims = decoded(payload).ok_or(Why::PayloadBase64)?;
        let claims = json::object(&claims).ok_or(Why::PayloadJson)?;
        Ok(Self {
            alg,
            kid,
            header,
            claims: Claims::of(claims)?,
            payload,
            signed,
            signature: decoded(signature).ok_or(Why::SignatureBase64)?.into(),
        })
    }
}

/// What the header says of the key. Where it says where to find one (`jku`, `jwk`, `x5u`, `x5c`), nobody listens.
fn named(header: &Fields) -> Result<(Alg, Option<Box<str>>), Why> {
    let Some(Value::Text(alg)) = header.get("alg") else {
        return Err(Why::HeaderAlg);
    };
    let alg = Alg::parse(alg).ok_or(Why::Unsupported)?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::Text(kid)) => Some(kid).filter(|kid| !kid.is_empty()).cloned(),
        Some(_) => return Err(Why::HeaderKid),
    };
    if header.contains_key("crit") {
        return Err(Why::Critical);
    }
    Ok((alg, kid))
}

/// Base64url as RFC 7515, 2 has it: no padding, nothing between, and no bits that are not used.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
