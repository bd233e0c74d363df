//! A real istiod that reads one folder, by the script beside this package.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::failure::{Doing, Failure, Result};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../istiod.sh");
/// The script's exit code where this istiod cannot be had.
const CANNOT_BE_HAD: i32 = 3;

/// A running istiod; ends with the value.
#[derive(Debug)]
pub(crate) struct Istiod {
    state: PathBuf,
    address: String,
}

/// istiod does not take the folder: its sentence.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

/// Why istiod does not take a folder, from the last lines of its log.
fn reason(log: &str) -> Option<String> {
    let start = "error initializing config controller: ";
    let line = log.lines().find(|line| line.contains(start))?;
    let sentence = line.split_once(start)?.1.trim();
    Some(
        sentence
            .trim_start_matches("configuration is invalid: ")
            .to_owned(),
    )
}

impl Istiod {
    /// Starts one on a folder and a MeshConfig, with `state` for its own files.
    pub(crate) fn start(
        config: &Path,
        mesh: &Path,
        state: &Path,
    ) -> Result<std::result::Result<Self, Refused>> {
        let args = [Path::new("start"), config, mesh, state];
        let output = run(&args)?;
        if !output.status.success() {
            let says = String::from_utf8_lossy(&output.stderr);
            let code = output.status.code();
            let text = format!("istiod does not start: {}", says.trim());
            return match (code, reason(&says)) {
                (Some(CANNOT_BE_HAD), _) => Err(Failure::not_run(text)),
                (_, Some(reason)) => Ok(Err(Refused(reason))),
                _ => Err(Failure::new(text)),
            };
        }
        let address = state.join("xds-address");
        let address = std::fs::read_to_string(address).doing("istiod's address")?;
        Ok(Ok(Self {
            state: state.to_owned(),
            address: address.trim().to_owned(),
        }))
    }

    /// Where it serves ADS, in plaintext.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Istiod {
    fn drop(&mut self) {
        let _ = run(&[Path::new("stop"), &self.state]);
    }
}

fn run(args: &[&Path]) -> Result<Output> {
    let mut command = Command::new("bash");
    command.arg(SCRIPT).args(args).stdin(Stdio::null());
    command.output().doing("running istiod.sh")
}
