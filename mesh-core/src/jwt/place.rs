//! Where tokens are in a request. All that could be one is found: what is not read here, the application may read.

use std::borrow::Cow;

use http::HeaderName;
use http::header::COOKIE;

use super::rules::{HeaderPlace, Places};
use crate::RequestView;
use crate::request::escaped;

/// A text that should be a token, and where it was.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) place: Place<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Header(&'a HeaderName),
    Param(&'a str),
    Cookie,
}

/// All of them, in the order of headers, parameters and cookies.
pub(super) fn tokens<'a>(places: &'a Places, request: &RequestView<'a>) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for place in &places.headers {
        let lines = request.headers.get_all(&place.name).iter();
        let texts =
            lines.filter_map(|line| in_header(place, String::from_utf8_lossy(line.as_bytes())));
        found.extend(texts.map(|text| Found {
            text,
            place: Place::Header(&place.name),
        }));
    }
    for name in &places.params {
        let pieces = request.query.unwrap_or_default().split('&');
        let texts = pieces.filter_map(|piece| in_piece(name, piece));
        found.extend(texts.map(|text| Found {
            text,
            place: Place::Param(name),
        }));
    }
    for name in &places.cookies {
        let lines = request.headers.get_all(COOKIE).iter();
        let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let texts = pairs.filter_map(|pair| in_cookie(name, pair));
        found.extend(texts.map(|text| Found {
            text,
            place: Place::Cookie,
        }));
    }
    found
}

/// What follows the prefix, from the first character on that a token may have. Where none follows, all of the value: it
/// is no token, and it is not missing (Envoy).
fn in_header<'a>(place: &HeaderPlace, value: Cow<'a, str>) -> Option<Cow<'a, str>> {
    if place.prefix.is_empty() {
        return Some(value);
    }
    let at = value.find(&*place.prefix)? + place.prefix.len();
    let legal = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    let start = match value[at..].find(legal) {
        Some(skipped) => at + skipped,
        None => 0,
    };
    Some(match value {
        Cow::Borrowed(text) => Cow::Borrowed(&text[start..]),
        Cow::Owned(mut text) => Cow::Owned(text.split_off(start)),
    })
}

/// Whether a piece of a query has this name, as whoever reads the query resolves both.
pub(crate) fn is_named(name: &str, piece: &str) -> bool {
    in_piece(&plain(name), piece).is_some()
}

/// The value of a piece of a query, if its name is this one.
pub(super) fn in_piece<'a>(name: &str, piece: &'a str) -> Option<Cow<'a, str>> {
    let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
    (!piece.is_empty() && plain(key) == name).then(|| plain(value))
}

/// A part of a query with its escapes and plus signs resolved.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'+' => (b' ', after),
            b'%' => escaped(rest).unwrap_or((b'%', after)),
            other => (*other, after),
        };
        out.push(byte);
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The value of a cookie, if its name is this one, without the quotes around it.
fn in_cookie<'a>(name: &str, pair: &'a [u8]) -> Option<Cow<'a, str>> {
    let pair = pair.trim_ascii();
    let at = pair.iter().position(|byte| *byte == b'=')?;
    (pair[..at] == *name.as_bytes()).then(|| {
        String::from_utf8_lossy(match &pair[at + 1..] {
            [b'"', inner @ .., b'"'] => inner,
            value => value,
        })
    })
}
