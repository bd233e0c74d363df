//! `handshakes`: what those who are connected feel of those who come. Connections that are open make requests on one
//! core, on which is the thread that serves them, too; then 1,000 new clients, who have another core, make handshakes with
//! that server meanwhile. The server makes them on a thread of its own, which is one at most, and here on the core of the
//! new clients: a request waits for the cryptography of one or two of them, never for that of all.
//!
//! The control is hyper's server with rustls by hand, whose handshakes run on the thread that serves requests.

mod established;
mod knock;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::established::Established;
use self::knock::Knocking;
pub(crate) use self::knock::serve as knock;
use crate::error::BenchError;
use crate::machine::{self, CpuClock};
use crate::mtls::Servers;
use crate::paired::runtime;
use crate::report::{self, Promise, Row};
use crate::secured::{self, Authority, CALLER, World};
use crate::stats::{Estimate, median};

/// What is promised.
const PROMISE: Promise = Promise {
    name: "handshakes",
    text: "by how much the 99th percentile of the time of a request over connections that are open (mutual TLS, 1,600 a \
           second) grows while 1,000 new clients, 256 at a time, connect to the same server from another core, over the \
           CPU time that one of these costs the server",
    must: 2.0,
    reach: 1.0,
};

/// How many come in each round.
const CLIENTS: usize = 1_000;
/// How long requests are measured while nobody comes.
const SILENCE: Duration = Duration::from_secs(1);
/// By how much of a handshake one silence may differ from the other.
const SAME: f64 = 1.0;

/// Command line of `handshakes`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Writes the row to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often the new clients come.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// Measures a server whose handshakes run on the thread that serves requests, and succeeds only if that fails: a
    /// control.
    #[arg(long)]
    self_test: bool,
    /// Draws the intervals.
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// One round: 99th percentiles, in seconds, without new clients, with them, and without them again.
#[derive(Debug, Clone, Copy)]
struct Round {
    silent: f64,
    visited: f64,
    again: f64,
}

/// Measures, prints, and says by the exit code whether the promise is kept.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<ExitCode, BenchError> {
    writeln!(out, "{}: {}", PROMISE.name, PROMISE.text)?;
    if cfg!(debug_assertions) {
        writeln!(
            out,
            "NOT A MEASUREMENT: built without optimisation; use --release"
        )?;
    }
    if options.self_test {
        writeln!(
            out,
            "  CONTROL: handshakes run on the thread that serves requests"
        )?;
    }
    let pinned = machine::pin();
    let measured = match pinned {
        Ok(_) => runtime()?.block_on(measure(options, out)),
        Err(error) => Err(error),
    };
    let row = match measured {
        Err(error @ BenchError::Machine(_)) => {
            writeln!(out, "{}: NOT RUN: {error}", PROMISE.name)?;
            Row::not_run(&PROMISE)
        }
        row => row?,
    };
    report::table(std::slice::from_ref(&row), out)?;
    if let Some(path) = &options.json {
        report::json(std::slice::from_ref(&row), path)?;
    }
    Ok(match (options.self_test, row.failed()) {
        (true, _) => self_tested(&row, out)?,
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    })
}

fn self_tested(row: &Row, out: &mut impl Write) -> io::Result<ExitCode> {
    let (text, code) = match (row.ran, row.failed()) {
        (false, _) => ("not run, so it proves nothing", ExitCode::FAILURE),
        (true, true) => ("it failed, as it must", ExitCode::SUCCESS),
        (true, false) => (
            "it did NOT fail: handshakes in the way of requests are not seen",
            ExitCode::FAILURE,
        ),
    };
    writeln!(out, "self-test: {text}")?;
    Ok(code)
}

async fn measure(options: &Options, out: &mut impl Write) -> Result<Row, BenchError> {
    let authority = Authority::new("the authority")?;
    let world = World::start(&authority).await?;
    let servers = Servers::start(&world, true).await?;
    let mesh = secured::mesh(CALLER, world.plane(), &world.certificates(CALLER))?;
    secured::answered(&mesh.client()).await?;
    drop(mesh);
    let address = match options.self_test {
        true => servers.plain,
        false => servers.process.address,
    };
    let certificates = world.certificates(CALLER);
    let mut knocking = Knocking::start(address, &certificates).await?;
    let established = Established::new(&certificates, address)?;
    // Everything is warm, too, after that.
    let clock = CpuClock::of(Some(servers.process.pid))?;
    knocking.come(CLIENTS).await?;
    let before = clock.now()?;
    knocking.come(CLIENTS).await?;
    let one = (clock.now()? - before).as_secs_f64() / CLIENTS as f64;
    silence(&established).await?;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        rounds.push(Round {
            silent: silence(&established).await?,
            visited: established.during(knocking.come(CLIENTS)).await?,
            again: silence(&established).await?,
        });
    }
    knocking.stop().await?;
    servers.process.stop().await?;
    judge(&rounds, one, options.seed, out)
}

async fn silence(established: &Established) -> Result<f64, BenchError> {
    let nobody_comes = async {
        tokio::time::sleep(SILENCE).await;
        Ok(())
    };
    established.during(nobody_comes).await
}

fn judge(rounds: &[Round], one: f64, seed: u64, out: &mut impl Write) -> Result<Row, BenchError> {
    let micros =
        |of: fn(&Round) -> f64| median(&mut rounds.iter().map(of).collect::<Vec<_>>()) * 1e6;
    writeln!(
        out,
        "  a new client costs the server {:.0} us of CPU; p99 of requests: {:.0} us without new clients, {:.0} us with \
         them, {:.0} us without them again",
        one * 1e6,
        micros(|round| round.silent),
        micros(|round| round.visited),
        micros(|round| round.again),
    )?;
    let grown = |of: fn(&Round) -> f64| {
        let each: Vec<f64> = rounds.iter().map(|round| of(round) / one).collect();
        Estimate::of(&each, seed)
    };
    if grown(|round| round.again - round.silent).median.abs() > SAME {
        writeln!(
            out,
            "  NOT RUN: silence differs from silence; the machine is too busy"
        )?;
        return Ok(Row::not_run(&PROMISE));
    }
    Ok(Row::measured(
        &PROMISE,
        grown(|round| round.visited - f64::midpoint(round.silent, round.again)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(visited: f64, again: f64) -> Row {
        let round = Round {
            silent: 0.001,
            visited,
            again,
        };
        judge(&[round; 8], 0.001, 7, &mut Vec::new()).unwrap()
    }

    #[test]
    fn growth_is_counted_in_handshakes() {
        let row = judged(0.002, 0.001);
        assert!(row.pass && row.ratio.is_some_and(|grown| (grown - 1.0).abs() < 1e-9));
        assert!(judged(0.004, 0.001).failed());
    }

    #[test]
    fn where_silence_differs_from_silence_nothing_was_measured() {
        assert!(!judged(0.004, 0.003).ran);
    }
}
