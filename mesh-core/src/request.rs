//! The one normalised form of a request: router, policy, metrics and application see the same
//! method, host and path, computed once.

mod normalize;

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, HOST, ValueIter};
use http::{HeaderMap, HeaderValue, Method, Uri};

pub(crate) use normalize::escaped;
pub use normalize::{PathNormalization, normalized};

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
    fn ports_are_split_from_hosts() {
        assert_eq!(split_port("reviews:9080"), ("reviews", Some(9080)));
        assert_eq!(split_port("reviews"), ("reviews", None));
        assert_eq!(split_port("[::1]:80"), ("[::1]", Some(80)));
        assert_eq!(split_port("::1"), ("::1", None));
        assert_eq!(split_port("a:+80"), ("a:+80", None));
        assert_eq!(split_port("a:99999"), ("a:99999", None));
    }
}
