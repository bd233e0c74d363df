//! Telling: a line for each request, and a summary at the end.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;

use super::Output;
use super::send::Outcome;
use crate::failure::Failure;
use crate::stop;

/// What happened in all.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    statuses: BTreeMap<StatusCode, u64>,
    errors: BTreeMap<(&'static str, StatusCode), u64>,
    times: Vec<Duration>,
    took: Duration,
}

/// Prints every outcome, until the last one or Ctrl-C.
pub(crate) async fn print(
    mut outcomes: mpsc::Receiver<Outcome>,
    output: Output,
) -> Result<Summary, Failure> {
    let start = Instant::now();
    let mut summary = Summary::default();
    let mut out = BufWriter::new(io::stdout());
    let stopped = stop::signal();
    tokio::pin!(stopped);
    loop {
        let outcome = tokio::select! {
            outcome = outcomes.recv() => outcome,
            () = &mut stopped => None,
        };
        let Some(outcome) = outcome else { break };
        match output {
            Output::Json => writeln!(out, "{}", as_json(&outcome))?,
            Output::Text => text(&mut out, &outcome)?,
        }
        summary.add(&outcome);
        if outcomes.is_empty() {
            out.flush()?;
        }
    }
    out.flush()?;
    summary.took = start.elapsed();
    Ok(summary)
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    let mut line = json!({
        "status": outcome.status.as_u16(),
        "flags": outcome.flags,
        "route": outcome.route.as_deref(),
        "cluster": outcome.cluster.as_deref(),
        "endpoint": outcome.endpoint,
        "generation": outcome.generation,
        "milliseconds": milliseconds(outcome.elapsed),
    });
    if let (Some(error), Some(line)) = (&outcome.error, line.as_object_mut()) {
        line.insert("error".to_owned(), error.as_str().into());
    }
    line
}

fn text(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let Outcome {
        status,
        flags,
        generation,
        elapsed,
        ..
    } = outcome;
    write!(out, "{}", status.as_u16())?;
    if !flags.is_empty() {
        write!(out, " {flags}")?;
    }
    write!(out, "  route {}", outcome.route.as_deref().unwrap_or("-"))?;
    write!(
        out,
        "  cluster {}",
        outcome.cluster.as_deref().unwrap_or("-")
    )?;
    match outcome.endpoint {
        Some(endpoint) => write!(out, "  endpoint {endpoint}")?,
        None => write!(out, "  endpoint -")?,
    }
    writeln!(
        out,
        "  generation {generation}  {} ms",
        milliseconds(*elapsed)
    )?;
    if let Some(error) = &outcome.error {
        writeln!(out, "{error}")?;
    }
    out.write_all(&outcome.body)?;
    if !outcome.body.is_empty() && !outcome.body.ends_with(b"\n") {
        writeln!(out)?;
    }
    Ok(())
}

/// To the microsecond; finer is noise.
fn milliseconds(elapsed: Duration) -> f64 {
    elapsed.as_micros() as f64 / 1000.0
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        let count = match outcome.error {
            None => self.statuses.entry(outcome.status).or_default(),
            Some(_) => self
                .errors
                .entry((outcome.flags, outcome.status))
                .or_default(),
        };
        *count += 1;
        self.times.push(outcome.elapsed);
    }

    /// Prints the summary; fails when a request got no response.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.times.sort_unstable();
        let line = self.line();
        if self.errors.is_empty() {
            writeln!(io::stderr(), "{line}")?;
            return Ok(());
        }
        Err(Failure::No(line))
    }

    fn line(&self) -> String {
        let answered: u64 = self.statuses.values().sum();
        let failed: u64 = self.errors.values().sum();
        let statuses = list(
            self.statuses
                .iter()
                .map(|(status, n)| format!("{}: {n}", status.as_u16())),
        );
        let errors = list(
            self.errors
                .iter()
                .map(|((flags, status), n)| format!("{} {flags}: {n}", status.as_u16())),
        );
        let at = |share: f64| {
            let last = self.times.len().saturating_sub(1);
            let index = (last as f64 * share).round() as usize;
            self.times.get(index).copied().map_or(0.0, milliseconds)
        };
        format!(
            "{} requests in {:.2} s: {answered} answered{statuses}, {failed} failed{errors}; \
             milliseconds: median {}, p99 {}, max {}",
            answered + failed,
            self.took.as_secs_f64(),
            at(0.5),
            at(0.99),
            at(1.0),
        )
    }
}

fn list(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join(", "))
    }
}
