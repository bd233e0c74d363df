//! The bodies of the fuzz targets: each holds for every input.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use mesh_core::authz::Value;
use mesh_core::jwt::{
    self, Alg, Audiences, Jwk, Jwks, Keys, Outcome, Provider, Requirement, Rule, Rules, check,
};
use mesh_core::matcher::{HeaderMatcher, HeaderTest, PathMatcher, StringMatcher};
use mesh_core::request::{HeaderKey, PathNormalization, RequestView, normalized};

/// Any path is normalised as by a reference that goes step by step, and a path of whole escapes only once.
pub fn path(input: &[u8]) -> Result<(), String> {
    path_by(input, true)
}

/// The control: a reference that does not merge slashes.
pub fn path_broken(input: &[u8]) -> Result<(), String> {
    path_by(input, false)
}

fn path_by(input: &[u8], merges: bool) -> Result<(), String> {
    let path = format!("/{}", String::from_utf8_lossy(input));
    for how in [
        PathNormalization::Base,
        PathNormalization::MergeSlashes,
        PathNormalization::DecodeAndMergeSlashes,
    ] {
        let once = normalized(&path, how);
        let expected = reference(&path, how, merges);
        if *once != *expected {
            return Err(format!(
                "{path:?} {how:?}: {once:?}, by the reference {expected:?}"
            ));
        }
        let twice = normalized(&once, how);
        if is_whole(&path) && twice != once {
            return Err(format!("{path:?} {how:?}: {once:?}, then {twice:?}"));
        }
    }
    Ok(())
}

/// Whether one pass is known to be enough: escapes are whole, and no segment has parameters.
fn is_whole(path: &str) -> bool {
    let mut after = path.split('%').skip(1);
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    after.all(|text| digit(text.as_bytes().first()) && digit(text.as_bytes().get(1)))
        && !path.contains(';')
}

/// Envoy's steps, each over the whole path.
fn reference(path: &str, how: PathNormalization, merges: bool) -> String {
    let mut path = path.to_owned();
    if how == PathNormalization::DecodeAndMergeSlashes {
        for (escaped, slash) in [("%2F", "/"), ("%2f", "/"), ("%5C", "\\"), ("%5c", "\\")] {
            path = path.replace(escaped, slash);
        }
    }
    let without = |segment: &str| match segment.split_once(';') {
        Some((dots @ ("." | ".."), _)) => dots.to_owned(),
        _ => segment.to_owned(),
    };
    let path = path.split('/').map(without).collect::<Vec<_>>().join("/");
    let segments: Vec<String> = path[1..]
        .replace('\\', "/")
        .split('/')
        .map(str::to_owned)
        .collect();
    let mut kept: Vec<String> = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        let dots = segment.to_ascii_lowercase().replace("%2e", ".");
        match &*dots {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(recoded(segment));
                continue;
            }
        }
        if is_last {
            kept.push(String::new());
        }
    }
    let mut path = format!("/{}", kept.join("/"));
    if merges && how != PathNormalization::Base && path.len() > 1 && !path.contains(|c| c != '/') {
        // Envoy puts the first and the last slash back, also where nothing is between them.
        return "//".to_owned();
    }
    while merges && how != PathNormalization::Base && path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}

