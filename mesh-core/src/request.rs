//! The one normalised form of a request: router, policy, metrics and application see the same
//! method, host and path, computed once.

mod admit;
mod checks;
mod normalize;
#[cfg(test)]
mod tricks;

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, ValueIter};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

pub use admit::{Admitted, BadHead, Seen, admit};
pub(crate) use normalize::escaped;
pub use normalize::{PathNormalization, normalized};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request as the mesh looks at it. Borrows from the request; building it allocates nothing.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// `:method`
    pub method: &'a Method,
    /// `:scheme`
    pub scheme: &'a str,
    /// `:authority`, as the caller wrote it, port included.
    pub authority: &'a str,
    /// The path without its query, never empty.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestView<'a> {
    /// The view of a request whose path is taken as it is.
    pub fn of(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        Self {
            method,
            scheme: uri.scheme_str().unwrap_or("http"),
            authority: uri.authority().map_or("", http::uri::Authority::as_str),
            path: uri.path(),
            query: uri.query(),
            headers,
        }
    }

    /// The authority without its port, brackets of an IPv6 literal kept.
    pub fn host(&self) -> &'a str {
        split_port(self.authority).0
    }

    /// By what the request came to the first proxy: `x-forwarded-proto`, else the scheme.
    pub fn came_by(&self) -> &'a [u8] {
        let forwarded = self.headers.get(FORWARDED_PROTO);
        forwarded.map_or(self.scheme.as_bytes(), HeaderValue::as_bytes)
    }

    /// The values of a header or pseudo-header, one by one. Only `:path` of a request with a query allocates.
    pub fn header(&self, name: &HeaderKey) -> HeaderLines<'a> {
        let one = |text: &'a str| HeaderLines::One(Some(Cow::Borrowed(text.as_bytes())));
        match name {
            HeaderKey::Method => one(self.method.as_str()),
            HeaderKey::Scheme => one(self.scheme),
            HeaderKey::Authority => one(self.authority),
            HeaderKey::Path => match self.query {
                None => one(self.path),
                Some(query) => {
                    let whole = [self.path, "?", query].concat();
                    HeaderLines::One(Some(Cow::Owned(whole.into_bytes())))
                }
            },
            // Envoy has one header for both.
            HeaderKey::Name(name) if *name == HOST => one(self.authority),
            HeaderKey::Name(name) => HeaderLines::All(self.headers.get_all(name).iter()),
            HeaderKey::Unknown => HeaderLines::One(None),
        }
    }
}

/// The values of one header.
#[derive(Debug)]
pub enum HeaderLines<'a> {
    /// Of a pseudo-header, or of none.
    One(Option<Cow<'a, [u8]>>),
    /// Of a header proper.
    All(ValueIter<'a, HeaderValue>),
}

impl<'a> Iterator for HeaderLines<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(value) => value.take(),
            Self::All(values) => values.next().map(|value| Cow::Borrowed(value.as_bytes())),
        }
    }
}

/// The name of a header in a rule: a header proper, or one of the pseudo-headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderKey {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`, query included
    Path,
    /// Any other.
    Name(http::HeaderName),
    /// A name that Envoy takes and no request has, as `:status`.
    Unknown,
}

impl HeaderKey {
    /// Parses the name in a rule. `None` when Envoy would refuse it: it is empty or holds a line break.
    pub fn parse(name: &str) -> Option<Self> {
        if name.is_empty() || name.contains(['\0', '\r', '\n']) {
            return None;
        }
        match name {
            ":method" => Some(Self::Method),
            ":scheme" => Some(Self::Scheme),
            ":authority" => Some(Self::Authority),
            ":path" => Some(Self::Path),
            _ => Some(http::HeaderName::try_from(name).map_or(Self::Unknown, Self::Name)),
        }
    }
}

/// Splits `host:port`; a text without a valid port is all host.
pub fn split_port(authority: &str) -> (&str, Option<u16>) {
    let Some((host, port)) = authority.rsplit_once(':') else {
        return (authority, None);
    };
    if host.contains(':') && !host.ends_with(']') {
        return (authority, None); // a bare IPv6 address
    }
    // `u16::parse` takes a leading plus sign, a port does not.
    match port.parse() {
        Ok(number) if !port.starts_with('+') => (host, Some(number)),
        _ => (authority, None),
    }
}

/// A host as an address or a name is written alone: an IPv6 literal without its brackets (RFC 3986, 3.2.2).
pub fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// A host in the form in which it is compared: without regard to case (RFC 3986, 3.2.2).
pub fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The length of a body in bytes, as `content-length` tells it: a line of digits and nothing else, or several lines
/// of the same number (RFC 9110, 8.6).
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    let number = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        // `u64::parse` takes a leading plus sign, a length does not.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok())?
    };
    let mut told = headers.get_all(CONTENT_LENGTH).iter().map(number);
    let first = told.next()??;
    told.all(|other| other == Some(first)).then_some(first)
}

/// Whether a request is gRPC: `content-type: application/grpc`, or with `+` and a format.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(says_grpc)
}

pub(crate) fn says_grpc(content_type: &HeaderValue) -> bool {
    let rest = content_type.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_one_number() {
        let told = |lines: &[&str]| {
            let lines = lines.iter().map(|line| {
                let value = HeaderValue::from_str(line);
                (
                    CONTENT_LENGTH,
                    value.unwrap_or(HeaderValue::from_static("-")),
                )
            });
            content_length(&lines.collect())
        };
        assert_eq!(told(&["5"]), Some(5));
        assert_eq!(told(&["5", "5"]), Some(5));
        for lines in [
            &[][..],
            &["+5"],
            &["5", "6"],
            &["5", "+5"],
            &["5, 5"],
            &[""],
            &["-5"],
        ] {
            assert_eq!(told(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn brackets_are_taken_off_in_pairs() {
        assert_eq!(without_brackets("[::1]"), "::1");
        for host in ["::1", "[::1", "::1]", "reviews"] {
            assert_eq!(without_brackets(host), host);
        }
    }

    #[test]
    fn ports_are_split_from_hosts() {
        assert_eq!(split_port("reviews:9080"), ("reviews", Some(9080)));
        assert_eq!(split_port("reviews"), ("reviews", None));
        assert_eq!(split_port("[::1]:80"), ("[::1]", Some(80)));
        assert_eq!(split_port("::1"), ("::1", None));
        assert_eq!(split_port("a:+80"), ("a:+80", None));
        assert_eq!(split_port("a:99999"), ("a:99999", None));
    }
}
