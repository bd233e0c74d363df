//! `meshctl control-plane`: a folder served over ADS.

use std::net::SocketAddr;
use std::path::PathBuf;

use mesh_control_plane::{ControlPlane, StartError};

use crate::failure::Failure;
use crate::stop;

/// What to serve, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of Istio YAML.
    #[arg(long, value_name = "DIR", env = "MESH_CONFIG")]
    config: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010")]
    listen: SocketAddr,
    #[command(flatten)]
    stop: stop::Args,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let started = ControlPlane::start(&args.config, args.listen).await;
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
