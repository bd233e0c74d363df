//! What keeps the comparison from being made at all. Differences are no failures: they are its result.

use std::fmt::Display;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    text: String,
    /// There is no istiod to compare with, which is no fault of ours.
    pub(crate) not_run: bool,
}

impl Failure {
    /// From a sentence.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            not_run: false,
        }
    }

    /// Both.
    pub(crate) fn and(self, other: &Self) -> Self {
        Self {
            text: format!("{self}\n{other}"),
            not_run: self.not_run || other.not_run,
        }
    }

    /// The same, with where.
    pub(crate) fn of(self, place: &str) -> Self {
        Self {
            text: format!("{place}: {}", self.text),
            ..self
        }
    }

    /// That istiod cannot be had here, and why.
    pub(crate) fn not_run(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            not_run: true,
        }
    }
}

/// What may fail for reasons outside of the comparison.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Says what was being done.
pub(crate) trait Doing<T> {
    /// `what: error`
    fn doing(self, what: &str) -> Result<T>;
}

impl<T, E: Display> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|error| Failure::new(format!("{what}: {error}")))
    }
}
