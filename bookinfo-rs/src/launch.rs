//! The launcher: all of Bookinfo as child processes of one, with a control plane behind and an ingress in front.
//!
//! Order: control plane, services (each binds port 0 and says its address), `workloads.yaml`, ingress. Every child
//! holds the other end of a pipe; they stop when it closes, however the launcher ends.

pub mod bootstrap;
pub mod child;
pub mod folder;
pub mod topology;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use http::{HeaderMap, StatusCode};
use mesh_istio::Config;
use tokio::time::Instant;

use self::child::{Child, ChildError, Died};
use self::folder::{Folder, FolderError};
use self::topology::Workload;
use crate::outside::Outside;
use crate::service::demo;

/// How long the page may take to answer through the ingress.
const READY: Duration = Duration::from_secs(30);

/// So many pages in a row without an error text are taken as ready.
const STREAK: u32 = 12;

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration folder; without it the built-in one.
    pub config: Option<PathBuf>,
    /// The ingress's port; 0 lets the system choose.
    pub port: u16,
    /// A control plane that runs already, and reads `config`.
    pub control_plane: Option<String>,
}

/// A running Bookinfo.
#[derive(Debug)]
pub struct Demo {
    folder: Folder,
    control_plane: Option<Child>,
    control_plane_address: String,
    services: Vec<Child>,
    workloads: Vec<(Workload, SocketAddr)>,
    ingress: Option<Child>,
    ingress_address: SocketAddr,
}

/// Why Bookinfo does not run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What is in it.
    #[error("the configuration in {} is wrong; correct it or name another folder with --config\n{rejected}", dir.display())]
    Config {
        /// The folder.
        dir: PathBuf,
        /// All that is wrong.
        rejected: mesh_istio::Rejected,
    },
    /// A control plane of somebody else's reads a folder that we must know.
    #[error(
        "--control-plane needs --config DIR, the folder that the control plane reads: its workloads.yaml is written there"
    )]
    NoFolder,
    /// The ingress's port.
    #[error(
        "port {port} on 127.0.0.1 cannot be listened on ({source}); choose another with --port, or leave it out"
    )]
    Port {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// A child.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// We do not know what program we are.
    #[error("the path of this program cannot be found: {0}")]
    Program(std::io::Error),
    /// Nothing answers.
    #[error("{url} does not answer with 200 within {READY:?}; last: {last}")]
    NotReady {
        /// The page.
        url: String,
        /// What came last.
        last: String,
    },
}

impl Demo {
    /// Starts everything, and returns when the page answers.
    ///
    /// # Errors
    /// When anything of it does not start; what has been started is stopped again.
    pub async fn start(options: &Options) -> Result<Self, LaunchError> {
        let (folder, program) = prepare(options)?;
        let (control_plane, control_plane_address) = match &options.control_plane {
            Some(uri) => (None, authority(uri).to_owned()),
            None => {
                let mut child = start_control_plane(&program, &folder)?;
                let address = child.listening().await?;
                (Some(child), address.to_string())
            }
        };
        let (workloads, ingress_ip) = topology::workloads();
        let mut services = Vec::new();
        for workload in &workloads {
            services.push(start_service(&program, workload, &control_plane_address)?);
        }
        let listening = join_all(services.iter_mut().map(Child::listening)).await;
        let addresses = listening.into_iter().collect::<Result<Vec<_>, _>>()?;
        let workloads: Vec<_> = workloads.into_iter().zip(addresses).collect();
        folder.write_workloads(&workloads)?;
        let bootstrap = bootstrap::router(ingress_ip, &control_plane_address);
        let mut ingress = start_ingress(&program, options.port, &folder, &bootstrap)?;
        let ingress_address = ingress.listening().await?;
        let demo = Self {
            folder,
            control_plane,
            control_plane_address,
            services,
            workloads,
            ingress: Some(ingress),
            ingress_address,
        };
        tokio::select! {
            ready = demo.ready() => ready?,
            died = demo.died() => return Err(ChildError::Died(died).into()),
        }
        Ok(demo)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.ingress_address)
    }

    /// The configuration folder that is in force.
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Where the control plane listens.
    pub fn control_plane_address(&self) -> &str {
        &self.control_plane_address
    }

    /// Where each workload listens.
    pub fn workloads(&self) -> &[(Workload, SocketAddr)] {
        &self.workloads
    }

    /// Waits until a child ends that should not.
    pub async fn died(&self) -> Died {
        let children = self
            .control_plane
            .iter()
            .chain(&self.services)
            .chain(&self.ingress);
        select_all(children.map(|child| Box::pin(child.died())))
            .await
            .0
    }

    /// Stops everything from the outside in, and removes what is ours.
    ///
    /// # Errors
    /// When the configuration cannot be removed.
    pub async fn stop(self) -> Result<(), FolderError> {
        if let Some(ingress) = self.ingress {
            ingress.stop().await;
        }
        join_all(self.services.into_iter().map(Child::stop)).await;
        if let Some(control_plane) = self.control_plane {
            control_plane.stop().await;
        }
        self.folder.remove()
    }

    /// Waits until the page comes without an error text many times in a row. A configuration of the user's may
    /// leave some error on every page; then an answer is enough.
    async fn ready(&self) -> Result<(), LaunchError> {
        let url = format!("{}/productpage", self.url());
        let client = Outside::default();
        let (started, mut streak, mut last, mut answered) =
            (Instant::now(), 0, String::new(), false);
        while started.elapsed() < READY {
            match client.get(&url, &HeaderMap::new()).await {
                Ok(reply) if reply.status == StatusCode::OK => {
                    let page = reply.text();
                    let broken = page.contains("Error fetching product")
                        || page.contains("currently unavailable");
                    streak = if broken { 0 } else { streak + 1 };
                    answered = true;
                    last = "200, with an error on the page".to_owned();
                }
                Ok(reply) => {
                    (streak, last) = (0, format!("{}: {}", reply.status, reply.text().trim_end()))
                }
                Err(error) => (streak, last) = (0, error.to_string()),
            }
            if streak >= STREAK || (answered && started.elapsed() > READY / 3) {
                return Ok(());
            }
            if streak == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Err(LaunchError::NotReady { url, last })
    }
}

