//! What a token claims (RFC 7519, 4.1).

use super::json::Fields;
use super::outcome::Why;
use crate::authz::Value;

/// The claims that are looked at here, and all of them as they were.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) issuer: Option<Box<str>>,
    pub(super) subject: Option<Box<str>>,
    pub(super) audiences: Box<[Box<str>]>,
    /// In seconds since 1970.
    pub(super) expires: Option<u64>,
    /// In seconds since 1970.
    pub(super) not_before: Option<u64>,
    pub(super) all: Fields,
}

impl Claims {
    /// Reads the claims. One that is of a wrong type refuses the token (Envoy), be it one that nothing here looks at.
    pub(super) fn of(all: Fields) -> Result<Self, Why> {
        let issuer = text(&all, "iss", Why::Issuer)?;
        let subject = text(&all, "sub", Why::Subject)?;
        seconds(&all, "iat", Why::IssuedAt, Why::IssuedAtRange)?;
        let not_before = seconds(&all, "nbf", Why::NotBefore, Why::NotBeforeRange)?;
        let expires = seconds(&all, "exp", Why::Expires, Why::ExpiresRange)?;
        text(&all, "jti", Why::Id)?;
        Ok(Self {
            issuer,
            subject,
            audiences: audiences(&all)?,
            expires,
            not_before,
            all,
        })
    }
}

fn text(all: &Fields, name: &str, wrong: Why) -> Result<Option<Box<str>>, Why> {
    match all.get(name) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong),
    }
}

/// `NumericDate`, which may have a fraction (RFC 7519, 2); it is cut off, as in Envoy.
fn seconds(all: &Fields, name: &str, wrong: Why, range: Why) -> Result<Option<u64>, Why> {
    match all.get(name) {
        None => Ok(None),
        // 2^64, the first number that does not fit.
        Some(Value::Number(number)) if (0.0..18_446_744_073_709_551_616.0).contains(number) => {
            Ok(Some(*number as u64))
        }
        Some(Value::Number(_)) => Err(range),
        Some(_) => Err(wrong),
    }
}

/// One text, or a list of them.
fn audiences(all: &Fields) -> Result<Box<[Box<str>]>, Why> {
    let text = |value: &Value| match value {
        Value::Text(text) => Ok(text.clone()),
        _ => Err(Why::AudienceType),
    };
    match all.get("aud") {
        None => Ok(Box::default()),
        Some(Value::List(list)) => list.iter().map(text).collect(),
        Some(one) => Ok(Box::new([text(one)?])),
    }
}
