//! The form of a path by which rules see it: what Envoy's connection manager makes of it before
//! any route is looked at (`normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`),
//! in the steps of Istio's `MeshConfig.pathNormalization`.

use std::borrow::Cow;

use super::checks::{Check, Checks};

/// `MeshConfig.pathNormalization.normalization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathNormalization {
    /// `NONE`: the path as it is.
    None,
    /// `BASE`, the default (and `DEFAULT`): `\` is a slash, `.` and `..` segments are resolved,
    /// escapes of letters, digits, `-`, `.`, `_` and `~` are decoded, and the few characters that no
    /// path may hold are escaped.
    #[default]
    Base,
    /// `MERGE_SLASHES`: then `//` is `/`.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: before all that, `%2F` and `%5C` are slashes.
    DecodeAndMergeSlashes,
}

/// The normalised form of a path without query. Borrowed when that is the path itself.
///
/// As Envoy's, one pass decodes once: what a malformed escape and a decoded character make together
/// (`/%%341` becomes `/%41`), or decoded dots and a parameter (`/%2e%2e;x` becomes `/..;x`), is not looked at
/// again. Any other path is left alone by a second pass. It grows only by the escaping of characters that no path may hold.
pub fn normalized(path: &str, how: PathNormalization) -> Cow<'_, str> {
    normalized_by(path, how, Checks::ALL)
}

pub(super) fn normalized_by(path: &str, how: PathNormalization, checks: Checks) -> Cow<'_, str> {
    if how == PathNormalization::None || is_normal(path.as_bytes(), how) {
        return Cow::Borrowed(path);
    }
    let mut decoded = match how {
        PathNormalization::DecodeAndMergeSlashes if checks.has(Check::EscapedSlashes) => {
            slashes_decoded(path.as_bytes())
        }
        _ => path.as_bytes().to_vec(),
    };
    if checks.has(Check::DotParameters) {
        decoded = dots_without_parameters(&decoded);
    }
    let mut canonical = canonical(&decoded, checks);
    if how != PathNormalization::Base && checks.has(Check::DoubleSlashes) {
        canonical = slashes_merged(&canonical);
    }
    // Only ASCII was taken out or put in, so what was UTF-8 still is.
    match String::from_utf8(canonical) {
        Ok(text) if text != path => Cow::Owned(text),
        _ => Cow::Borrowed(path),
    }
}

/// A byte scan that lets nearly every path through: nothing in it could be changed.
fn is_normal(path: &[u8], how: PathNormalization) -> bool {
    let merges = how != PathNormalization::Base;
    let mut before = 0;
    path.iter().all(|byte| {
        let after_slash = std::mem::replace(&mut before, *byte) == b'/';
        match *byte {
            b'.' => !after_slash,
            b'/' => !(merges && after_slash),
            b'%' | b'\\' => false,
            byte => !must_be_escaped(byte),
        }
    })
}

/// What Envoy escapes when it is written plainly. Bytes over 127, which Envoy refuses, stay.
const fn must_be_escaped(byte: u8) -> bool {
    matches!(
        byte,
        0..=b' ' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f
    )
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn is_slash(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// The byte that an escape at the beginning stands for (`%41`), and what follows it.
pub(crate) fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = digit(*high)? * 16 + digit(*low)?;
    Some((u8::try_from(byte).ok()?, rest))
}

/// Decodes the escapes whose byte is wanted.
fn decoded(text: &[u8], wanted: impl Fn(u8) -> bool, mut put: impl FnMut(u8, bool)) {
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let (byte, was_escaped, after) = match escaped(rest) {
            Some((byte, after)) if wanted(byte) => (byte, true, after),
            _ => (*first, false, after),
        };
        put(byte, was_escaped);
        rest = after;
    }
}

fn slashes_decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    decoded(path, is_slash, |byte, _| out.push(byte));
    out
}

/// `/..;x=1/` is `/../`, as servers that know path parameters read it. Only dots that are written plainly, and
/// only between slashes proper: Envoy looks for these before anything but slashes is decoded.
fn dots_without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/');
    let kept = segments.map(|segment| match segment {
        [b'.', b'.', b';', ..] => &segment[..2],
        [b'.', b';', ..] => &segment[..1],
        _ => segment,
    });
    kept.collect::<Vec<_>>().join(&b'/')
}

/// Resolves dots segment by segment, and decodes and escapes inside of each.
fn canonical(path: &[u8], checks: Checks) -> Vec<u8> {
    let is_slash = |byte: u8| byte == b'/' || is_slash(byte) && checks.has(Check::Backslashes);
    let is_unreserved = |byte: u8| is_unreserved(byte) && checks.has(Check::Unreserved);
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    loop {
        let end = rest.iter().position(|byte| is_slash(*byte));
        decoded(
            &rest[..end.unwrap_or(rest.len())],
            is_unreserved,
            |byte, was_escaped| {
                if must_be_escaped(byte) && !was_escaped {
                    out.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
                } else {
                    out.push(byte);
                }
            },
        );
        let Some(end) = end else { return out };
        out.push(b'/');
        rest = &rest[end + 1..];
        while let Some((up, length)) = dots(rest, is_slash)
            && checks.has(Check::Dots)
        {
            if up {
                drop_segment(&mut out);
            }
            let Some(after) = rest.get(length + 1..) else {
                return out;
            };
            rest = after;
        }
    }
}

/// Whether the segment at the beginning is one dot or two (two lead up), and how long it is.
fn dots(text: &[u8], is_slash: impl Fn(u8) -> bool) -> Option<(bool, usize)> {
    let ends = |at: usize| text.get(at).is_none_or(|byte| is_slash(*byte));
    let one = dot(text)?;
    if ends(one) {
        return Some((false, one));
    }
    let two = one + dot(&text[one..])?;
    ends(two).then_some((true, two))
}

/// How many bytes a dot takes, plain or escaped.
const fn dot(text: &[u8]) -> Option<usize> {
    match text {
        [b'.', ..] => Some(1),
        [b'%', b'2', b'e' | b'E', ..] => Some(3),
        _ => None,
    }
}

/// Takes the last segment off a path that ends in a slash; the root has none.
fn drop_segment(out: &mut Vec<u8>) {
    let before = out.len().saturating_sub(1);
    if let Some(slash) = out[..before].iter().rposition(|byte| *byte == b'/') {
        out.truncate(slash + 1);
    }
}

/// Envoy takes the empty segments out and puts the first and the last slash back, so `//` stays.
fn slashes_merged(path: &[u8]) -> Vec<u8> {
    if !path.windows(2).any(|pair| pair == b"//") {
        return path.to_vec();
    }
    let segments = path.split(|byte| *byte == b'/');
    let kept: Vec<&[u8]> = segments.filter(|segment| !segment.is_empty()).collect();
    let first: &[u8] = if path.starts_with(b"/") { b"/" } else { b"" };
    let last: &[u8] = if path.ends_with(b"/") { b"/" } else { b"" };
    [first, &kept.join(&b'/'), last].concat()
}

const fn hex(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'A' + digit - 10,
    }
}
