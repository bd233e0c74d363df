//! A mesh of two workloads in which everything is mutual TLS: an authority, a folder of Istio YAML that demands it
//! (`STRICT`), the small control plane that serves it, and a folder of certificates for each workload.

mod authority;
mod plain;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use mesh_control_plane::{ControlPlane, Options};
use mesh_tower::{Files, Mesh, MeshClient, Node, PeerIdentity};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) use self::authority::{Authority, NAME};
pub(crate) use self::plain::{client, onlooker, server};
use crate::error::BenchError;

/// The workload that is called, and who calls.
pub(crate) const CALLED: &str = "called";
pub(crate) const CALLER: &str = "caller";
/// What is called.
pub(crate) const URL: &str = "http://called.default.svc.cluster.local:9080";

/// For the first configuration, certificates and connection.
const START: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

const STRICT: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
";

/// A control plane for it; it ends with this handle.
#[derive(Debug)]
pub(crate) struct World {
    plane: ControlPlane,
    rules: TempDir,
    certificates: TempDir,
}

impl World {
    /// Starts the control plane, whose rules demand mutual TLS and name no service yet. Both workloads get a certificate.
    pub(crate) async fn start(authority: &Authority) -> Result<Self, BenchError> {
        let rules = tempfile::tempdir()?;
        std::fs::write(rules.path().join("strict.yaml"), STRICT)?;
        let options = Options::default().certificates(true);
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let plane = ControlPlane::start_with(rules.path(), listen, options)
            .await
            .map_err(|error| BenchError::Server(error.to_string()))?;
        let this = Self {
            plane,
            rules,
            certificates: tempfile::tempdir()?,
        };
        for workload in [CALLED, CALLER] {
            std::fs::create_dir(this.certificates(workload))?;
            let leaf = authority.issue(workload)?;
            leaf.write(&this.certificates(workload), &[authority])?;
        }
        Ok(this)
    }

    /// Where the control plane listens.
    pub(crate) const fn plane(&self) -> SocketAddr {
        self.plane.local_addr()
    }

    /// The folder in which a workload finds its certificate.
    pub(crate) fn certificates(&self, workload: &str) -> PathBuf {
        self.certificates.path().join(workload)
    }

    /// Says where [`CALLED`] listens.
    pub(crate) fn serves_at(&self, address: SocketAddr) -> Result<(), BenchError> {
        let (ip, port) = (address.ip(), address.port());
        let text = format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: called, namespace: default }}
spec:
  hosts: [called.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ {{ number: 9080, name: http, protocol: HTTP }} ]
  workloadSelector: {{ labels: {{ app: called }} }}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: {CALLED}, namespace: default }}
spec: {{ address: {ip}, ports: {{ http: {port} }}, labels: {{ app: called }}, serviceAccount: {CALLED} }}
"
        );
        // In one step: the folder is followed.
        let unfinished = self.certificates.path().join("called.yaml");
        std::fs::write(&unfinished, text)?;
        Ok(std::fs::rename(
            unfinished,
            self.rules.path().join("called.yaml"),
        )?)
    }
}

/// A workload of it.
pub(crate) fn mesh(
    workload: &str,
    plane: SocketAddr,
    certificates: &Path,
) -> Result<Mesh, BenchError> {
    let builder = Mesh::builder()
        .xds(plane.to_string())
        .node(Node::sidecar(workload, "default"))
        .certificates(Files::new(certificates));
    let builder = match workload {
        CALLED => builder,
        _ => builder.declare(9080),
    };
    builder
        .build()
        .map_err(|error| BenchError::Mesh(error.to_string()))
}

/// Waits until a call is answered.
pub(crate) async fn answered(client: &MeshClient) -> Result<(), BenchError> {
    let deadline = Instant::now() + START;
    loop {
        let told = match client.get(&format!("{URL}/")).await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => format!("status {}", answer.status()),
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            return Err(BenchError::Mesh(format!("no call is answered: {told}")));
        }
        sleep(PAUSE).await;
    }
}

/// Whether a request came from [`CALLER`], by mutual TLS.
pub(crate) fn is_proven(peer: Option<&PeerIdentity>) -> bool {
    /// Made once: it is no part of what a request costs.
    static ID: LazyLock<String> = LazyLock::new(|| authority::id(CALLER));
    peer.and_then(PeerIdentity::spiffe)
        .is_some_and(|id| id.as_str() == *ID)
}

/// Prints a line at once.
pub(crate) fn say(line: impl std::fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
