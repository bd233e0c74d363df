//! `rotation`: certificates that change under load. Two workloads, every call mutual TLS, and every few seconds each of
//! them gets a new key and certificate, the caller half a period after the server. In the last third the root changes,
//! too, with overlap: first both are believed, then certificates are of the new one, then the old one is withdrawn. No
//! request may fail.
//!
//! The load is open: a request starts on its time, whether those before it have ended or not. Most of them go over
//! connections that are kept, one in twenty over a connection of its own.

mod load;
mod plan;
mod seen;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mesh_tower::Mesh;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::load::{Load, Told};
use self::plan::{Step, plan};
use self::seen::{Seen, Served};
use crate::error::BenchError;
use crate::paired::runtime;
use crate::secured::{self, Authority, CALLED, CALLER, World};

/// Command line of `rotation`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long the load lasts, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(4..))]
    seconds: u32,
    /// How often both workloads get a new certificate, in seconds. A folder is looked at each second.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..))]
    every: u32,
    /// Requests a second.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(20..=20_000))]
    rate: u32,
    /// Replaces the root without overlap, and succeeds only if requests fail: a control.
    #[arg(long)]
    self_test: bool,
    /// Writes what was counted to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What came of it, in the shape of `--json`.
#[derive(Debug, Serialize)]
struct Counted {
    rotations: usize,
    /// Certificates that the server was shown, on connections that are kept and on those that are new.
    shown_by_kept: usize,
    shown_by_new: usize,
    /// Certificates that the server has shown.
    shown_by_server: usize,
    connections: usize,
    #[serde(flatten)]
    told: Told,
}

impl Counted {
    /// The certificates that there were: one to begin with, and one for each rotation.
    const fn certificates(&self) -> usize {
        self.rotations + 1
    }

    /// Whether both workloads have shown all of them.
    fn has_rotated(&self) -> bool {
        let shown = [self.shown_by_kept, self.shown_by_new, self.shown_by_server];
        shown.iter().all(|shown| *shown >= self.certificates())
    }

    /// Whether the promise is kept.
    fn is_kept(&self) -> bool {
        self.told.failed == 0 && self.told.answered == self.told.sent && self.has_rotated()
    }
}

/// Runs it, prints, and says by the exit code whether the promise is kept.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<ExitCode, BenchError> {
    let Options {
        seconds,
        every,
        rate,
        ..
    } = options;
    writeln!(
        out,
        "rotation: {rate} requests a second for {seconds} s, a new certificate for each workload every {every} s"
    )?;
    let steps = plan((seconds / every) as usize, options.self_test)?;
    let counted = runtime()?.block_on(measure(options, &steps, out))?;
    if let Some(path) = &options.json {
        crate::report::json(&counted, path)?;
    }
    tell(&counted, out)?;
    let (text, code) = match (options.self_test, counted.told.failed, counted.is_kept()) {
        (true, 0, _) => (
            "self-test: NO request failed, although the root changed at once",
            ExitCode::FAILURE,
        ),
        (true, ..) => (
            "self-test: requests failed, as they must",
            ExitCode::SUCCESS,
        ),
        (false, _, true) => (
            "pass: none failed, and each rotation was seen",
            ExitCode::SUCCESS,
        ),
        (false, 0, false) => (
            "FAIL: fewer rotations were seen than made",
            ExitCode::FAILURE,
        ),
        (false, ..) => ("FAIL: requests failed", ExitCode::FAILURE),
    };
    writeln!(out, "{text}")?;
    Ok(code)
}

fn tell(counted: &Counted, out: &mut impl Write) -> Result<(), BenchError> {
    let Counted {
        rotations,
        shown_by_kept,
        shown_by_new,
        shown_by_server,
        connections,
        told,
    } = counted;
    writeln!(
        out,
        "  {} sent, {} answered 200, {} failed, on {connections} connections",
        told.sent, told.answered, told.failed
    )?;
    writeln!(
        out,
        "  {rotations} rotations; certificates seen: {shown_by_kept} of the caller, {shown_by_new} of its new \
         connections, {shown_by_server} of the server; there were {}",
        counted.certificates()
    )?;
    writeln!(
        out,
        "  from a request's time to its answer: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        told.median_ms, told.p99_ms, told.longest_ms
    )?;
    for error in &told.errors {
        writeln!(out, "  failed {error}")?;
    }
    Ok(())
}

