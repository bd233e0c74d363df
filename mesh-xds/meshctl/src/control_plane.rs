//! `meshctl control-plane`: a folder served over ADS.

use std::net::SocketAddr;
use std::path::PathBuf;

use mesh_control_plane::{ControlPlane, Options, StartError, Tls};
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
    /// Serve the same over TLS on this address, too; port 0 takes a free one. Who shows a certificate of the mesh there gets
    /// its next one for it, and tokens are taken from other machines.
    #[arg(long, value_name = "ADDR")]
    listen_tls: Option<SocketAddr>,
    /// A name or an address by which clients call the control plane over TLS; several make a list. Its certificate for them
    /// is signed by --authority.
    #[arg(
        long,
        value_name = "HOST",
        default_values_t = ["istiod.istio-system.svc".to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()],
        requires = "listen_tls"
    )]
    tls_name: Vec<String>,
    /// The certificate for TLS, its chain behind it, as a PEM file, in place of one by --authority.
    #[arg(long, value_name = "FILE", requires_all = ["listen_tls", "tls_key"], conflicts_with = "tls_name")]
    tls_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Workloads have certificates of the mesh: rules about mutual TLS are in force. --authority says so, too.
    #[arg(long)]
    certificates: bool,
    #[command(flatten)]
    stop: stop::Args,
}

impl Args {
    fn tls(&self) -> Option<Tls> {
        let listen = self.listen_tls?;
        Some(match (&self.tls_cert, &self.tls_key) {
            (Some(chain), Some(key)) => Tls::files(listen, chain, key),
            _ => Tls::of_authority(listen, self.tls_name.clone()),
        })
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let options = match &args.authority {
        None => Options::default().certificates(args.certificates),
        Some(dir) => {
            let authority = certs::open(dir, &args.trust_domain)?;
            Options::default().authority(authority, args.tokens.clone())
        }
    };
    let options = match args.tls() {
        Some(tls) => options.tls(tls),
        None => options,
    };
    let started = ControlPlane::start_with(&args.config, args.listen, options).await;
    let mut control_plane = started.map_err(|error| match error {
        StartError::Rejected { rejected, .. } => Failure::Rejected(rejected),
        other => Failure::Setup(other.to_string()),
    })?;
    stop::listening_also(control_plane.local_addr(), control_plane.secure_addr())?;
    tokio::select! {
        ended = control_plane.run() => return ended.map_err(|error| Failure::No(error.to_string())),
        () = stop::wanted(args.stop) => {}
    }
    control_plane.shutdown().await;
    Ok(())
}
