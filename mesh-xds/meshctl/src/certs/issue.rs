//! `meshctl certs issue`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mesh_core::identity::{SpiffeId, TrustDomain};

use super::{duration, open};
use crate::failure::Failure;

/// Whose certificate, and where to put it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the certificate authority: root-cert.pem, ca-cert.pem, ca-key.pem and cert-chain.pem, as Istio's
    /// secret `cacerts` has them. If none of them is there, a new root is made and kept there.
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// The trust domain for which it signs.
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// The workload: spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT.
    #[arg(long, value_name = "SPIFFE-ID")]
    identity: SpiffeId,
    /// The folder that the workload reads (`MESH_CERTIFICATES`). What is in it is replaced in one step.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long it is valid: 10s, 5m, 24h, 90d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    ttl: Duration,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let authority = open(&args.authority, &args.trust_domain)?;
    let issued = authority.issue(&args.identity, args.ttl, SystemTime::now());
    let issued = issued.map_err(|error| Failure::No(error.to_string()))?;
    issued
        .write(&args.out)
        .map_err(|error| Failure::No(format!("{error} (the folder is --out)")))?;
    let (identity, out) = (&args.identity, args.out.display());
    writeln!(io::stdout(), "{identity} in {out}")?;
    Ok(())
}
