//! The differential test: the same folders of Istio's YAML through a real istiod and through `mesh-istio`, compared
//! resource by resource and field by field.
//!
//! `bash examples/interop/istiod.sh install && cargo run -p differential`

mod ads;
mod case;
mod compare;
mod control;
mod diff;
mod failure;
mod istiod;
mod kind;
mod known;
mod run;
mod sides;
mod tree;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// Compares what a real istiod and mesh-istio make of the same folders.
///
/// Exits with 0 when all differences are known and all that are known were met, with 1 when not, with 2 when it
/// could not judge, with 3 when there is no istiod.
#[derive(Debug, Parser)]
#[command(name = "differential", version)]
struct Options {
    /// Only the cases whose names contain one of these, separated by commas. Lines of the list that no case met are
    /// then not judged.
    #[arg(long)]
    cases: Option<String>,
    /// How many istiods run side by side.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The negative control: ours is made wrong in one place after another, and each must be seen.
    #[arg(long)]
    control: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run::run(&options, &mut std::io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "differential: {error}");
            ExitCode::from(if error.not_run { 3 } else { 2 })
        }
    }
}
