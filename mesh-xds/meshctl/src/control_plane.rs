//! `meshctl control-plane`: a folder served over ADS.

use std::net::SocketAddr;
use std::path::PathBuf;

use mesh_control_plane::{ControlPlane, Options, StartError};
use mesh_core::identity::TrustDomain;

use crate::failure::Failure;
use crate::{certs, stop};

/// What to serve, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of Istio YAML.
    #[arg(long, value_name = "DIR", env = "MESH_CONFIG")]
    config: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010")]
    listen: SocketAddr,
    /// Sign certificates for workloads, by istiod's protocol, as the certificate authority in this folder: root-cert.pem,
    /// ca-cert.pem, ca-key.pem and cert-chain.pem. If none of them is there, a new root is made and kept there.
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
    /// The trust domain for which it signs.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "cluster.local",
        requires = "authority"
    )]
    trust_domain: TrustDomain,
    /// The tokens by which workloads prove who they are; `meshctl certs token` adds to the file.
    #[arg(long, value_name = "FILE", requires = "authority")]
    tokens: Option<PathBuf>,
    /// Workloads have certificates of the mesh: rules about mutual TLS are in force. --authority says so, too.
    #[arg(long)]
    certificates: bool,
    #[command(flatten)]
    stop: stop::Args,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let options = match &args.authority {
        None => Options::default().certificates(args.certificates),
        Some(dir) => {
            let authority = certs::open(dir, &args.trust_domain)?;
            Options::default().authority(authority, args.tokens.clone())
        }
    };
    let started = ControlPlane::start_with(&args.config, args.listen, options).await;
    let mut control_plane = started.map_err(|error| match error {
        StartError::Rejected { rejected, .. } => Failure::Rejected(rejected),
        other => Failure::Setup(other.to_string()),
    })?;
    stop::listening(control_plane.local_addr())?;
    tokio::select! {
        ended = control_plane.run() => return ended.map_err(|error| Failure::No(error.to_string())),
        () = stop::wanted(args.stop) => {}
    }
    control_plane.shutdown().await;
    Ok(())
}
