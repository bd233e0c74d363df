//! How a command fails: what is printed, and the exit code.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use mesh_istio::Rejected;

/// Why a command ends without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command could not do its work at all: the sentence names what is wrong and the flag that changes it.
    #[error("{0}")]
    Setup(String),
    /// The configuration is wrong; the text is the one that the control plane logs.
    #[error("{0}")]
    Rejected(#[from] Rejected),
    /// The work was done, and the answer is no.
    #[error("{0}")]
    No(String),
    /// The rules that were looked at are bad, as `istioctl analyze` says it.
    #[error("{0}")]
    Found(String),
    /// Standard output is gone, as in `meshctl get | head -1`.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Setup(_) => ExitCode::from(2),
            Self::Found(_) => ExitCode::from(79),
            Self::Rejected(_) | Self::No(_) | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

/// Refuses a folder that cannot be read, with the flag that names it.
pub(crate) fn readable(dir: &Path) -> Result<(), Failure> {
    std::fs::read_dir(dir).map(drop).map_err(|error| {
        let dir = dir.display();
        Failure::Setup(format!("the configuration folder {dir} cannot be read ({error}): name another one with --config"))
    })
}
