//! One finding, as text and as data.

use std::fmt;
use std::path::PathBuf;

use crate::config::Tree;
use crate::diagnostic::Diagnostic;

use super::code::Code;
use super::node::Node;

/// How bad a finding is, as Istio grades it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// To know: it may be meant so.
    Info,
    /// Something does not do what it seems to do.
    Warning,
    /// The configuration is refused, or calls fail.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "Info",
            Self::Warning => "Warning",
            Self::Error => "Error",
        })
    }
}

/// One finding: `LEVEL [CODE] (OBJECT FILE:LINE:COL) PATH: MESSAGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Istio's code, such as `IST0101`; `MESH` and a number where Istio has none.
    pub code: &'static str,
    /// That of Istio for the code.
    pub level: Level,
    /// `Kind namespace/name`, as far as the document told; may be empty.
    pub object: String,
    /// The file, as it was given.
    pub file: PathBuf,
    /// The line from 1; 0 when the finding is about the whole file.
    pub line: u64,
    /// The column from 1; 0 when the finding is about the whole file.
    pub column: u64,
    /// The field, such as `spec.http[0].route[0].destination.host`; may be empty.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Finding {
    /// `FILE:LINE:COL`, or the file alone.
    pub fn reference(&self) -> String {
        let file = self.file.display();
        match self.line {
            0 => file.to_string(),
            line => format!("{file}:{line}:{}", self.column),
        }
    }

    pub(super) fn from_diagnostic(code: Code, diagnostic: Diagnostic) -> Self {
        Self {
            code: code.id,
            level: code.level,
            object: diagnostic.object,
            file: diagnostic.file,
            line: diagnostic.line,
            column: diagnostic.column,
            path: diagnostic.path,
            message: diagnostic.message,
        }
    }

    /// By which findings are sorted.
    pub(super) fn order(&self) -> impl Ord {
        let worst_first = std::cmp::Reverse(self.level);
        let place = (self.file.clone(), self.line, self.column);
        (worst_first, place, self.code, self.message.clone())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] (", self.level, self.code)?;
        if !self.object.is_empty() {
            write!(f, "{} ", self.object)?;
        }
        write!(f, "{}) ", self.reference())?;
        // Most faults of a field name it themselves.
        if !self.path.is_empty() && !self.message.contains(&self.path) {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    /// About what stands at a node.
    pub(super) fn add(&mut self, code: Code, tree: &Tree, node: &Node<'_>, message: String) {
        let header = &tree.header;
        self.findings.push(Finding {
            code: code.id,
            level: code.level,
            object: format!("{} {}/{}", header.kind, header.namespace, header.name),
            file: tree.file.clone(),
            line: node.at.line,
            column: node.at.column,
            path: node.path.clone(),
            message,
        });
    }
}
