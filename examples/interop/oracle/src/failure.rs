//! What keeps the oracle from judging at all. Differences are no failures: they are its result.

use std::fmt::Display;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(String);

impl Failure {
    /// From a sentence.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
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
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
