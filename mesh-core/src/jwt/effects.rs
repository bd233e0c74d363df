//! What a good token leaves: facts for policy, and changes of the request.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};

use super::json::Fields;
use super::place::{Found, Place, in_piece};
use super::rules::{ClaimToHeader, PayloadHeader, Provider, Rules};
use super::token::Token;
use crate::authz::Value;

/// What the good tokens of a request said.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The metadata of the filter: an object with the claims under `payload_in_metadata`. It is what
    /// [`Claims::Verified`](crate::authz::Claims::Verified) refers to.
    pub metadata: Value,
    add: Vec<(HeaderName, HeaderValue)>,
    remove_headers: Vec<HeaderName>,
    remove_params: Vec<Box<str>>,
}

impl Default for Verified {
    fn default() -> Self {
        Self {
            metadata: Value::Object(BTreeMap::new()),
            add: Vec::new(),
            remove_headers: Vec::new(),
            remove_params: Vec::new(),
        }
    }
}

impl Rules {
    /// Changes a request that passes: the headers that only a good token may fill are taken off, whatever came of the
    /// tokens; then those of good tokens are put in, and the tokens themselves taken off, unless `forward`.
    pub fn apply(&self, verified: Option<&Verified>, parts: &mut Parts) {
        for name in &self.reserved {
            parts.headers.remove(name);
        }
        let Some(verified) = verified else { return };
        for name in &verified.remove_headers {
            parts.headers.remove(name);
        }
        for (name, value) in &verified.add {
            parts.headers.append(name, value.clone());
        }
        if !verified.remove_params.is_empty() {
            without_params(&mut parts.uri, &verified.remove_params);
        }
    }
}

impl Rules {
    /// A path with its query, without the parameters in which any provider looks for tokens, be they good or not: what a log
    /// may tell. `None` where it has no such parameter, which costs no allocation.
    pub fn without_tokens(&self, path_and_query: &str) -> Option<String> {
        let (path, query) = path_and_query.split_once('?')?;
        let names = || {
            let all = self.providers().iter();
            all.flat_map(|provider| &provider.places.params)
        };
        let is_token = |piece: &&str| names().any(|name| in_piece(name, piece).is_some());
        if !query.split('&').any(|piece| is_token(&piece)) {
            return None;
        }
        let kept: Vec<&str> = query.split('&').filter(|piece| !is_token(piece)).collect();
        Some(match &*kept {
            [] => path.to_owned(),
            kept => format!("{path}?{}", kept.join("&")),
        })
    }
}

/// The other parameters stay as they are.
fn without_params(uri: &mut Uri, names: &[Box<str>]) {
    let Some(query) = uri.query() else { return };
    let is_token = |piece: &&str| names.iter().any(|name| in_piece(name, piece).is_some());
    let kept: Vec<&str> = query.split('&').filter(|piece| !is_token(piece)).collect();
    let path = match &*kept {
        [] => uri.path().to_owned(),
        kept => format!("{}?{}", uri.path(), kept.join("&")),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    // Parts of a URI that are left as they were make one again.
    if let Ok(changed) = Uri::from_parts(parts) {
        *uri = changed;
    }
}

impl Verified {
    /// Adds what a token says. Of two providers that write under one name the last counts (Envoy).
    pub(super) fn take(&mut self, provider: &Provider, token: Token<'_>, found: &[Found<'_>]) {
        if let Some(header) = &provider.payload_header {
            let value = payload(header, token.payload);
            self.add
                .extend(value.map(|value| (header.name.clone(), value)));
        }
        for to_header in &provider.claim_to_headers {
            let value = claim(to_header, &token.claims.all);
            self.add
                .extend(value.map(|value| (to_header.name.clone(), value)));
        }
        if !provider.forward {
            for found in found {
                match found.place {
                    Place::Header(name) => self.remove_headers.push(name.clone()),
                    Place::Param(name) => self.remove_params.push(name.into()),
                    Place::Cookie => {}
                }
            }
        }
        let Value::Object(metadata) = &mut self.metadata else {
            return;
        };
        if let Some(name) = &provider.header_in_metadata {
            metadata.insert(name.clone(), Value::Object(token.header));
        }
        if let Some(name) = &provider.payload_in_metadata {
            let claims = normalized(token.claims.all, &provider.space_delimited_claims);
            metadata.insert(name.clone(), Value::Object(claims));
        }
    }
}

/// RFC 8693, 4.2: a scope is a list of words.
fn normalized(mut claims: Fields, delimited: &[Box<str>]) -> Fields {
    for name in delimited {
        if let Some(claim) = claims.get_mut(name)
            && let Value::Text(text) = claim
        {
            let words = text.split(' ').filter(|word| !word.is_empty());
            *claim = Value::List(words.map(|word| Value::Text(word.into())).collect());
        }
    }
    claims
}

fn payload(header: &PayloadHeader, text: &str) -> Option<HeaderValue> {
    let missing = if header.padded {
        text.len().wrapping_neg() % 4
    } else {
        0
    };
    HeaderValue::try_from([text, &"=".repeat(missing)].concat()).ok()
}

/// A claim as the value of a header (Envoy): texts as they are, whole numbers without a fraction, lists and objects as
/// JSON in base64. One that is absent, null, empty or no value of a header leaves none.
fn claim(to_header: &ClaimToHeader, claims: &Fields) -> Option<HeaderValue> {
    let (first, rest) = to_header.path.split_first()?;
    let mut value = claims.get(first)?;
    for key in rest {
        let Value::Object(fields) = value else {
            return None;
        };
        value = fields.get(key)?;
    }
    let text = match value {
        Value::Null => return None,
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number_text(*number),
        Value::Text(text) => text.to_string(),
        list_or_object => STANDARD.encode(json(list_or_object)),
    };
    (!text.is_empty()).then(|| HeaderValue::try_from(text).ok())?
}

/// C's `%f` for what is not a whole number, or is below zero.
fn number_text(number: f64) -> String {
    if (0.0..18_446_744_073_709_551_616.0).contains(&number) && number.fract() == 0.0 {
        (number as u64).to_string()
    } else {
        format!("{number:.6}")
    }
}

fn json(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        // The shortest text that reads as the same number; JSON has no infinities, and neither has what was read.
        Value::Number(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        Value::List(list) => {
            let all: Vec<String> = list.iter().map(json).collect();
            format!("[{}]", all.join(","))
        }
        Value::Object(fields) => {
            let all: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}:{}", quoted(name), json(value)))
                .collect();
            format!("{{{}}}", all.join(","))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\0'..='\x1f' => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}
