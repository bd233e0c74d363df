//! The one normalised form of a request: router, policy, metrics and application see the same
//! method, host and path, computed once.

use http::{HeaderMap, Method, header};

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
    /// The authority without its port, brackets of an IPv6 literal kept.
    pub fn host(&self) -> &'a str {
        split_port(self.authority).0
    }

    /// The value of a header or pseudo-header. Several values of one name are joined by commas; only
    /// that allocates.
    pub fn header(&self, name: &HeaderKey) -> HeaderValues<'a> {
        match name {
            HeaderKey::Method => HeaderValues::One(self.method.as_str().as_bytes()),
            HeaderKey::Scheme => HeaderValues::One(self.scheme.as_bytes()),
            HeaderKey::Authority => HeaderValues::One(self.authority.as_bytes()),
            HeaderKey::Path => match self.query {
                None => HeaderValues::One(self.path.as_bytes()),
                Some(query) => HeaderValues::Many([self.path, "?", query].concat().into_bytes()),
            },
            HeaderKey::Name(header::HOST) if !self.headers.contains_key(header::HOST) => {
                HeaderValues::One(self.authority.as_bytes())
            }
            HeaderKey::Name(name) => {
                let mut values = self.headers.get_all(name).iter();
                match (values.next(), values.next()) {
                    (None, _) => HeaderValues::Absent,
                    (Some(one), None) => HeaderValues::One(one.as_bytes()),
                    (Some(_), Some(_)) => HeaderValues::Many(joined(self.headers, name)),
                }
            }
        }
    }
}

/// Several values of one header are one, joined by a comma (Envoy and gRPC A28 agree).
fn joined(headers: &HeaderMap, name: &http::HeaderName) -> Vec<u8> {
    let values: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    values.join(&b","[..])
}

/// What a header lookup found.
#[derive(Debug)]
pub enum HeaderValues<'a> {
    /// The header is not there.
    Absent,
    /// It is there once.
    One(&'a [u8]),
    /// It is there several times; the values are joined.
    Many(Vec<u8>),
}

impl HeaderValues<'_> {
    /// The value, if present.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Absent => None,
            Self::One(value) => Some(value),
            Self::Many(value) => Some(value),
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
}

impl HeaderKey {
    /// Parses the name in a rule. `None` when it can be no header's name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            ":method" => Some(Self::Method),
            ":scheme" => Some(Self::Scheme),
            ":authority" => Some(Self::Authority),
            ":path" => Some(Self::Path),
            _ => http::HeaderName::try_from(name).ok().map(Self::Name),
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
