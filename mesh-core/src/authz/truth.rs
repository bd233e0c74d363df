//! Logic with a third value, after Kleene.

use std::ops::Not;

/// Whether something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It is not.
    No,
    /// It is.
    Yes,
    /// Nobody here can tell: what it depends on was not looked at. Negation keeps it so.
    Unknown,
}

impl Truth {
    /// Whether all are so. [`Self::Unknown`] of none.
    pub fn all(each: impl IntoIterator<Item = Self>) -> Self {
        !Self::any(each.into_iter().map(Self::not))
    }

    /// Whether one of them is so. [`Self::Unknown`] of none: an empty set says nothing, and neither does its negation.
    pub fn any(each: impl IntoIterator<Item = Self>) -> Self {
        let mut each = each.into_iter();
        let Some(mut found) = each.next() else {
            return Self::Unknown;
        };
        while found != Self::Yes {
            match each.next() {
                Some(Self::No) => {}
                Some(other) => found = other,
                None => break,
            }
        }
        found
    }
}

impl From<bool> for Truth {
    fn from(known: bool) -> Self {
        match known {
            true => Self::Yes,
            false => Self::No,
        }
    }
}

impl Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Yes => Self::No,
            Self::Unknown => Self::Unknown,
        }
    }
}