/// All that can be found wrong before anything is started.
fn prepare(options: &Options) -> Result<(Folder, PathBuf), LaunchError> {
    if options.port != 0 {
        let port = options.port;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|source| LaunchError::Port { port, source })?;
    }
    let program = std::env::current_exe().map_err(LaunchError::Program)?;
    let folder = match (&options.control_plane, &options.config) {
        (Some(_), None) => return Err(LaunchError::NoFolder),
        (Some(_), Some(dir)) => Folder::shared(dir)?,
        (None, dir) => Folder::copy(dir.as_deref())?,
    };
    if folder.is_copy() {
        let named = options.config.as_deref().unwrap_or_else(|| folder.path());
        Config::load(folder.path()).map_err(|rejected| LaunchError::Config {
            dir: named.to_owned(),
            rejected,
        })?;
    }
    Ok((folder, program))
}

fn start_control_plane(program: &Path, folder: &Folder) -> Result<Child, ChildError> {
    let arguments = [
        "control-plane".into(),
        "--config".into(),
        folder.path().into(),
        "--listen=127.0.0.1:0".into(),
        "--stop-on-stdin-eof".into(),
        // After a SIGKILL of ours it is the last one that can.
        "--remove-on-exit".into(),
        folder.path().into(),
    ];
    Child::start(program, "control-plane".to_owned(), arguments, [])
}

fn start_service(
    program: &Path,
    workload: &Workload,
    control_plane: &str,
) -> Result<Child, ChildError> {
    let listen = SocketAddr::new(workload.ip, 0);
    let arguments = [
        "service".into(),
        workload.service.into(),
        format!("--version={}", workload.version).into(),
        format!("--listen={listen}").into(),
        "--stop-on-stdin-eof".into(),
    ];
    let variables = [
        (
            "GRPC_XDS_BOOTSTRAP_CONFIG",
            bootstrap::sidecar(workload, control_plane).to_string(),
        ),
        ("HOSTNAME", workload.name()),
        (demo::VARIABLE, "true".to_owned()),
        ("DO_NOT_ENCRYPT", "true".to_owned()),
    ];
    Child::start(program, workload.name(), arguments, variables)
}

fn start_ingress(
    program: &Path,
    port: u16,
    folder: &Folder,
    bootstrap: &serde_json::Value,
) -> Result<Child, ChildError> {
    let mut arguments: Vec<OsString> = vec![
        "ingress".into(),
        format!("--port={port}").into(),
        "--stop-on-stdin-eof".into(),
    ];
    if !folder.is_copy() {
        arguments.extend([
            "--remove-on-exit".into(),
            folder.path().join(folder::WORKLOADS).into(),
        ]);
    }
    let variables = [("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string())];
    Child::start(program, "ingress".to_owned(), arguments, variables)
}

/// `host:port` of a URI; a bootstrap names its servers without a scheme.
fn authority(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.trim_end_matches('/')
}