/// Both workloads, the load's two clients, and what looks at the server from outside.
struct Stage {
    world: World,
    seen: Seen,
    /// Connections are kept by the one, and opened for each request by the other.
    kept: Mesh,
    new: Mesh,
    /// They serve and look for as long as this lasts.
    _server: Mesh,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Stage {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Stage {
    async fn start(old: &Authority, new: &Authority) -> Result<Self, BenchError> {
        let world = World::start(old).await?;
        let mesh = |workload| secured::mesh(workload, world.plane(), &world.certificates(workload));
        let server = mesh(CALLED)?;
        let listener = server.listen("127.0.0.1:0").await;
        let listener = listener.map_err(|error| BenchError::Server(error.to_string()))?;
        let address: SocketAddr = listener.local_addr();
        let seen = Seen::default();
        let served = Served::new(seen.clone());
        let serving = tokio::spawn(async move {
            // It ends with the program.
            drop(listener.serve(served).await);
        });
        world.serves_at(address)?;
        let (kept, opening) = (mesh(CALLER)?, mesh(CALLER)?);
        secured::answered(&kept.client()).await?;
        secured::answered(&opening.client()).await?;
        let looking = tokio::spawn(seen::look(
            secured::onlooker(&[old, new])?,
            address,
            seen.clone(),
        ));
        Ok(Self {
            world,
            seen,
            kept,
            new: opening,
            _server: server,
            tasks: [serving, looking],
        })
    }

    /// Gives a workload a new certificate.
    fn rotate(
        &self,
        workload: &str,
        step: Step,
        [old, new]: [&Authority; 2],
    ) -> Result<(), BenchError> {
        let (by, roots): (_, &[&Authority]) = match step {
            Step::Old => (old, &[old]),
            Step::Both => (old, &[old, new]),
            Step::NewLeaf => (new, &[old, new]),
            Step::New => (new, &[new]),
        };
        let leaf = by.issue(workload)?;
        leaf.write(&self.world.certificates(workload), roots)
    }
}

async fn measure(
    options: &Options,
    steps: &[Step],
    out: &mut impl Write,
) -> Result<Counted, BenchError> {
    let (old, new) = (
        Authority::new("the old root")?,
        Authority::new("the new root")?,
    );
    let stage = Stage::start(&old, &new).await?;
    stage.seen.forget();
    let load = Load::start(stage.kept.client(), stage.new.client(), options.rate);
    let start = Instant::now();
    let every = Duration::from_secs(options.every.into());
    for (at, step) in (1..).zip(steps) {
        let due = start + every * at;
        // In a mesh they do not all rotate at once: the caller does half a period after the server.
        for (workload, due) in [(CALLED, due), (CALLER, due + every / 2)] {
            sleep_until(due).await;
            stage.rotate(workload, *step, [&old, &new])?;
        }
        if *step != Step::Old {
            writeln!(out, "  {:>4} s: {}", start.elapsed().as_secs(), step.text())?;
        }
    }
    sleep_until(start + Duration::from_secs(options.seconds.into())).await;
    let told = load.stop().await?;
    let seen = stage.seen.count();
    Ok(Counted {
        rotations: steps.len(),
        shown_by_kept: seen.kept,
        shown_by_new: seen.new,
        shown_by_server: seen.server,
        connections: seen.connections,
        told,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(shown: usize, failed: usize) -> Counted {
        Counted {
            rotations: 11,
            shown_by_kept: 12,
            shown_by_new: 12,
            shown_by_server: shown,
            connections: 100,
            told: Told {
                sent: 100,
                answered: 100 - failed,
                failed,
                ..Told::default()
            },
        }
    }

    #[test]
    fn one_failure_or_a_rotation_that_did_not_arrive_breaks_it() {
        assert!(counted(12, 0).is_kept());
        assert!(!counted(12, 1).is_kept());
        assert!(!counted(11, 0).is_kept());
    }

    #[test]
    fn a_request_of_which_nothing_was_heard_breaks_it() {
        let mut lost = counted(12, 0);
        lost.told.answered -= 1;
        assert!(!lost.is_kept());
    }
}
