//! Matchers of subject alternative names. Each meets names of one type alone: a text that looks like an id and stands in a
//! DNS name is no id.

use std::net::IpAddr;
use std::str::FromStr;

use super::peer::Sans;
use crate::matcher::StringMatcher;

/// One of a list of names, any of which will do (`match_typed_subject_alt_names`,
/// `match_subject_alt_names` of `envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext`).
#[derive(Debug, Clone)]
pub enum SanMatcher {
    /// A URI name.
    Uri(StringMatcher),
    /// A DNS name.
    Dns(DnsPattern),
    /// An IP address.
    Ip(IpAddr),
}

/// A DNS name to be found: exact, or by one wildcard that stands for a whole leftmost label (RFC 6125, 6.4.3). Case of ASCII
/// letters is ignored, as in DNS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DnsPattern(Box<str>);

/// A text that cannot be matched against names of certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a URI, a host name nor an IP address")]
pub struct NotOneName(Box<str>);

impl SanMatcher {
    /// A matcher that came without its type (the deprecated `match_subject_alt_names`) becomes one of the type that its
    /// text has: an address, a URI, or else a host.
    ///
    /// # Errors
    /// When the text is none of the three.
    pub fn untyped(text: &str) -> Result<Self, NotOneName> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        if text.contains("://") {
            return Ok(Self::Uri(StringMatcher::Exact(text.as_bytes().into())));
        }
        text.parse().map(Self::Dns)
    }

    /// Whether it demands a URI name.
    pub const fn is_uri(&self) -> bool {
        matches!(self, Self::Uri(_))
    }

    /// Whether one of the names is it.
    pub fn meets(&self, sans: &Sans) -> bool {
        match self {
            Self::Uri(matcher) => sans.uri.iter().any(|name| matcher.matches(name.as_bytes())),
            Self::Dns(pattern) => sans.dns.iter().any(|name| pattern.meets(name)),
            Self::Ip(address) => sans.ip.contains(address),
        }
    }
}

impl DnsPattern {
    /// Whether a name of a certificate is this one. A wildcard of the certificate stands for one label here, and one of the
    /// pattern for one there; a pattern with a wildcard also meets the same text.
    pub fn meets(&self, name: &str) -> bool {
        match (self.0.strip_prefix("*."), name.strip_prefix("*.")) {
            (None, None) => self.0.eq_ignore_ascii_case(name),
            (None, Some(rest)) => is_below(&self.0, rest),
            (Some(rest), None) => is_below(name, rest),
            (Some(wanted), Some(rest)) => wanted.eq_ignore_ascii_case(rest),
        }
    }

    /// Whether it is more than one name.
    pub fn is_wild(&self) -> bool {
        self.0.starts_with("*.")
    }
}

/// Whether a name is one label before a parent. A parent of one label has no wildcard before it: `*.com` is nobody's.
fn is_below(name: &str, parent: &str) -> bool {
    let cut = name.split_once('.');
    parent.contains('.')
        && cut.is_some_and(|(label, rest)| is_label(label) && parent.eq_ignore_ascii_case(rest))
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=63).contains(&label.len()) && label.bytes().all(allowed)
}

impl FromStr for DnsPattern {
    type Err = NotOneName;

    fn from_str(text: &str) -> Result<Self, NotOneName> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let wild = name.len() < text.len();
        let labels = name.split('.').count();
        let is_name = name.len() <= 253 && name.split('.').all(is_label) && (!wild || labels > 1);
        match is_name {
            true => Ok(Self(text.to_ascii_lowercase().into())),
            false => Err(NotOneName(text.into())),
        }
    }
}
