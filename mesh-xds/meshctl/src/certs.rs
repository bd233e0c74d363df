//! `meshctl certs`: what certificates workloads hold, and new ones.

mod issue;
mod list;
mod token;

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use mesh_control_plane::ca::{Authority, OpenError};
use mesh_core::identity::TrustDomain;

use crate::failure::Failure;

/// What to do; without a command, the list.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    list: list::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key and its certificate for a workload, as cert-chain.pem, key.pem and root-cert.pem in a folder.
    Issue(issue::Args),
    /// Make a token by which a workload gets its certificate from the control plane; it is printed once.
    Token(token::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        None => list::run(&args.list),
        Some(Command::Issue(args)) => issue::run(args),
        Some(Command::Token(args)) => token::run(args),
    }
}

/// The certificate authority in a folder; a new one if there is none.
pub(crate) fn open(dir: &Path, trust_domain: &TrustDomain) -> Result<Authority, Failure> {
    let now = SystemTime::now();
    let none = matches!(
        Authority::open(dir, trust_domain, now),
        Err(OpenError::Empty(_))
    );
    let authority = Authority::kept(dir, trust_domain, now)
        .map_err(|error| Failure::Setup(format!("{error} (the folder is --authority)")))?;
    if none {
        // The folder may have been misspelt: nobody believes what a new root signs who was not given it. Not on standard
        // output, which scripts read.
        writeln!(io::stderr(), "made a new root in {}", dir.display())?;
    }
    Ok(authority)
}

/// `10s`, `5m`, `24h` or `90d`.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => return Err("write a number with s, m, h or d behind it".to_owned()),
    };
    let number = &text[..text.len() - 1];
    let number: u32 = number
        .parse()
        .map_err(|error| format!("{number:?}: {error}"))?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

/// A time span in its two largest units.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{}s", seconds % 60),
        3600..86400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, seconds) in [("10s", 10), ("5m", 300), ("24h", 86400), ("90d", 7_776_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for wrong in ["", "10", "s", "-1s", "1.5h", "1 h", "99999999999s"] {
            duration(wrong).unwrap_err();
        }
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (3660, "1h1m"),
            (90_000, "1d1h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
