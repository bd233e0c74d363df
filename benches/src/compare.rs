//! `compare`: runs the rows, prints them, and says by its exit code whether one is surely too bad.
//! A row that could not be measured is neither a pass nor a failure: it is named as not run.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::error::BenchError;
use crate::machine::{self, Facts};
use crate::report::{self, Promise, Row};
use crate::{grpc, http1, mtls, publish, push};

/// What the self-test adds to each of our requests when it is not told.
const SELF_TEST_SPIN_US: u64 = 2;
/// The same of row `grpc`, which lies far below its mark: on any machine more than lies between.
const SELF_TEST_SPIN_US_GRPC: u64 = 10;

/// The same of row `mtls`: a quarter of what its requests cost.
const SELF_TEST_SPIN_US_MTLS: u64 = 3;

/// The rows, in the order in which they run.
const ROWS: [Promise; 5] = [
    http1::PROMISE,
    mtls::PROMISE,
    grpc::PROMISE,
    publish::PROMISE,
    push::PROMISE,
];

/// Command line of `compare`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Writes the rows to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many rounds each row is made of.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..))]
    rounds: u32,
    /// Runs the rows alone whose name begins with this.
    #[arg(long, value_name = "ROW")]
    only: Option<String>,
    /// Adds a busy wait of so many microseconds to each request of our arm: a control, which must show.
    #[arg(long, value_name = "N", default_value_t = 0)]
    spin_us: u64,
    /// Runs the rows that send requests with a busy wait (--spin-us, or 2 us, of row grpc 10 us, of row mtls 3 us), and succeeds only if
    /// each of them fails.
    #[arg(long)]
    self_test: bool,
    /// Shuffles the rounds, splits the traffic and draws the intervals.
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// What every row is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) rounds: u32,
    pub(crate) seed: u64,
    /// Busy wait in each request of our arm.
    pub(crate) spin: Duration,
}

impl Settings {
    /// Of a run that measures nothing.
    pub(crate) const UNMEASURED: Self = Self {
        rounds: 0,
        seed: 42,
        spin: Duration::ZERO,
    };
}

/// Runs what the options ask for.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<ExitCode, BenchError> {
    let only = options.only.as_deref();
    let chosen: Vec<Promise> = ROWS
        .into_iter()
        .filter(|row| only.is_none_or(|only| row.name.starts_with(only)))
        // It sends no requests.
        .filter(|row| !options.self_test || row.name != publish::PROMISE.name)
        .collect();
    if chosen.is_empty() {
        let names = ROWS.map(|row| format!("{:?}", row.name)).join(", ");
        let asked = only.unwrap_or_default();
        return Err(BenchError::NoSuchRow {
            asked: asked.to_owned(),
            names,
        });
    }
    // Read before pinning: afterwards one core is all that is left to us.
    let facts = Facts::read();
    let core = machine::pin();
    introduce(&facts, &core, options, out)?;
    let mut rows = Vec::new();
    for promise in &chosen {
        writeln!(out, "\n{}: {}", promise.name, promise.text)?;
        let settings = Settings {
            rounds: options.rounds,
            seed: options.seed,
            spin: spin(promise, options),
        };
        if !settings.spin.is_zero() {
            let spin = settings.spin;
            writeln!(out, "  CONTROL: each request of our arm spins for {spin:?}")?;
        }
        let row = match &core {
            Err(error) => not_run(promise, error, out)?,
            Ok(_) => one(promise, &settings, out)?,
        };
        rows.push(row);
    }
    report::table(&rows, out)?;
    if let Some(path) = &options.json {
        report::json(&rows, path)?;
    }
    Ok(if options.self_test {
        self_tested(&rows, out)?
    } else {
        judged(&rows, out)?
    })
}

/// The busy wait in each request of our arm.
fn spin(promise: &Promise, options: &Options) -> Duration {
    Duration::from_micros(match options.spin_us {
        0 if !options.self_test => 0,
        0 if promise.name == grpc::PROMISE.name => SELF_TEST_SPIN_US_GRPC,
        0 if promise.name == mtls::PROMISE.name => SELF_TEST_SPIN_US_MTLS,
        0 => SELF_TEST_SPIN_US,
        told => told,
    })
}

fn one(promise: &Promise, settings: &Settings, out: &mut impl Write) -> Result<Row, BenchError> {
    if promise.name == publish::PROMISE.name {
        publish::run(settings, out)
    } else if promise.name == push::PROMISE.name {
        push::run(settings, out)
    } else if promise.name == grpc::PROMISE.name {
        grpc::run(settings, out)
    } else if promise.name == mtls::PROMISE.name {
        mtls::run(settings, out)
    } else {
        http1::run(settings, out)
    }
}

fn not_run(promise: &Promise, why: &BenchError, out: &mut impl Write) -> io::Result<Row> {
    writeln!(out, "  NOT RUN: {why}")?;
    Ok(Row::not_run(promise))
}

fn introduce(
    facts: &Facts,
    core: &Result<usize, BenchError>,
    options: &Options,
    out: &mut impl Write,
) -> io::Result<()> {
    let Facts {
        cores,
        kernel,
        processor,
    } = facts;
    writeln!(out, "machine: {cores} cores, {processor}, {kernel}")?;
    if let Ok(core) = core {
        writeln!(
            out,
            "pinned to core {core}: client and server, in every arm"
        )?;
    }
    let Options { rounds, seed, .. } = options;
    writeln!(out, "rounds: {rounds}, seed: {seed}")?;
    if cfg!(debug_assertions) {
        writeln!(
            out,
            "NOT A MEASUREMENT: built without optimisation; use --release"
        )?;
    }
    Ok(())
}

fn judged(rows: &[Row], out: &mut impl Write) -> io::Result<ExitCode> {
    for row in rows.iter().filter(|row| !row.ran) {
        writeln!(out, "{}: NOT RUN", row.row)?;
    }
    Ok(if rows.iter().any(Row::failed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn self_tested(rows: &[Row], out: &mut impl Write) -> io::Result<ExitCode> {
    let (text, code) = match rows {
        rows if rows.iter().any(|row| !row.ran) => {
            ("not run, so it proves nothing", ExitCode::FAILURE)
        }
        rows if rows.iter().all(Row::failed) => ("each row failed, as it must", ExitCode::SUCCESS),
        _ => (
            "a row did NOT fail: it cannot see that much",
            ExitCode::FAILURE,
        ),
    };
    writeln!(out, "\nself-test: {text}")?;
    Ok(code)
}
