//! `VirtualHost.domains`: exact > `*suffix` > `prefix*` > `*`; the longest wins inside a class
//! (Envoy, gRPC A27). Hashed by class and length, so that 100,000 hosts cost what one costs.

use std::collections::BTreeMap;

use crate::cow_map::CowMap;
use crate::request::lower_case;

/// One entry of `VirtualHost.domains`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// `reviews.default.svc.cluster.local`
    Exact(Box<str>),
    /// `*.example.com`: what follows the star, which stands for at least one character.
    Suffix(Box<str>),
    /// `example.*`: what precedes the star.
    Prefix(Box<str>),
    /// `*`
    Any,
}

impl Domain {
    /// Parses an entry. A star counts at the beginning, else at the end; any other is a character that
    /// no host holds, so such a domain is taken and never found (Envoy).
    ///
    /// # Errors
    /// When it holds a line break or a null byte.
    pub fn parse(text: &str) -> Result<Self, InvalidDomain> {
        if text.contains(['\0', '\r', '\n']) {
            return Err(InvalidDomain(text.to_owned()));
        }
        let lower = text.to_ascii_lowercase();
        Ok(match (lower.strip_prefix('*'), lower.strip_suffix('*')) {
            (Some(""), _) => Self::Any,
            (Some(rest), _) => Self::Suffix(rest.into()),
            (None, Some(rest)) => Self::Prefix(rest.into()),
            (None, None) => Self::Exact(lower.as_str().into()),
        })
    }
}

/// A domain that Envoy would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("domain {0:?} holds a line break or a null byte")]
pub struct InvalidDomain(String);

/// Finds a value by host. Clones share everything.
#[derive(Debug, Clone)]
pub struct DomainTable<T> {
    exact: CowMap<Box<str>, T>,
    suffix: ByLength<T>,
    prefix: ByLength<T>,
    any: Option<T>,
}

impl<T: Clone> DomainTable<T> {
    /// A table without a domain.
    pub const fn new() -> Self {
        Self {
            exact: CowMap::new(),
            suffix: ByLength::new(),
            prefix: ByLength::new(),
            any: None,
        }
    }

    /// The value of the best domain for a host (without port, unless the table's domains carry ports).
    pub fn find(&self, host: &str) -> Option<&T> {
        // Domains are kept in lower case, and so are nearly all hosts.
        self.exact
            .get(host)
            .or_else(|| self.find_lower(&lower_case(host)))
    }

    fn find_lower(&self, host: &str) -> Option<&T> {
        // A star stands for at least one character.
        let end = |length: usize| host.get(host.len().checked_sub(length).filter(|at| *at > 0)?..);
        let start = |length: usize| host.get(..length).filter(|_| host.len() > length);
        self.exact
            .get(host)
            .or_else(|| self.suffix.find(end))
            .or_else(|| self.prefix.find(start))
            .or(self.any.as_ref())
    }

    /// Points a domain at a value.
    pub fn insert(&mut self, domain: &Domain, value: T) {
        match domain {
            Domain::Exact(text) => self.exact.insert(text.clone(), value),
            Domain::Suffix(text) => self.suffix.insert(text, value),
            Domain::Prefix(text) => self.prefix.insert(text, value),
            Domain::Any => self.any = Some(value),
        }
    }

    /// Forgets a domain.
    pub fn remove(&mut self, domain: &Domain) {
        match domain {
            Domain::Exact(text) => drop(self.exact.remove(&**text)),
            Domain::Suffix(text) => self.suffix.remove(text),
            Domain::Prefix(text) => self.prefix.remove(text),
            Domain::Any => self.any = None,
        }
    }
}

impl<T: Clone> Default for DomainTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Wildcards of one class: how many there are of each length, and their values.
#[derive(Debug, Clone)]
struct ByLength<T> {
    lengths: BTreeMap<usize, usize>,
    values: CowMap<Box<str>, T>,
}

impl<T: Clone> ByLength<T> {
    const fn new() -> Self {
        Self {
            lengths: BTreeMap::new(),
            values: CowMap::new(),
        }
    }

    fn find<'h>(&self, part: impl Fn(usize) -> Option<&'h str>) -> Option<&T> {
        self.lengths
            .keys()
            .rev()
            .find_map(|length| self.values.get(part(*length)?))
    }

    fn insert(&mut self, text: &str, value: T) {
        let before = self.values.len();
        self.values.insert(text.into(), value);
        *self.lengths.entry(text.len()).or_default() += self.values.len() - before;
    }

    fn remove(&mut self, text: &str) {
        if self.values.remove(text)
            && let Some(count) = self.lengths.get_mut(&text.len())
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&text.len());
            }
        }
    }
}
