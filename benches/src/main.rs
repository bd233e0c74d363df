//! Every number that the README claims, re-runnable: `cargo run --release -p benches -- compare`.
//!
//! Each row is a ratio of two measurements of one run, so that it means the same on every machine.

mod compare;
mod error;
mod http1;
mod machine;
mod publish;
mod report;
mod server;
mod stats;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::compare::Options;
use crate::error::BenchError;

/// Measures mesh-tower against what it replaces.
#[derive(Debug, Parser)]
#[command(name = "benches", version)]
enum Command {
    /// Compares row by row. Exits with 1 when a row is worse than it must be.
    Compare(Options),
    /// The plain server behind every arm of a row; started by `compare`.
    #[command(hide = true)]
    Serve,
    /// Does what a row does and measures nothing: something to point a profiler at.
    #[command(hide = true)]
    Drive {
        /// The mesh's client instead of the plain one.
        #[arg(long)]
        ours: bool,
        /// Changes of endpoints among so many clusters, as row `publish` makes them, instead of requests.
        #[arg(long, conflicts_with = "ours")]
        publish: Option<usize>,
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        requests: usize,
    },
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Compare(options) => compare::run(&options, &mut std::io::stdout().lock()),
        Command::Drive {
            ours,
            publish,
            requests,
        } => {
            let driven = match publish {
                Some(clusters) => publish::drive(clusters, requests),
                None => http1::drive(ours, requests),
            };
            driven.map(|()| ExitCode::SUCCESS)
        }
        Command::Serve => server::serve().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error: BenchError| {
        // Nothing is left to do when even stderr is gone.
        drop(writeln!(std::io::stderr(), "benches: {error}"));
        ExitCode::from(2)
    })
}
