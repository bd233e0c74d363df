//! `meshctl certs token`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mesh_control_plane::ca::{InvalidTokens, Tokens};
use mesh_core::identity::SpiffeId;

use super::duration;
use crate::failure::Failure;

/// Whose token, and where the control plane knows it from.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file that the control plane reads (`meshctl control-plane --tokens`). A line is added: it holds the hash of the
    /// token, by which nobody finds the token.
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// The workload: spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT.
    #[arg(long, value_name = "SPIFFE-ID")]
    identity: SpiffeId,
    /// How long it can be used: 10s, 5m, 24h, 90d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    ttl: Duration,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let file = &args.tokens;
    let refused = |error: &dyn std::fmt::Display| {
        Failure::Setup(format!(
            "{}: {error} (the file is --tokens)",
            file.display()
        ))
    };
    let before = match Tokens::read(file) {
        Ok(_) => fs::read_to_string(file).map_err(|error| refused(&error))?,
        Err(InvalidTokens::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            String::new()
        }
        Err(error) => return Err(refused(&error)),
    };
    let minted = Tokens::mint(&args.identity, args.ttl, SystemTime::now());
    let (token, line) = minted.ok_or_else(|| refused(&"this system has no random bits"))?;
    let gap = match before.is_empty() || before.ends_with('\n') {
        true => "",
        false => "\n",
    };
    // The control plane reads it at any time, so it is replaced as a whole. It holds no secret, but says who is who.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = file.with_file_name(format!(".{name}.unfinished"));
    fs::write(&unfinished, format!("{before}{gap}{line}"))
        .and_then(|()| fs::rename(&unfinished, file))
        .map_err(|error| refused(&error))?;
    writeln!(io::stdout(), "{}", token.text())?;
    Ok(())
}
