//! The `bookinfo` command: Istio's Bookinfo in a mesh without sidecars.

use std::io::Write;
use std::process::ExitCode;

use bookinfo_rs::cli;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime does not start: {error}")),
    };
    match runtime.block_on(cli::run()) {
        Ok(code) => code,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    // A closed stderr must not turn into a second failure.
    let _ = writeln!(std::io::stderr(), "bookinfo: {message}");
    ExitCode::FAILURE
}
