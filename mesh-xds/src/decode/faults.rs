//! What is wrong inside a resource: all of it, each fault with its field path.

use std::fmt;

/// How many faults of one resource are told in words; the rest is counted.
const TOLD: usize = 16;

/// What is wrong inside a resource: where, and why. One fault or several, told in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    first: Fault,
    others: Vec<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    path: String,
    reason: String,
}

impl Invalid {
    pub(crate) fn new(path: impl Into<String>, reason: impl fmt::Display) -> Self {
        let first = Fault {
            path: path.into(),
            reason: reason.to_string(),
        };
        Self {
            first,
            others: Vec::new(),
        }
    }

    /// The same faults seen from one level further up.
    pub(crate) fn within(mut self, parent: impl fmt::Display) -> Self {
        let parent = parent.to_string();
        for fault in std::iter::once(&mut self.first).chain(&mut self.others) {
            fault.path = match (parent.is_empty(), fault.path.is_empty()) {
                (true, _) => continue,
                (false, true) => parent.clone(),
                (false, false) => format!("{parent}.{}", fault.path),
            };
        }
        self
    }

    fn and(&mut self, other: Self) {
        self.others.push(other.first);
        self.others.extend(other.others);
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        for fault in self.others.iter().take(TOLD - 1) {
            write!(f, "; {fault}")?;
        }
        match self.others.len().checked_sub(TOLD - 1) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "; and {more} more"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.path, self.reason)
        }
    }
}

/// Collects faults while decoding goes on, so that one NACK tells all of them.
#[derive(Debug, Default)]
pub(crate) struct Faults(Option<Invalid>);

impl Faults {
    /// Takes the fault out of a result.
    pub(crate) fn take<T>(&mut self, result: Result<T, Invalid>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    pub(crate) fn add(&mut self, error: Invalid) {
        match &mut self.0 {
            None => self.0 = Some(error),
            Some(all) => all.and(error),
        }
    }

    /// What was decoded, if nothing was wrong. `None` for what only a fault leaves out.
    pub(crate) fn or<T>(self, decoded: Option<T>) -> Result<T, Invalid> {
        match (self.0, decoded) {
            (Some(error), _) => Err(error),
            (None, Some(decoded)) => Ok(decoded),
            (None, None) => Err(Invalid::new("", "could not be decoded")),
        }
    }
}
