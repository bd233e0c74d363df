//! A lenient reader of tokens, that tells everything that is wrong with a request. What it lets pass with one of its
//! checks left out is what an implementation without that check would let pass.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::scene::{self, ISSUER, Key, NOW, Sent, made_up};

/// What can be checked of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    /// It is there.
    Present,
    /// Not longer than is read.
    Length,
    /// Three parts and two dots.
    Form,
    /// No padding, no other alphabet, no stray bits.
    Base64,
    /// No name twice, not too deep.
    Json,
    /// An algorithm that is known.
    Alg,
    /// `kid` and `alg` are texts, where they are there.
    HeaderTypes,
    /// No extension that must be understood.
    Critical,
    /// Claims are of their types.
    ClaimTypes,
    Issuer,
    Subject,
    NotBefore,
    Expired,
    /// It ends.
    Lifetime,
    Audience,
    /// One of the keys made the signature.
    Signature,
    /// The key that made it is that of `kid`.
    Kid,
    /// It is for this algorithm alone.
    KeyAlg,
    /// It is of the algorithm's type.
    KeyType,
    /// It is for signatures.
    KeyUse,
    /// There is one token.
    Several,
}

pub(crate) const ALL: [Check; 21] = [
    Check::Present,
    Check::Length,
    Check::Form,
    Check::Base64,
    Check::Json,
    Check::Alg,
    Check::HeaderTypes,
    Check::Critical,
    Check::ClaimTypes,
    Check::Issuer,
    Check::Subject,
    Check::NotBefore,
    Check::Expired,
    Check::Lifetime,
    Check::Audience,
    Check::Signature,
    Check::Kid,
    Check::KeyAlg,
    Check::KeyType,
    Check::KeyUse,
    Check::Several,
];

type Faults = BTreeSet<Check>;

/// Everything that is wrong with a request; `None` when its token cannot be read at all.
pub(crate) fn faults(sent: &Sent) -> Option<Faults> {
    let tokens = tokens(sent);
    let mut faults = Faults::new();
    let Some(first) = tokens.first() else {
        faults.insert(Check::Present);
        return Some(faults);
    };
    if tokens.iter().any(|other| other != first) {
        faults.insert(Check::Several);
    }
    token(first, &mut faults)?;
    Some(faults)
}

/// Where the scene's provider has tokens.
fn tokens(sent: &Sent) -> Vec<String> {
    let mut tokens = Vec::new();
    for (name, value) in &sent.headers {
        match *name {
            "authorization" => tokens.extend(value.strip_prefix("Bearer ").map(str::to_owned)),
            "x-token" => tokens.push(value.clone()),
            _ => {}
        }
    }
    for piece in sent.query.iter().flat_map(|query| query.split('&')) {
        let piece = piece.replace("%5F", "_");
        tokens.extend(piece.strip_prefix("access_token=").map(str::to_owned));
    }
    for (_, cookies) in sent.headers.iter().filter(|(name, _)| *name == "cookie") {
        for pair in cookies.split("; ") {
            tokens.extend(
                pair.strip_prefix("token=")
                    .map(|value| value.trim_matches('"').to_owned()),
            );
        }
    }
    tokens
}

fn token(text: &str, faults: &mut Faults) -> Option<()> {
    if text.len() > mesh_core::jwt::LONGEST {
        faults.insert(Check::Length);
    }
    let strict: Vec<&str> = text.split('.').collect();
    if strict.len() != 3 || strict.contains(&"") {
        faults.insert(Check::Form);
    }
    let parts: Vec<&str> = text.split('.').filter(|part| !part.is_empty()).collect();
    let (header, claims) = (parts.first()?, parts.get(1)?);
    let signature = bytes(parts.get(2).unwrap_or(&""), faults)?;
    let signed = format!("{header}.{claims}");
    let header = json(&bytes(header, faults)?, faults)?;
    let claims = json(&bytes(claims, faults)?, faults)?;
    signed_by(&header, &signed, &signature, faults);
    claimed(&claims, faults);
    Some(())
}

fn bytes(text: &str, faults: &mut Faults) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let lenient = GeneralPurpose::new(&alphabet::URL_SAFE, config);
    let plain: String = text
        .chars()
        .filter(|char| !" \t=".contains(*char))
        .collect();
    let plain = plain.replace('+', "-").replace('/', "_");
    let decoded = lenient.decode(&plain).ok()?;
    if scene::encoded(&decoded) != text {
        faults.insert(Check::Base64);
    }
    Some(decoded)
}

