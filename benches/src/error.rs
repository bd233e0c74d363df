//! Why a measurement could not be made.

use std::io;
use std::path::PathBuf;

/// What kept a row, or the whole run, from being measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// `--only` names no row.
    #[error("no row begins with {asked:?}; --only takes the beginning of one of {names}")]
    NoSuchRow {
        /// What was asked for.
        asked: String,
        /// The rows that there are.
        names: String,
    },
    /// The machine does not do what measuring needs.
    #[error("this machine cannot be measured on: {0}")]
    Machine(String),
    /// The backend did not start.
    #[error("the plain server did not start: {0}")]
    Server(String),
    /// The mesh did not start.
    #[error("the mesh did not start: {0}")]
    Mesh(String),
    /// A request did not bring back what was sent.
    #[error("a request of the arm {arm:?} failed: {reason}")]
    Request {
        /// The arm.
        arm: &'static str,
        /// Why.
        reason: String,
    },
    /// A program that measuring needs is not there.
    #[error("there is no {0} on the PATH; install valgrind, which brings it")]
    Missing(&'static str),
    /// Counting did not work.
    #[error("instructions cannot be counted: {0}")]
    Counting(String),
    /// Our own configuration was not taken as it was meant.
    #[error("the row's configuration is not in force: {0}")]
    Configuration(String),
    /// No certificate could be made.
    #[error("a certificate cannot be made: {0}")]
    Certificates(String),
    /// The table or the folder could not be written.
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
    /// The JSON file could not be written.
    #[error("cannot write --json {path:?}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
