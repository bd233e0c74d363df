//! The Envoy oracle: random route configurations and requests for them, sent through a stock Envoy and
//! through our own mesh; what becomes of them must be the same.
//!
//! `MESH_ENVOY="$(bash examples/interop/envoy.sh install)" cargo run -p oracle -- --seconds 120`

mod ads;
mod backend;
mod copies;
mod counts;
mod descriptors;
mod dice;
mod envoy;
mod failure;
mod feature;
mod fields;
mod findings;
mod generate;
mod ignored;
mod nack;
mod ours;
mod outcome;
mod reference;
mod request;
mod round;
mod run;
mod sabotage;
mod statistics;
mod world;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;

use crate::descriptors::Descriptors;
use crate::envoy::Normalization;
use crate::failure::{Doing, Failure, Result};
use crate::feature::Features;
use crate::run::{Plan, Run};
use crate::world::World;

/// Compares a stock Envoy with mesh-tower. `MESH_ENVOY` names the Envoy binary.
///
/// Exits with 0 when nothing differed and every kind of test was hit and missed often enough,
/// with 1 when not, with 2 when it could not judge.
#[derive(Debug, Parser)]
#[command(name = "oracle", version)]
struct Options {
    /// How long to go on.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Where all choices come from; by default the time. Printed first.
    #[arg(long)]
    seed: Option<u64>,
    /// The first round: with the seed it replays a report.
    #[arg(long, default_value_t = 0)]
    round: u64,
    /// At most so many rounds.
    #[arg(long, default_value_t = u64::MAX)]
    rounds: u64,
    /// Only these subjects, separated by commas.
    #[arg(long)]
    cases: Option<String>,
    /// Also the subjects that our side does not do yet.
    #[arg(long, conflicts_with = "cases")]
    all: bool,
    /// How both sides normalise paths: Istio's `MeshConfig.pathNormalization`.
    #[arg(long, value_enum, default_value_t)]
    normalization: Normalization,
    /// The negative control: ours is told something else, and that must show.
    #[arg(long)]
    control: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = runtime
        .doing("the runtime")
        .and_then(|runtime| runtime.block_on(go(&options)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "oracle: {error}");
            ExitCode::from(2)
        }
    }
}

async fn go(options: &Options) -> Result<bool> {
    let mut out = std::io::stdout();
    let seed = options.seed.unwrap_or_else(seed_from_time);
    let features = Features::of(options.all, options.cases.as_deref()).map_err(Failure::new)?;
    let normalization = options.normalization;
    let features = match normalization {
        Normalization::None => features,
        _ => features.normalized(),
    };
    let names = features.names();
    writeln!(out, "seed {seed}, cases {names}").doing("standard output")?;
    let descriptors = Descriptors::load()?;
    let wrong = descriptors.disagreements();
    if !wrong.is_empty() {
        return Err(Failure::new(wrong.join("\n")));
    }
    let binary: PathBuf = std::env::var_os("MESH_ENVOY")
        .ok_or_else(|| {
            Failure::new("MESH_ENVOY names no Envoy; set it to what `bash examples/interop/envoy.sh install` prints")
        })?
        .into();
    let world = Arc::new(World::start(&binary, seed, normalization, &features).await?);
    let plan = Plan {
        seed,
        first: options.round,
        time: Duration::from_secs(options.seconds),
        rounds: options.rounds,
        features,
    };
    if options.control {
        return run::control(&plan, &world, &mut out).await;
    }
    if normalization != Normalization::None {
        let run = Run::new(plan, world, descriptors, out);
        return run.until_the_end().await;
    }
    let drawn = statistics::hold(&world, &mut out).await?;
    let run = Run::new(plan, world, descriptors, out);
    Ok(run.until_the_end().await? && drawn)
}

fn seed_from_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
