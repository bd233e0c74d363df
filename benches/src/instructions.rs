//! `instructions`: what a large configuration adds to a whole call, in instructions of the calling
//! process. Counted by callgrind, so that a busy machine does not change the result.
//!
//! ```text
//! this process -+- serve             the plain server
//!               +- plane WORLD       says the world's configuration over ADS
//!               +- counted           makes the calls, under valgrind; counting is switched on
//!                                    when it is warm, and off when it has made its calls
//! ```

mod callgrind;
mod driven;
mod world;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mesh_xds::ResourceType;

use self::callgrind::Counted;
pub(crate) use self::driven::run as drive;
pub(crate) use self::world::World;
use crate::error::BenchError;
use crate::paired::runtime;
use crate::plane;
use crate::report::{self, Promise, Row};
use crate::server::Server;

/// What is promised.
const PROMISE: Promise = Promise {
    name: "instructions",
    text: "instructions of a whole call through MeshClient (HTTP/1.1, 128 bytes there and back, one at a time; the \
           client's process alone) among 100,000 virtual hosts, the called one with 1,000 routes of which the last \
           one matches, over the same with one host and one route",
    must: 1.05,
    reach: 1.01,
};

/// How often each world is counted.
const REPEATS: usize = 2;

/// Command line of `instructions`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Writes the row to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many calls are counted at a time.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..))]
    calls: u32,
    /// Judges the same with 1,000 routes by regex, which are tried in order, and succeeds only if that
    /// fails: a control.
    #[arg(long)]
    self_test: bool,
    /// Keeps callgrind's dumps in this folder: `callgrind_annotate` says of each where its instructions are.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// Instructions per call, repeat by repeat.
#[derive(Debug, Clone, Copy)]
struct Count([f64; REPEATS]);

impl Count {
    fn mean(self) -> f64 {
        self.0.iter().sum::<f64>() / REPEATS as f64
    }

    fn lowest(self) -> f64 {
        self.0.into_iter().fold(f64::INFINITY, f64::min)
    }

    fn highest(self) -> f64 {
        self.0.into_iter().fold(0.0, f64::max)
    }
}

/// Counts, prints, and says by the exit code whether the promise is kept.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<ExitCode, BenchError> {
    writeln!(out, "{}: {}", PROMISE.name, PROMISE.text)?;
    if cfg!(debug_assertions) {
        writeln!(
            out,
            "NOT A MEASUREMENT: built without optimisation; use --release"
        )?;
    }
    let row = match runtime()?.block_on(measure(options, out)) {
        Err(error @ BenchError::Missing(_)) => {
            writeln!(out, "{}: NOT RUN: {error}", PROMISE.name)?;
            Row::not_run(&PROMISE)
        }
        row => row?,
    };
    if let Some(path) = &options.json {
        report::json(std::slice::from_ref(&row), path)?;
    }
    Ok(if options.self_test {
        self_tested(&row, out)?
    } else {
        judged(&row, out)?
    })
}

/// The control plane's process.
pub(crate) fn serve_plane(world: World, backend: SocketAddr) -> Result<(), BenchError> {
    let resources = world.resources(backend);
    let held = ResourceType::ALL.map(|of| (of.type_url(), resources.of(of).clone()));
    plane::serve(held.into())
}

async fn measure(options: &Options, out: &mut impl Write) -> Result<Row, BenchError> {
    let version = callgrind::version().await?;
    let calls = options.calls;
    writeln!(out, "counted by {version}: {calls} calls, {REPEATS} times")?;
    if let Some(folder) = &options.keep {
        std::fs::create_dir_all(folder)?;
    }
    let server = Server::start().await?;
    let one = count(World::One, &server, options, out).await?;
    let worlds: &[World] = if options.self_test {
        &[World::Regex]
    } else {
        &[World::Many, World::Headers]
    };
    let mut row = Row::not_run(&PROMISE);
    for world in worlds {
        let many = count(*world, &server, options, out).await?;
        if *world == World::Headers {
            let ratio = many.mean() / one.mean();
            writeln!(out, "  {:<46} ratio {ratio:.3}, not judged", world.text())?;
        } else {
            row = compared(one, many);
        }
    }
    server.stop().await?;
    Ok(row)
}

