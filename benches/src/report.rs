//! A row and how it is told: as a line of the table, and as JSON.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::BenchError;
use crate::stats::Estimate;

/// What a row promises.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    pub(crate) name: &'static str,
    /// What the ratio is of.
    pub(crate) text: &'static str,
    /// The most that the ratio may be.
    pub(crate) must: f64,
    /// What it should come to.
    pub(crate) reach: f64,
}

/// A row of the result, in the shape of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) row: &'static str,
    pub(crate) ratio: Option<f64>,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    pub(crate) must: f64,
    pub(crate) reach: f64,
    /// Measured, and the lower end of the interval is not above `must`.
    pub(crate) pass: bool,
    pub(crate) ran: bool,
}

impl Row {
    pub(crate) fn measured(promise: &Promise, estimate: Estimate) -> Self {
        Self {
            ratio: Some(estimate.median),
            low: Some(estimate.low),
            high: Some(estimate.high),
            pass: estimate.low <= promise.must,
            ran: true,
            ..Self::not_run(promise)
        }
    }

    pub(crate) const fn not_run(promise: &Promise) -> Self {
        Self {
            row: promise.name,
            ratio: None,
            low: None,
            high: None,
            must: promise.must,
            reach: promise.reach,
            pass: false,
            ran: false,
        }
    }

    /// Measured, and surely worse than it must be.
    pub(crate) const fn failed(&self) -> bool {
        self.ran && !self.pass
    }

    /// The verdict in words.
    fn verdict(&self) -> String {
        let (Some(low), Some(high)) = (self.low, self.high) else {
            return "NOT RUN".to_owned();
        };
        if low > self.must {
            return format!("FAIL: the lower end is above {:.2}", self.must);
        }
        if high > self.must {
            return format!("undecided: the upper end is above {:.2}", self.must);
        }
        if high > self.reach {
            format!("pass: the upper end is below {:.2}", self.must)
        } else {
            format!("pass: the upper end reaches {:.2}", self.reach)
        }
    }
}

/// Prints the rows.
pub(crate) fn table(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<12} {:>7} {:>18} {:>6} {:>6}  verdict",
        "row", "ratio", "95 % interval", "must", "reach"
    )?;
    for row in rows {
        let number =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
        let interval = format!("[{}, {}]", number(row.low), number(row.high));
        writeln!(
            out,
            "{:<12} {:>7} {interval:>18} {:>6.2} {:>6.2}  {}",
            row.row,
            number(row.ratio),
            row.must,
            row.reach,
            row.verdict()
        )?;
    }
    Ok(())
}

/// Writes rows, or what else was counted, as JSON.
pub(crate) fn json(rows: &(impl Serialize + ?Sized), path: &Path) -> Result<(), BenchError> {
    let failed = |source| BenchError::Json {
        path: path.to_owned(),
        source,
    };
    let mut text = serde_json::to_string_pretty(rows).map_err(|error| failed(error.into()))?;
    text.push('\n');
    std::fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise {
        name: "a row",
        text: "ours over theirs",
        must: 1.0,
        reach: 0.9,
    };

    fn row(low: f64, median: f64, high: f64) -> Row {
        Row::measured(&PROMISE, Estimate { median, low, high })
    }

    #[test]
    fn only_a_lower_end_above_must_fails() {
        assert!(row(1.01, 1.02, 1.03).failed());
        assert!(!row(1.0, 1.02, 1.03).failed());
        assert!(row(0.99, 1.01, 1.02).verdict().starts_with("undecided"));
        assert!(row(0.93, 0.94, 0.95).verdict().ends_with("below 1.00"));
        assert!(row(0.87, 0.88, 0.89).verdict().ends_with("reaches 0.90"));
    }

    #[test]
    fn what_was_not_run_is_no_pass() {
        let row = Row::not_run(&PROMISE);
        assert!(!row.pass && !row.failed());
        assert_eq!(row.verdict(), "NOT RUN");
        let mut out = Vec::new();
        table(&[row], &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("NOT RUN"));
    }

    #[test]
    fn the_json_has_the_promised_fields() {
        let value = serde_json::to_value([row(0.9, 0.95, 0.99), Row::not_run(&PROMISE)]).unwrap();
        let fields: Vec<_> = value[0].as_object().unwrap().keys().cloned().collect();
        let mut promised = [
            "row", "ratio", "low", "high", "must", "reach", "pass", "ran",
        ];
        promised.sort_unstable();
        assert_eq!(fields, promised);
        assert_eq!(value[0]["pass"], true);
        assert_eq!(value[1]["ran"], false);
        assert!(value[1]["ratio"].is_null());
    }
}
