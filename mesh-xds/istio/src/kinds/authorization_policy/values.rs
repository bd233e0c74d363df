//! The values of rules: texts with `*`, addresses, paths, names of accounts.

use std::net::IpAddr;

use crate::decode::{Fields, Sink};
use crate::yaml::Position;

/// One of these, and none of those.
#[derive(Debug, Clone)]
pub(crate) struct Both<T> {
    pub(crate) any: Vec<T>,
    pub(crate) none: Vec<T>,
}

/// A text with `*` at one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// `*`: any that is not empty.
    Any,
    Prefix(String),
    Suffix(String),
    Exact(String),
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) length: u32,
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A path, or a template of one in Envoy's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    Is(Pattern),
    Template(String),
}

/// A text, or one of a list (`[x]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetadataValue {
    pub(crate) is_listed: bool,
    pub(crate) pattern: Pattern,
}

/// What is wrong with a value.
pub(super) type Fault = String;

impl<T> Both<T> {
    /// The fields `KEY` and `notKEY`, as they are called; nothing where neither says anything.
    pub(super) fn decode(
        fields: &Fields<'_>,
        (key, not): (&str, &str),
        parse: impl Fn(&str) -> Result<T, Fault>,
        sink: &mut Sink,
    ) -> Option<Self> {
        let mut read = |key: &str| -> Vec<T> {
            let path = fields.path_of(key);
            let values = fields.strings(key, sink).into_iter();
            values
                .filter_map(|(text, at)| value(&text, at, &path, &parse, sink))
                .collect()
        };
        let (any, none) = (read(key), read(not));
        (!any.is_empty() || !none.is_empty()).then_some(Self { any, none })
    }
}

fn value<T>(
    text: &str,
    at: Position,
    path: &str,
    parse: impl Fn(&str) -> Result<T, Fault>,
    sink: &mut Sink,
) -> Option<T> {
    let parsed = match text {
        "" => Err("a value must not be empty".to_owned()),
        text => parse(text),
    };
    parsed
        .map_err(|fault| sink.error(at, format!("{path}: {fault}")))
        .ok()
}

impl Pattern {
    #[expect(clippy::unnecessary_wraps, reason = "one of the readers of values")]
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        Ok(Self::of(text))
    }

    pub(crate) fn of(text: &str) -> Self {
        match (text, text.strip_prefix('*'), text.strip_suffix('*')) {
            ("*", ..) => Self::Any,
            (_, Some(end), _) => Self::Suffix(end.to_owned()),
            (_, _, Some(start)) => Self::Prefix(start.to_owned()),
            _ => Self::Exact(text.to_owned()),
        }
    }
}

impl Cidr {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || format!("{text:?} is no IP address and no network such as 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = |length: &str| length.bytes().all(|b| b.is_ascii_digit());
        let length = match length {
            None => most,
            Some(length) if digits(length) => length.parse().map_err(|_| fault())?,
            Some(_) => return Err(fault()),
        };
        if length > most {
            return Err(fault());
        }
        Ok(Self { address, length })
    }
}

impl Account {
    /// `NAMESPACE/NAME`, or a name in the policy's namespace.
    pub(super) fn parse(text: &str, own: &str) -> Result<Self, Fault> {
        let (namespace, name) = text.split_once('/').unwrap_or((own, text));
        let wrong = namespace.is_empty()
            || name.is_empty()
            || name.contains('/')
            || text.contains('*')
            || text.len() > 320;
        if wrong {
            return Err(format!(
                "{text:?} must be NAME or NAMESPACE/NAME, without '*'"
            ));
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// A namespace with `*` for any text. It becomes a part of a regular expression.
pub(super) fn namespace(text: &str) -> Result<String, Fault> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'*');
    match text.bytes().all(known) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no namespace")),
    }
}

/// A principal. What stands after `*` becomes a part of a regular expression.
pub(super) fn principal(text: &str) -> Result<String, Fault> {
    let known =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'/' | b':' | b'~');
    match text.strip_prefix('*') {
        Some(end) if !end.bytes().all(known) => Err(format!(
            "{text:?}: after '*' may stand letters, digits and -._/:~"
        )),
        _ => Ok(text.to_owned()),
    }
}

/// A trust domain with `*` at one end.
pub(super) fn trust_domain(text: &str) -> Result<String, Fault> {
    let stars = text.matches('*').count();
    let inside = stars == 1 && !text.starts_with('*') && !text.ends_with('*');
    if stars > 1 || inside || text.contains('/') {
        return Err(format!(
            "{text:?} must be a trust domain, with one '*' at an end at most"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn port(text: &str) -> Result<u32, Fault> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port <= 65_535);
    port.ok_or_else(|| format!("{text:?} must be a port from 0 to 65535"))
}

const ONE: &str = "{*}";
const REST: &str = "{**}";

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let is_template = text.contains(ONE) || text.contains(REST);
        let mut ended = false;
        for part in text.trim_matches('/').split('/') {
            let fault = |reason: &str| Err(format!("{text:?}: {reason}"));
            match part {
                ONE | REST if ended => return fault("{**} must be the last of a template"),
                ONE => {}
                REST => ended = true,
                part if part.contains(['{', '}']) => {
                    return fault("braces stand for whole segments, as {*} or {**}");
                }
                part if is_template && (part.is_empty() || !part.bytes().all(is_literal)) => {
                    return fault("a segment of a template holds what a URL may hold");
                }
                _ => {}
            }
        }
        Ok(match is_template {
            true => Self::Template(text.replace(ONE, "*").replace(REST, "**")),
            false => Self::Is(Pattern::of(text)),
        })
    }
}

/// What RFC 3986 has in a segment; `*` is Envoy's.
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

impl MetadataValue {
    #[expect(clippy::unnecessary_wraps, reason = "one of the readers of values")]
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let is_listed = text.starts_with('[') && text.ends_with(']');
        let inner = if is_listed {
            text.trim_matches(['[', ']'])
        } else {
            text
        };
        Ok(Self {
            is_listed,
            pattern: Pattern::of(inner),
        })
    }
}