/// Escapes of unreserved characters are decoded, and what no path may hold is escaped.
fn recoded(segment: &str) -> String {
    let mut out = Vec::new();
    let bytes = segment.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let escape = segment.get(at..at + 3).filter(|text| text.starts_with('%'));
        let digits = escape.filter(|text| text[1..].bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|text| u8::from_str_radix(&text[1..], 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(byte);
                at += 3;
            }
            _ => {
                let byte = bytes[at];
                if byte <= b' ' || b"\"<>^`{|}\x7f".contains(&byte) {
                    out.extend(format!("%{byte:02X}").bytes());
                } else {
                    out.push(byte);
                }
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A header matcher decides as its rules say one by one. The input is a byte of options, a pattern and the
/// values, in lines.
pub fn header(input: &[u8]) -> Result<(), String> {
    header_by(input, |values| values.to_vec())
}

/// The control: values are joined by commas, as in gRPC.
pub fn header_broken(input: &[u8]) -> Result<(), String> {
    header_by(input, |values| match values {
        [] => Vec::new(),
        values => vec![values.join(&b","[..])],
    })
}

fn header_by(input: &[u8], seen: fn(&[Vec<u8>]) -> Vec<Vec<u8>>) -> Result<(), String> {
    let Some((options, rest)) = input.split_first() else {
        return Ok(());
    };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let pattern = lines.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    let mut values = Vec::new();
    for line in lines {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            values.push(line.to_vec());
            headers.append("x", value);
        }
    }
    let Some(name) = HeaderKey::parse("x") else {
        return Err("x is no name".to_owned());
    };
    let matcher = HeaderMatcher {
        name,
        test: test(*options, pattern),
        invert: options & 0x40 != 0,
        missing_is_empty: options & 0x80 != 0,
    };
    let (method, uri) = (Method::GET, Uri::from_static("/"));
    let got = matcher.matches(&RequestView::of(&method, &uri, &headers));
    let expected = decided(&matcher, *options, pattern, &seen(&values));
    if got != expected {
        return Err(format!(
            "{matcher:?} of {values:?}: {got}, expected {expected}"
        ));
    }
    Ok(())
}

fn range(pattern: &[u8]) -> (i64, i64) {
    let number = |at: usize| {
        let bytes: [u8; 2] = [0, 1].map(|by| pattern.get(at + by).copied().unwrap_or_default());
        i64::from(i16::from_le_bytes(bytes))
    };
    (number(0), number(2))
}

fn test(options: u8, pattern: &[u8]) -> HeaderTest {
    let string = match options & 7 {
        0 => return HeaderTest::Present(options & 8 == 0),
        1 => {
            let (start, end) = range(pattern);
            return HeaderTest::Range(start, end);
        }
        2 | 6 | 7 => StringMatcher::Exact(pattern.into()),
        3 => StringMatcher::Prefix(pattern.into()),
        4 => StringMatcher::Suffix(pattern.into()),
        _ => StringMatcher::Contains(pattern.into()),
    };
    HeaderTest::String(match options & 8 {
        0 => string,
        _ => string.ignoring_case(),
    })
}

fn decided(matcher: &HeaderMatcher, options: u8, pattern: &[u8], values: &[Vec<u8>]) -> bool {
    let mut values = values.to_vec();
    if values.is_empty() && matcher.missing_is_empty {
        values.push(Vec::new());
    }
    if let HeaderTest::Present(wanted) = matcher.test {
        let holds = wanted != values.is_empty();
        return holds ^ matcher.invert;
    }
    !values.is_empty() && values.iter().any(|value| holds(options, pattern, value)) ^ matcher.invert
}

fn holds(options: u8, pattern: &[u8], value: &[u8]) -> bool {
    let (mut pattern, mut value) = (pattern.to_vec(), value.to_vec());
    if options & 7 == 1 {
        let (start, end) = range(&pattern);
        let text = String::from_utf8_lossy(&value).into_owned();
        let text = text.trim_matches([' ', '\t', '\r', '\n', '\u{c}']);
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let digits = digits.trim_start_matches('0');
        if !is_number || digits.len() > 30 {
            return false;
        }
        let mut number = digits
            .bytes()
            .fold(0_i128, |n, d| n * 10 + i128::from(d - b'0'));
        if text.starts_with('-') {
            number = -number;
        }
        return i128::from(start) <= number && number < i128::from(end);
    }
    if options & 8 != 0 {
        pattern.make_ascii_lowercase();
        value.make_ascii_lowercase();
    }
    let (long, part) = (value.len(), pattern.len());
    match options & 7 {
        3 => long >= part && value[..part] == pattern,
        4 => long >= part && value[long - part..] == pattern,
        5 => (0..=long).any(|at| value[at..].starts_with(&pattern)),
        _ => value == pattern,
    }
}

/// The keys, the issuer, the audience and the time of the tokens below.
const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const ISSUER: &str = "i";
const AUDIENCE: &str = "a";
const NOW: u64 = 1_000_000;

/// Whatever a text is, as a token it is believed only in the one form that a token has, and for what it says: also where
/// every signature is good.
pub fn jwt(input: &[u8]) -> Result<(), String> {
    jwt_by(input, |text| text)
}

/// The control: padding and dots around a token are passed over, as Envoy does.
pub fn jwt_broken(input: &[u8]) -> Result<(), String> {
    jwt_by(input, |text| text.trim_matches(['=', '.']))
}

/// Says yes or no to every signature.
struct Always(bool);

impl jwt::Verify for Always {
    fn verify(&self, _: Alg, _: &Jwk, _: &[u8], _: &[u8]) -> bool {
        self.0
    }
}

fn jwt_by(input: &[u8], taken: fn(&str) -> &str) -> Result<(), String> {
    // Keys may be anything, too.
    let _ = Jwks::parse(input);
    let text = String::from_utf8_lossy(input);
    let Ok(value) = HeaderValue::from_str(taken(&text)) else {
        return Ok(());
    };
    let rules = trusting()?;
    let (method, uri) = (Method::GET, Uri::from_static("/"));
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-token"), value)]);
    let request = RequestView::of(&method, &uri, &headers);
    let judged = |good| check(&rules, &request, NOW, &(), &Always(good));
    if let Outcome::Verified(_) = judged(false) {
        return Err(format!("{text:?} is believed without a signature"));
    }
    match judged(true) {
        Outcome::Verified(verified) => believed(&text, &verified.metadata),
        _ => Ok(()),
    }
}

fn trusting() -> Result<Rules, String> {
    let keys = Jwks::parse(KEYS.as_bytes()).map_err(|error| error.to_string())?;
    let places = jwt::Places {
        headers: Box::new([jwt::HeaderPlace {
            name: HeaderName::from_static("x-token"),
            prefix: Box::default(),
        }]),
        params: Box::default(),
        cookies: Box::default(),
    };
    let provider = Arc::new(Provider {
        name: "p".into(),
        issuer: Some(ISSUER.into()),
        audiences: Audiences::of([AUDIENCE]),
        subjects: None,
        expiration: jwt::Expiration::Required,
        clock_skew: 0,
        keys: Keys::Local(Arc::new(keys)),
        places,
        forward: true,
        payload_header: None,
        claim_to_headers: Box::default(),
        payload_in_metadata: Some("p".into()),
        header_in_metadata: Some("h".into()),
        space_delimited_claims: Box::default(),
    });
    let rule = Rule {
        path: PathMatcher::Prefix("/".into()),
        headers: Box::default(),
        query: Box::default(),
        cookies: Box::default(),
        requires: Requirement::Provider(provider.clone()),
    };
    Ok(Rules::new([provider], [rule], false, false))
}

/// What must hold for a token that is believed.
fn believed(text: &str, metadata: &Value) -> Result<(), String> {
    let parts: Vec<&str> = text.split('.').collect();
    let whole = |part: &&str| {
        let index = |byte: u8| {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            alphabet.iter().position(|known| *known == byte)
        };
        let last = part.bytes().last().and_then(index);
        let unused = [0, 64, 16, 4][part.len() % 4];
        part.bytes().all(|byte| index(byte).is_some())
            && last.is_some_and(|last| unused != 64 && (unused == 0 || last % unused == 0))
    };
    if parts.len() != 3 || !parts.iter().all(whole) || text.len() > jwt::LONGEST {
        return Err(format!("{text:?} is believed, and is no token"));
    }
    let said = |object: &str, name: &str| match metadata {
        Value::Object(all) => match all.get(object) {
            Some(Value::Object(fields)) => fields.get(name).cloned(),
            _ => None,
        },
        _ => None,
    };
    let is = |value: Option<Value>, wanted: &str| matches!(value, Some(Value::Text(text)) if text.trim_end_matches('/').ends_with(wanted));
    let audience = match said("p", "aud") {
        Some(Value::List(all)) => all
            .into_vec()
            .into_iter()
            .any(|one| is(Some(one), AUDIENCE)),
        one => is(one, AUDIENCE),
    };
    let ends = matches!(said("p", "exp"), Some(Value::Number(end)) if end >= NOW as f64);
    let signed = matches!(said("h", "alg"), Some(Value::Text(alg)) if *alg == *"EdDSA");
    if !is(said("p", "iss"), ISSUER) || !audience || !ends || !signed {
        return Err(format!("{text:?} is believed, and says {metadata:?}"));
    }
    depth(metadata, jwt::DEEPEST + 1)
}

fn depth(value: &Value, levels: usize) -> Result<(), String> {
    let below = levels.checked_sub(1).ok_or("too deep");
    match value {
        Value::List(all) => all.iter().try_for_each(|one| depth(one, below?)),
        Value::Object(all) => all.values().try_for_each(|one| depth(one, below?)),
        _ => Ok(()),
    }
}
