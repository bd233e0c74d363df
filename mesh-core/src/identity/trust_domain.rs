//! The name of a root of trust.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most bytes of a trust domain (SPIFFE-ID, 2.1).
const LONGEST: usize = 255;

/// A trust domain such as `cluster.local`: lower-case letters, digits, `.`, `-` and `_`, at most 255 of them (SPIFFE-ID,
/// section 2.1). Compared byte by byte: nothing is folded, so that look-alikes stay apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// A text that is no trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no trust domain: it takes 1 to 255 of a-z, 0-9, '.', '-' and '_'")]
pub struct NotTrustDomain(Box<str>);

impl TrustDomain {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(super) fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed)
}

impl FromStr for TrustDomain {
    type Err = NotTrustDomain;

    fn from_str(text: &str) -> Result<Self, NotTrustDomain> {
        match is_trust_domain(text) {
            true => Ok(Self(text.into())),
            false => Err(NotTrustDomain(text.into())),
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