/// The last of several fields of a name is that which serde_json takes.
fn json(text: &[u8], faults: &mut Faults) -> Option<Value> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let names = String::from_utf8_lossy(text).matches("\":").count();
    if depth(&value) > mesh_core::jwt::DEEPEST || fields(&value) != names {
        faults.insert(Check::Json);
    }
    value.is_object().then_some(value)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn fields(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(fields).sum(),
        Value::Object(all) => all.len() + all.values().map(fields).sum::<usize>(),
        _ => 0,
    }
}

fn signed_by(header: &Value, signed: &str, signature: &[u8], faults: &mut Faults) {
    let kid = header.get("kid").map(|kid| kid.as_str());
    if kid == Some(None) {
        faults.insert(Check::HeaderTypes);
    }
    if header.get("crit").is_some() {
        faults.insert(Check::Critical);
    }
    let Some(alg) = header.get("alg").and_then(Value::as_str) else {
        faults.insert(Check::HeaderTypes);
        return;
    };
    let wanted: &[&str] = match alg {
        "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" => &["RSA"],
        "ES256" => &["P-256"],
        "ES384" => &["P-384"],
        "ES512" => &["P-521"],
        "EdDSA" => &["Ed25519"],
        // Without this check there is none of the signature: that is what `none` lives on.
        _ => {
            faults.insert(Check::Alg);
            return;
        }
    };
    let signers = scene::keys().into_iter();
    let signers = signers.filter(|key| made_up(alg, &key.public(), signed.as_bytes()) == signature);
    let wrong = |key: Key| -> Faults {
        let kid = kid.flatten().filter(|kid| !kid.is_empty());
        let all = [
            (Check::Kid, kid.is_some() && kid != key.kid),
            (Check::KeyAlg, key.alg.is_some_and(|only| only != alg)),
            (Check::KeyType, !wanted.contains(&key.kind)),
            (Check::KeyUse, key.usage.is_some_and(|usage| usage != "sig")),
        ];
        all.into_iter()
            .filter(|(_, wrong)| *wrong)
            .map(|(check, _)| check)
            .collect()
    };
    match signers.map(wrong).min_by_key(Faults::len) {
        Some(wrong) => faults.extend(wrong),
        None => drop(faults.insert(Check::Signature)),
    }
}

/// A claim of a wrong type is taken for what it seems to mean.
fn claimed(claims: &Value, faults: &mut Faults) {
    let mut wrong = false;
    let mut text = |name: &str| match claims.get(name) {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => {
            wrong = true;
            other.get(0).and_then(Value::as_str).map(str::to_owned)
        }
    };
    let (issuer, subject) = (text("iss"), text("sub"));
    text("jti");
    let mut number = |name: &str| match claims.get(name) {
        None => None,
        Some(Value::Number(number)) => {
            let number = number.as_f64().expect("a number");
            wrong |= !(0.0..18_446_744_073_709_551_616.0).contains(&number);
            Some(number)
        }
        Some(other) => {
            wrong = true;
            other.as_str().and_then(|text| text.parse().ok())
        }
    };
    number("iat");
    let (start, end) = (number("nbf"), number("exp"));
    let audiences = audiences(claims, &mut wrong);
    let bare = |text: &str| {
        let text = text
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        text.trim_end_matches('/') == "api"
    };
    let now = NOW as f64;
    let all = [
        (Check::ClaimTypes, wrong),
        (Check::Issuer, issuer.as_deref() != Some(ISSUER)),
        (
            Check::Subject,
            !subject.unwrap_or_default().starts_with("user-"),
        ),
        (
            Check::NotBefore,
            start.is_some_and(|start| start > now + 60.0),
        ),
        (
            Check::Expired,
            end.is_some_and(|end| end.floor() + 60.0 < now),
        ),
        (Check::Lifetime, end.is_none()),
        (Check::Audience, !audiences.into_iter().any(bare)),
    ];
    faults.extend(
        all.into_iter()
            .filter(|(_, wrong)| *wrong)
            .map(|(check, _)| check),
    );
}

fn audiences<'a>(claims: &'a Value, wrong: &mut bool) -> Vec<&'a str> {
    match claims.get("aud") {
        None => Vec::new(),
        Some(Value::Array(list)) => {
            *wrong |= !list.iter().all(Value::is_string);
            list.iter().filter_map(Value::as_str).collect()
        }
        Some(Value::Object(fields)) => {
            *wrong = true;
            fields.keys().map(String::as_str).collect()
        }
        Some(one) => {
            *wrong |= !one.is_string();
            one.as_str().into_iter().collect()
        }
    }
}
