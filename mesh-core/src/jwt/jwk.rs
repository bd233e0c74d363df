//! Keys that tokens are verified by (RFC 7517), in the form in which cryptography takes them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::json::{self, Fields};
use super::token::Alg;
use crate::authz::Value;

/// The largest key set that is read, in bytes, and the most keys of one.
const LARGEST: usize = 1 << 20;
const MOST_KEYS: usize = 256;
/// What cryptography takes of RSA, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of one issuer. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks {
    keys: Box<[Jwk]>,
    passed_over: Box<[Box<str>]>,
}

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    kid: Option<Box<str>>,
    alg: Option<Alg>,
    key_type: KeyType,
    public_key: Box<[u8]>,
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `kty: RSA`, of 2048 to 8192 bits.
    Rsa,
    /// `kty: EC`
    Ec(Curve),
    /// `kty: OKP` with `crv: Ed25519`
    Ed25519,
}

/// The curve of an EC key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Curve {
    P256,
    P384,
    P521,
}

/// A key set of which nothing can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwks {
    /// It is no JSON object.
    #[error("Jwks is an invalid JSON")]
    Json,
    /// There is no `keys`.
    #[error("Jwks does not have [keys] field")]
    NoKeysField,
    /// `keys` is of another type, or longer than is read.
    #[error("[keys] in Jwks is not an array of at most {MOST_KEYS}")]
    Keys,
    /// None of the keys can be used; why, key by key.
    #[error("Jwks doesn't have any valid public key: {}", .0.join("; "))]
    NoValidKeys(Box<[Box<str>]>),
}

impl Jwks {
    /// Reads a key set. A key that cannot be used is passed over, with the reason, as long as another one can.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidJwks> {
        if text.len() > LARGEST {
            return Err(InvalidJwks::Json);
        }
        let fields = json::object(text).ok_or(InvalidJwks::Json)?;
        let listed = match fields.get("keys") {
            None => return Err(InvalidJwks::NoKeysField),
            Some(Value::List(listed)) if listed.len() <= MOST_KEYS => listed,
            Some(_) => return Err(InvalidJwks::Keys),
        };
        let (mut keys, mut passed_over) = (Vec::new(), Vec::new());
        for (at, one) in listed.iter().enumerate() {
            match Jwk::of(one) {
                Ok(key) => keys.push(key),
                Err(why) => passed_over.push(format!("keys[{at}]: {why}").into()),
            }
        }
        if keys.is_empty() {
            return Err(InvalidJwks::NoValidKeys(passed_over.into()));
        }
        Ok(Self {
            keys: keys.into(),
            passed_over: passed_over.into(),
        })
    }

    /// The keys that can be used.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// Those that cannot, and why.
    pub fn passed_over(&self) -> &[Box<str>] {
        &self.passed_over
    }

    /// The keys that a token may be signed by. One without a `kid` may have signed any (Envoy).
    pub(super) fn fitting<'a>(
        &'a self,
        alg: Alg,
        kid: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Jwk> {
        let same = move |key: &&Jwk| match (kid, key.kid()) {
            (Some(wanted), Some(has)) => wanted == has,
            _ => true,
        };
        let keys = self.keys.iter().filter(same);
        keys.filter(move |key| key.alg.is_none_or(|only| only == alg) && key.key_type.fits(alg))
    }
}

impl KeyType {
    /// Whether a key of this type signs by this algorithm (RFC 7518, 3.1; RFC 8037, 3.1).
    pub const fn fits(self, alg: Alg) -> bool {
        match alg {
            Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512 => {
                matches!(self, Self::Rsa)
            }
            Alg::ES256 => matches!(self, Self::Ec(Curve::P256)),
            Alg::ES384 => matches!(self, Self::Ec(Curve::P384)),
            Alg::ES512 => matches!(self, Self::Ec(Curve::P521)),
            Alg::EdDSA => matches!(self, Self::Ed25519),
        }
    }
}