/// Counts one world, in processes of its own.
async fn count(
    world: World,
    server: &Server,
    options: &Options,
    out: &mut impl Write,
) -> Result<Count, BenchError> {
    let backend = server.address.to_string();
    let plane = Server::spawn(&["plane", world.name(), &backend]).await?;
    let arguments = ["counted".to_owned(), plane.address.to_string()];
    let scratch = tempfile::tempdir()?;
    let folder = options.keep.as_deref().unwrap_or_else(|| scratch.path());
    let mut counted = Counted::start(&arguments, folder.join(world.name()), scratch.path()).await?;
    let mut each = [0.0; REPEATS];
    for slot in &mut each {
        let instructions = counted.instructions(options.calls).await?;
        *slot = instructions as f64 / f64::from(options.calls);
    }
    counted.stop().await?;
    plane.stop().await?;
    let count = Count(each);
    let spread = (count.highest() - count.lowest()) / count.mean() * 100.0;
    let text = world.text();
    writeln!(
        out,
        "  {text:<46} {:>10.0} per call, spread {spread:.2} %",
        count.mean()
    )?;
    Ok(count)
}

/// The row: its interval is that of the repeats, and its ratio alone is judged. That is the ratio of the lowest: the
/// thread that takes configuration is counted too, and after the first 100,000 hosts it may still be busy.
fn compared(one: Count, many: Count) -> Row {
    let ratio = many.lowest() / one.lowest();
    Row {
        ratio: Some(ratio),
        low: Some(many.lowest() / one.highest()),
        high: Some(many.highest() / one.lowest()),
        pass: ratio <= PROMISE.must,
        ran: true,
        ..Row::not_run(&PROMISE)
    }
}

fn judged(row: &Row, out: &mut impl Write) -> io::Result<ExitCode> {
    let verdict = match row.ratio {
        None => "NOT RUN".to_owned(),
        Some(ratio) if row.failed() => format!(
            "ratio {ratio:.4}, FAIL: above {:.2}; --keep says where the instructions are",
            row.must
        ),
        Some(ratio) => format!("ratio {ratio:.4}, pass: not above {:.2}", row.must),
    };
    writeln!(out, "{}: {verdict}", row.row)?;
    Ok(if row.failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn self_tested(row: &Row, out: &mut impl Write) -> io::Result<ExitCode> {
    let (text, code) = match row.ratio {
        None => (
            "not run, so it proves nothing".to_owned(),
            ExitCode::FAILURE,
        ),
        Some(ratio) if row.failed() => (
            format!("ratio {ratio:.2}, the gate failed, as it must"),
            ExitCode::SUCCESS,
        ),
        Some(ratio) => (
            format!("ratio {ratio:.4}, the gate did NOT fail: it does not see a linear scan"),
            ExitCode::FAILURE,
        ),
    };
    writeln!(
        out,
        "self-test, the regex routes being tried in order: {text}"
    )?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_of_the_lowest_is_judged() {
        let one = Count([100.0, 102.0]);
        assert!(!compared(one, Count([104.0, 107.0])).failed());
        assert!(!compared(one, Count([104.0, 190.0])).failed());
        assert!(compared(one, Count([106.1, 106.1])).failed());
        let row = compared(one, Count([101.0, 103.0]));
        assert!(row.low < row.ratio && row.ratio < row.high);
    }

    #[test]
    fn what_was_not_run_is_said_and_is_no_failure() {
        let mut out = Vec::new();
        let code = judged(&Row::not_run(&PROMISE), &mut out).unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(String::from_utf8(out).unwrap().contains("NOT RUN"));
    }

    #[test]
    fn a_control_that_passes_is_a_failure() {
        let passed = compared(Count([100.0; 2]), Count([101.0; 2]));
        let failed = compared(Count([100.0; 2]), Count([200.0; 2]));
        let code = |row| self_tested(&row, &mut Vec::new()).unwrap();
        assert_eq!(code(passed), ExitCode::FAILURE);
        assert_eq!(code(failed), ExitCode::SUCCESS);
        assert_eq!(code(Row::not_run(&PROMISE)), ExitCode::FAILURE);
    }
}
