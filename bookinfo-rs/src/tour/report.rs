//! The table of a tour, and its JSON.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::judge::Check;

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The task.
    pub task: String,
    /// What should be seen.
    pub expected: String,
    /// What was.
    pub observed: String,
    /// Whether the one is the other.
    pub pass: bool,
    /// Whether the observation is the baseline.
    #[serde(skip)]
    is_baseline: bool,
}

/// All lines so far.
#[derive(Debug)]
pub(crate) struct Report {
    control: bool,
    rows: Vec<Row>,
}

impl Report {
    /// An empty one.
    pub(crate) const fn new(control: bool) -> Self {
        Self {
            control,
            rows: Vec::new(),
        }
    }

    /// Adds a task's checks.
    pub(crate) fn add(&mut self, task: &str, checks: Vec<Check>) {
        self.rows.extend(checks.into_iter().map(|check| Row {
            task: task.to_owned(),
            expected: check.expected,
            observed: check.observed,
            pass: check.pass,
            is_baseline: check.is_baseline,
        }));
    }

    /// Whether the tour went as it should: every check passed, or as a control failed with the baseline observed.
    pub(crate) fn is_good(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| self.row_is_good(row))
    }

    const fn row_is_good(&self, row: &Row) -> bool {
        if self.control {
            !row.pass && row.is_baseline
        } else {
            row.pass
        }
    }

    /// The table: task, expected, observed, verdict.
    pub(crate) fn table(&self) -> String {
        let head = ["task", "expected", "observed", "verdict"].map(str::to_owned);
        let lines: Vec<[String; 4]> = std::iter::once(head)
            .chain(self.rows.iter().map(|row| self.cells(row)))
            .collect();
        let width = |column: usize| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths = [width(0), width(1), width(2)];
        let print = |[task, expected, observed, verdict]: &[String; 4]| {
            let [a, b, c] = widths;
            format!("{task:a$}  {expected:b$}  {observed:c$}  {verdict}\n")
        };
        lines.iter().map(print).collect()
    }

    fn cells(&self, row: &Row) -> [String; 4] {
        let verdict = match (self.control, row.pass, row.is_baseline) {
            (false, true, _) => "pass",
            (false, false, _) => "FAIL",
            (true, false, true) => "fails as it must: the baseline",
            (true, true, _) => "PASSES WITHOUT ITS RULE",
            (true, false, false) => "NOT THE BASELINE",
        };
        [
            row.task.clone(),
            row.expected.clone(),
            row.observed.clone(),
            verdict.to_owned(),
        ]
    }

    /// The last line.
    pub(crate) fn summary(&self) -> String {
        let good = self.rows.iter().filter(|row| self.row_is_good(row)).count();
        let how = if self.control {
            "checks failed as they must without their rules"
        } else {
            "checks passed"
        };
        format!("{good} of {} {how}", self.rows.len())
    }

    /// Writes `[{"task","expected","observed","pass"}]`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.rows)?;
        text.push(b'\n');
        fs::write(path, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tour::judge::{Sample, Shares};

    fn check(versions: [u32; 3], errors: u32) -> Check {
        Check::shares("all", Shares::V1, Sample { versions, errors })
    }

    #[test]
    fn a_control_is_good_only_with_the_baseline() {
        let good = |control, check| {
            let mut report = Report::new(control);
            report.add("t", vec![check]);
            report.is_good()
        };
        assert!(good(false, check([99, 0, 0], 0)));
        assert!(!good(false, check([33, 33, 33], 0)));
        assert!(good(true, check([33, 33, 33], 0)));
        assert!(
            !good(true, check([99, 0, 0], 0)),
            "it passes without its rule"
        );
        assert!(!good(true, check([33, 33, 32], 1)), "an error is red");
        assert!(
            !good(true, check([0, 99, 0], 0)),
            "it fails, but not with the baseline"
        );
        assert!(!Report::new(true).is_good(), "no check at all");
    }
}
