//! `meshctl`: edits a folder of mesh rules as `kubectl` edits a cluster, serves it to the mesh, and sends
//! requests through the real client stack to see what the rules do.

mod analyze;
mod call;
mod certs;
mod control_plane;
mod echo;
mod edit;
mod explain;
mod failure;
mod get;
mod kind;
mod rules;
mod stop;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// The command line of mesh-tower.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the objects of files into the folder, if the folder is then valid.
    Apply(edit::Args),
    /// Remove the objects of files from the folder.
    Delete(edit::Args),
    /// List the objects of the folder.
    Get(get::Args),
    /// Tell what is wrong with files of rules, before they are applied.
    #[command(alias = "analyse")]
    Analyze(analyze::Args),
    /// Serve the folder over xDS.
    ControlPlane(control_plane::Args),
    /// Send requests through the mesh's client stack, and tell where each one went.
    Call(Box<call::Args>),
    /// Tell where a request would go and why not elsewhere, without sending it; exit code 1 if nowhere.
    Explain(Box<explain::Args>),
    /// Tell what certificates workloads hold, by their folders, or make new ones.
    Certs(certs::Args),
    /// Serve HTTP behind the mesh, answering each request with what arrived, as JSON.
    Echo(echo::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Apply(args) => edit::apply(&args),
        Command::Delete(args) => edit::delete(&args),
        Command::Get(args) => get::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::ControlPlane(args) => block_on("info", control_plane::run(args)),
        Command::Call(args) => block_on("warn", call::run(*args)),
        Command::Explain(args) => block_on("warn", explain::run(*args)),
        Command::Certs(args) => certs::run(&args),
        Command::Echo(args) => block_on("warn", echo::run(args)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                // Nobody can be told when standard error is closed.
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            failure.code()
        }
    }
}

/// Runs a command that needs a runtime; `level` is what is logged to standard error without `RUST_LOG`.
fn block_on(
    level: &str,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Setup(format!("the runtime did not start: {error}")))?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
