//! `spiffe://trust-domain/path`, read strictly: what two readers could read differently is no id.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::trust_domain::is_trust_domain;

const SCHEME: &str = "spiffe://";

/// The most bytes of an id (SPIFFE-ID, 2.3).
const LONGEST: usize = 2048;

/// The id of a workload (SPIFFE-ID, section 2): `spiffe://cluster.local/ns/default/sa/reviews`. It has a path; the scheme is
/// in lower case; there is no user, port, query, fragment, percent-encoding, empty or dot segment and no final slash. The
/// text is compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path begins, with its slash.
    path: usize,
}

/// A text that is no SPIFFE id of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no SPIFFE id of a workload: {reason}")]
pub struct NotSpiffe {
    text: Box<str>,
    reason: &'static str,
}

impl SpiffeId {
    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain's text.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.path]
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        &self.text[self.path..]
    }

    /// Namespace and service account, if it has Istio's form `/ns/<namespace>/sa/<account>`.
    pub fn istio(&self) -> Option<(&str, &str)> {
        let mut segments = self.path().split('/').skip(1);
        let four = [(); 4].map(|()| segments.next());
        match (four, segments.next()) {
            ([Some("ns"), Some(namespace), Some("sa"), Some(account)], None) => {
                Some((namespace, account))
            }
            _ => None,
        }
    }
}

/// Where the path of an id begins.
fn path_of(text: &str) -> Result<usize, &'static str> {
    if text.len() > LONGEST {
        return Err("it is longer than 2048 bytes");
    }
    let rest = text
        .strip_prefix(SCHEME)
        .ok_or("it does not begin with spiffe://")?;
    let at = rest.find('/').ok_or("it has no path")?;
    if !is_trust_domain(&rest[..at]) {
        return Err("its trust domain is not 1 to 255 of a-z, 0-9, '.', '-' and '_'");
    }
    for segment in rest[at + 1..].split('/') {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        match segment {
            "" => return Err("a segment of its path is empty"),
            "." | ".." => return Err("a segment of its path is '.' or '..'"),
            _ if !segment.bytes().all(allowed) => {
                return Err("its path has other characters than letters, digits, '.', '-' and '_'");
            }
            _ => {}
        }
    }
    Ok(SCHEME.len() + at)
}

impl FromStr for SpiffeId {
    type Err = NotSpiffe;

    fn from_str(text: &str) -> Result<Self, NotSpiffe> {
        match path_of(text) {
            Ok(path) => Ok(Self {
                text: text.into(),
                path,
            }),
            Err(reason) => Err(NotSpiffe {
                text: text.chars().take(LONGEST).collect::<String>().into(),
                reason,
            }),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
