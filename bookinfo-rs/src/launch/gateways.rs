//! Gateways beside the ingress: the program of the ingress again, for another port or as another workload.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;

use super::bootstrap::{self, EGRESS, INGRESS};
use super::child::{Child, ChildError};
use super::children;

/// The port of the ingress's servers of HTTPS, as a `Gateway` has it.
const HTTPS_PORT: u16 = 8443;
/// The port of the egress gateway's servers.
const EGRESS_PORT: u16 = 80;
/// The egress gateway's address as a node; it listens elsewhere.
const EGRESS_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 15, 2));

/// Which of them there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The ingress by TLS.
    pub https: bool,
    /// A way out.
    pub egress: bool,
}

/// Those that run.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    children: Vec<Child>,
    pub(super) https: Option<SocketAddr>,
    pub(super) egress: Option<SocketAddr>,
}

impl Gateways {
    /// Starts those that are wanted; `certificates` tells the folder of a workload's certificate.
    pub(super) async fn start(
        program: &Path,
        wanted: Wanted,
        (ip, control_plane): (IpAddr, &str),
        certificates: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, ChildError> {
        let mut this = Self::default();
        if wanted.https {
            let node = bootstrap::router(ip, control_plane);
            let own = certificates(INGRESS);
            let (child, address) = one(program, "ingress-https", HTTPS_PORT, &node, own).await?;
            this.children.push(child);
            this.https = Some(address);
        }
        if wanted.egress {
            let node = bootstrap::egress(EGRESS_IP, control_plane);
            let own = certificates(EGRESS);
            let (child, address) = one(program, EGRESS, EGRESS_PORT, &node, own).await?;
            this.children.push(child);
            this.egress = Some(address);
        }
        Ok(this)
    }

    pub(super) fn children(&self) -> impl Iterator<Item = &Child> {
        self.children.iter()
    }

    pub(super) async fn stop(self) {
        join_all(self.children.into_iter().map(Child::stop)).await;
    }
}

async fn one(
    program: &Path,
    name: &str,
    port: u16,
    node: &serde_json::Value,
    certificates: Option<PathBuf>,
) -> Result<(Child, SocketAddr), ChildError> {
    let mut child = children::gateway(program, name, [0, port], node, certificates.as_deref())?;
    let address = child.listening().await?;
    Ok((child, address))
}
