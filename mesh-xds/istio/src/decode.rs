//! From trees to typed specs: every fault of a document is collected with its place, and what is allowed is told.

mod field;
mod mapping;

use std::path::{Path, PathBuf};

use crate::config::Options;
use crate::diagnostic::{Diagnostic, Severity};
use crate::yaml::{Position, Value};
pub(crate) use mapping::{Fields, Labels, integer, selects};

/// Collects the findings of one document.
#[derive(Debug)]
pub(crate) struct Sink {
    file: PathBuf,
    /// What the mesh has besides the folder.
    pub(crate) options: Options,
    pub(crate) object: String,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) notes: Vec<Diagnostic>,
}

impl Sink {
    pub(crate) fn new(file: &Path, options: Options) -> Self {
        Self {
            file: file.to_owned(),
            options,
            object: String::new(),
            errors: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn diagnostic(&self, severity: Severity, at: Position, message: String) -> Diagnostic {
        let Position { line, column } = at;
        Diagnostic {
            severity,
            file: self.file.clone(),
            line,
            column,
            object: self.object.clone(),
            path: String::new(),
            message,
        }
    }

    pub(crate) fn error(&mut self, at: Position, message: impl Into<String>) {
        self.errors
            .push(self.diagnostic(Severity::Error, at, message.into()));
    }

    pub(crate) fn note(&mut self, at: Position, message: impl Into<String>) {
        self.notes
            .push(self.diagnostic(Severity::NotSupported, at, message.into()));
    }

    /// A note for later, when other documents are known; its message is still to be written.
    pub(crate) fn later(&self, at: Position, path: String) -> Diagnostic {
        let place = self.diagnostic(Severity::NotSupported, at, String::new());
        Diagnostic { path, ..place }
    }

    /// Tells of each finding which field of the document it is about.
    pub(crate) fn locate(&mut self, document: &Value) {
        field::locate(document, self.errors.iter_mut().chain(&mut self.notes));
    }

    /// Refuses what only certificates give, where the mesh has none.
    pub(crate) fn refuse_uncertified(&mut self, at: Position, what: &str, demand: &str) {
        let message = format!(
            "{what} demands {demand}, for which the mesh has no certificates; refusing is safer than plaintext. Where its \
             workloads have some, say so: --certificates for meshctl apply, analyze and control-plane (or --authority for the \
             last); a program that reads a folder by itself needs a control plane for that"
        );
        self.error(at, message);
    }
}

/// The fields of one message: those that are served, and those of Istio that are not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    pub(crate) served: &'static [&'static str],
    pub(crate) unserved: &'static [&'static str],
}
