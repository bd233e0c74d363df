//! What is wrong with a folder, or not served of it: one line each, with file, line and column.

use std::fmt;
use std::path::PathBuf;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Rejects the folder.
    Error,
    /// Accepted, and without effect in this version.
    NotSupported,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::NotSupported => "not supported",
        })
    }
}

/// One finding: `FILE:LINE:COL: error: OBJECT: MESSAGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error, or accepted but not supported.
    pub severity: Severity,
    /// The file, as it was given.
    pub file: PathBuf,
    /// The line from 1; 0 when the finding is about the whole file.
    pub line: u64,
    /// The column from 1; 0 when the finding is about the whole file.
    pub column: u64,
    /// `Kind namespace/name`, as far as the document told; may be empty.
    pub object: String,
    /// The field that it is about, such as `spec.http[0].route[1].weight`: a missing field's is that of the mapping
    /// that lacks it. Empty when the finding is about a whole file or document.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}: ", self.severity)?;
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a folder or a text was rejected: every error that was found, in the order of files and lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Rejected {
    /// The errors; never empty.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl Diagnostic {
    /// One about a whole file or folder.
    pub(crate) fn file(
        severity: Severity,
        file: impl Into<PathBuf>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            file: file.into(),
            line: 0,
            column: 0,
            object: String::new(),
            path: String::new(),
            message: message.into(),
        }
    }
}

impl Rejected {
    /// One error about a whole file or folder.
    pub(crate) fn file(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            diagnostics: vec![Diagnostic::file(Severity::Error, file, message)],
        }
    }
}