impl Curve {
    /// The length of a coordinate, and of each half of a signature, in bytes.
    pub const fn coordinate(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

impl Jwk {
    /// `kid`
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What kind of key it is.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The key as in a certificate's `subjectPublicKey`: `RSAPublicKey` of PKCS#1 in DER, an uncompressed point, or the 32
    /// bytes of Ed25519.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn of(value: &Value) -> Result<Self, &'static str> {
        let Value::Object(fields) = value else {
            return Err("is no object");
        };
        let kid = optional(fields, "kid", "[kid] is no text")?;
        let alg = optional(fields, "alg", "[alg] is no text")?;
        let alg = alg.map(|alg| Alg::parse(alg).ok_or("[alg] is not supported"));
        let alg = alg.transpose()?;
        if optional(fields, "use", "[use] is no text")?.is_some_and(|what| what != "sig") {
            return Err("[use] is not sig");
        }
        if !verifies(fields) {
            return Err("[key_ops] is without verify");
        }
        let (key_type, public_key) = match optional(fields, "kty", "[kty] is no text")? {
            None => return Err("[kty] is missing"),
            Some("RSA") => (KeyType::Rsa, rsa(fields)?),
            Some("EC") => ec(fields)?,
            Some("OKP") => (KeyType::Ed25519, ed25519(fields)?),
            // `oct` is a secret, which signs as well as it verifies.
            Some(_) => return Err("[kty] is not supported"),
        };
        if alg.is_some_and(|alg| !key_type.fits(alg)) {
            return Err("[alg] does not fit [kty] and [crv]");
        }
        Ok(Self {
            kid: kid.filter(|kid| !kid.is_empty()).map(Box::from),
            alg,
            key_type,
            public_key: public_key.into(),
        })
    }
}

fn optional<'a>(
    fields: &'a Fields,
    name: &str,
    wrong: &'static str,
) -> Result<Option<&'a str>, &'static str> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(_) => Err(wrong),
    }
}

/// RFC 7517, 4.3: where uses are listed, this one must be among them.
fn verifies(fields: &Fields) -> bool {
    match fields.get("key_ops") {
        None => true,
        Some(Value::List(uses)) => uses
            .iter()
            .any(|one| matches!(one, Value::Text(text) if **text == *"verify")),
        Some(_) => false,
    }
}

fn bytes(fields: &Fields, name: &str) -> Option<Vec<u8>> {
    match fields.get(name) {
        Some(Value::Text(text)) => URL_SAFE_NO_PAD.decode(&**text).ok(),
        _ => None,
    }
}

/// `RSAPublicKey` of PKCS#1 (RFC 8017, A.1.1): a sequence of two numbers.
fn rsa(fields: &Fields) -> Result<Vec<u8>, &'static str> {
    const WRONG: &str = "[n] or [e] is missing or is no base64url";
    let modulus = bytes(fields, "n").ok_or(WRONG)?;
    let exponent = bytes(fields, "e").ok_or(WRONG)?;
    let (modulus, exponent) = (without_zeros(&modulus), without_zeros(&exponent));
    let bits = modulus
        .first()
        .map_or(0, |top| modulus.len() * 8 - top.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err("[n] has not 2048 to 8192 bits");
    }
    // 3 to 2^33 - 1 and odd, which is what cryptography takes; 1 would make of each signature its own message.
    let small = exponent.len() > 5
        || matches!(exponent, [] | [1])
        || matches!(exponent, [top, _, _, _, _] if *top > 1);
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if small || !odd(exponent) || !odd(modulus) {
        return Err("[e] or [n] is none of RSA");
    }
    let numbers = [
        der(0x02, &positive(modulus)),
        der(0x02, &positive(exponent)),
    ]
    .concat();
    Ok(der(0x30, &numbers))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// A number above zero in two's complement.
fn positive(number: &[u8]) -> Vec<u8> {
    let sign = number.first().is_some_and(|top| *top >= 0x80);
    let sign: &[u8] = if sign { &[0] } else { &[] };
    [sign, number].concat()
}

/// Tag, length and content (X.690). The content has less than 64 KiB, since RSA keys are bounded.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = without_zeros(&length);
    let mut out = vec![tag];
    match length {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

/// An uncompressed point (SEC 1, 2.3.3). That it is on the curve is for cryptography to say.
fn ec(fields: &Fields) -> Result<(KeyType, Vec<u8>), &'static str> {
    let curve = match optional(fields, "crv", "[crv] is no text")? {
        Some("P-256") => Curve::P256,
        Some("P-384") => Curve::P384,
        Some("P-521") => Curve::P521,
        _ => return Err("[crv] is not supported"),
    };
    let coordinate = |name| bytes(fields, name).filter(|bytes| bytes.len() == curve.coordinate());
    let (x, y) = coordinate("x")
        .zip(coordinate("y"))
        .ok_or("[x] or [y] is missing or of another length")?;
    Ok((KeyType::Ec(curve), [&[4], &*x, &*y].concat()))
}

fn ed25519(fields: &Fields) -> Result<Vec<u8>, &'static str> {
    if optional(fields, "crv", "[crv] is no text")? != Some("Ed25519") {
        return Err("[crv] is not supported");
    }
    let key = bytes(fields, "x").filter(|key| key.len() == 32);
    key.ok_or("[x] is missing or of another length")
}
