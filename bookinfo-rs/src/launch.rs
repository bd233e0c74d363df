//! The launcher: all of Bookinfo as child processes of one, with a control plane behind and an ingress in front.
//!
//! Order: janitor, certificates, control plane, services (each binds port 0 and says its address), `workloads.yaml`, ingress. Every
//! child holds the other end of a pipe; they stop when it closes, however the launcher ends. The janitor then removes
//! what is ours, so it is there before the first file is.

pub mod bootstrap;
pub mod certificates;
pub mod child;
mod children;
mod control_plane;
pub mod folder;
mod gateway;
mod gateways;
mod mtls;
pub mod topology;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use http::{HeaderMap, StatusCode};
use mesh_xds::ads::{InvalidServer, Server};
use tokio::time::Instant;

use self::bootstrap::{EGRESS, EGRESS_ACCOUNT, GATEWAYS, INGRESS, INGRESS_ACCOUNT, NAMESPACE};
use self::certificates::{Certificates, CertificatesError, Renewal};
use self::child::{Child, ChildError, Died};
use self::control_plane::ControlPlane;
use self::folder::{Folder, FolderError};
use self::gateways::Gateways;
pub use self::gateways::Wanted;
pub use self::mtls::Mtls;
use self::topology::Workload;
use crate::outside::Outside;

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
    /// Whether reviews v3 asks ratings by gRPC.
    pub grpc_ratings: bool,
    /// How calls between services are secured.
    pub mtls: Mtls,
    /// How long a certificate is valid; zero for 24 hours.
    pub cert_ttl: Duration,
    /// Gateways beside the ingress; a tour wants those of its tasks.
    pub gateways: Wanted,
    /// Whether a tour is played: its rules will be written to `config`.
    pub tour: bool,
}

/// A running Bookinfo.
#[derive(Debug)]
pub struct Demo {
    folder: Folder,
    janitor: Child,
    control_plane: Option<ControlPlane>,
    control_plane_address: String,
    services: Vec<Child>,
    workloads: Vec<(Workload, SocketAddr)>,
    ingress: Option<Child>,
    ingress_address: SocketAddr,
    gateways: Gateways,
    /// After the children: they read it to their end.
    certificates: Option<Certificates>,
}

/// Why Bookinfo does not run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The control plane's address.
    #[error("--control-plane cannot be used: {0}")]
    ControlPlane(#[from] InvalidServer),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
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
    /// Nothing leads in.
    #[error(
        "no Gateway in {} has the selector istio: ingressgateway and a server, so nothing leads in; add one or name another folder with --config",
        .0.display()
    )]
    NoGateway(PathBuf),
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
    #[error("{url} does not answer with 200 within {READY:?}; last: {last}{hint}")]
    NotReady {
        /// The page.
        url: String,
        /// What came last.
        last: String,
        /// What to look at.
        hint: String,
    },
}

impl Demo {
    /// Starts everything, and returns when the page answers.
    ///
    /// # Errors
    /// When anything of it does not start; what has been started is stopped again.
    pub async fn start(options: &Options) -> Result<Self, LaunchError> {
        let Prepared {
            program,
            folder,
            janitor,
            gateway_port,
            server,
            mut certificates,
        } = prepare(options)?;
        let (control_plane, control_plane_address) = match server {
            Some(server) => (None, server.uri().to_string()),
            None => {
                let own = ControlPlane::start(&program, folder.path(), options.mtls.certificates())
                    .await?;
                let address = own.address().to_string();
                (Some(own), address)
            }
        };
        let (workloads, ingress_ip) = topology::workloads(topology::bindable());
        if let Some(certificates) = &mut certificates {
            fill(certificates, &workloads, options)?;
        }
        let of = |name: &str| certificates.as_ref().map(|all| all.of(name));
        let started = workloads.iter().map(|workload| {
            let (own, server) = (of(&workload.name()), &control_plane_address);
            children::service(&program, workload, server, own.as_deref(), options)
        });
        let mut services = started.collect::<Result<Vec<_>, _>>()?;
        let listening = join_all(services.iter_mut().map(Child::listening)).await;
        let addresses = listening.into_iter().collect::<Result<Vec<_>, _>>()?;
        let workloads: Vec<_> = workloads.into_iter().zip(addresses).collect();
        folder.write_workloads(&workloads)?;
        let bootstrap = bootstrap::router(ingress_ip, &control_plane_address);
        let (own, ports) = (of(INGRESS), [options.port, gateway_port]);
        let mut ingress = children::gateway(
            &program,
            children::INGRESS,
            ports,
            &bootstrap,
            own.as_deref(),
        )?;
        let ingress_address = ingress.listening().await?;
        let at = (ingress_ip, &*control_plane_address);
        let gateways = Gateways::start(&program, options.gateways, at, of).await?;
        let demo = Self {
            folder,
            janitor,
            control_plane,
            control_plane_address,
            services,
            workloads,
            ingress: Some(ingress),
            ingress_address,
            gateways,
            certificates,
        };
        demo.settled().await
    }

    /// This, once the page answers.
    async fn settled(self) -> Result<Self, LaunchError> {
        let ready = tokio::select! {
            ready = self.ready() => ready,
            died = self.died() => Err(ChildError::Died(died).into()),
        };
        match ready {
            Ok(()) => Ok(self),
            Err(error) => {
                // Its services end before what they read is taken away. That error is the one to tell.
                drop(self.stop().await);
                Err(error)
            }
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.ingress_address)
    }

    /// Where the ingress takes TLS, if that was wanted.
    pub const fn https_address(&self) -> Option<SocketAddr> {
        self.gateways.https
    }

    /// Where the egress gateway listens, if one was wanted.
    pub const fn egress_address(&self) -> Option<SocketAddr> {
        self.gateways.egress
    }

    /// The configuration folder that is in force.
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The folder of the authority and of all workloads' certificates.
    pub fn certificates(&self) -> Option<&Path> {
        self.certificates.as_ref().map(Certificates::path)
    }

    /// Renews the certificates of all workloads; nothing where they have none.
    pub fn renewal(&self) -> Option<Renewal> {
        self.certificates.as_ref().and_then(Certificates::renewal)
    }

    /// The folder with a folder for the certificate of each workload.
    pub fn workload_certificates(&self) -> Option<PathBuf> {
        self.certificates.as_ref().map(Certificates::workloads)
    }

    /// Where the control plane listens.
    pub fn control_plane_address(&self) -> &str {
        &self.control_plane_address
    }

    /// Where each workload listens.
    pub fn workloads(&self) -> &[(Workload, SocketAddr)] {
        &self.workloads
    }

    /// Waits until a child ends that should not, and is not started again.
    pub async fn died(&self) -> Died {
        type Waiting<'a> = Pin<Box<dyn Future<Output = Died> + Send + 'a>>;
        let children = self.services.iter().chain(&self.ingress);
        let children = children.chain(self.gateways.children());
        let mut waiting: Vec<Waiting<'_>> = vec![Box::pin(self.janitor.died())];
        waiting.extend(children.map(|child| Box::pin(child.died()) as Waiting<'_>));
        if let Some(control_plane) = &self.control_plane {
            waiting.push(Box::pin(control_plane.lost()));
        }
        select_all(waiting).await.0
    }

    /// Stops everything from the outside in, and removes what is ours.
    ///
    /// # Errors
    /// When the configuration cannot be removed.
    pub async fn stop(self) -> Result<(), FolderError> {
        if let Some(ingress) = self.ingress {
            ingress.stop().await;
        }
        self.gateways.stop().await;
        join_all(self.services.into_iter().map(Child::stop)).await;
        if let Some(control_plane) = self.control_plane {
            control_plane.stop().await;
        }
        drop(self.certificates);
        let removed = self.folder.remove();
        self.janitor.stop().await;
        removed
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
        let last = last.trim_end_matches('.').to_owned();
        let hint = self.hint();
        Err(LaunchError::NotReady { url, last, hint })
    }

    /// What to look at when nothing answers.
    fn hint(&self) -> String {
        let (server, folder) = (&self.control_plane_address, self.folder.path().display());
        match self.control_plane {
            Some(_) => String::new(),
            None => format!(
                "; does a control plane run at {server} (--control-plane), and does it read {folder} (--config)?"
            ),
        }
    }
}

/// A certificate for each workload and each gateway.
fn fill(
    certificates: &mut Certificates,
    workloads: &[Workload],
    options: &Options,
) -> Result<(), CertificatesError> {
    let accounts = workloads.iter();
    let accounts = accounts.map(|one| (one.name(), NAMESPACE, one.service_account()));
    let egress = options.gateways.egress;
    let egress = egress.then_some((EGRESS, EGRESS_ACCOUNT));
    let gateways = [(INGRESS, INGRESS_ACCOUNT)].into_iter().chain(egress);
    let gateways = gateways.map(|(name, account)| (name.to_owned(), GATEWAYS, account.to_owned()));
    certificates.fill(accounts.chain(gateways), options.cert_ttl)
}

/// What must be right before a service is started.
struct Prepared {
    program: PathBuf,
    folder: Folder,
    janitor: Child,
    gateway_port: u16,
    server: Option<Server>,
    certificates: Option<Certificates>,
}

/// All that can be found wrong before a service is started.
fn prepare(options: &Options) -> Result<Prepared, LaunchError> {
    let server = match &options.control_plane {
        Some(uri) => Some(Server::insecure(uri)?),
        None => None,
    };
    if options.port != 0 {
        let port = options.port;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|source| LaunchError::Port { port, source })?;
    }
    let program = std::env::current_exe().map_err(LaunchError::Program)?;
    let from = options.config.as_deref();
    let folder = match (&server, from) {
        (Some(_), None) => return Err(LaunchError::NoFolder),
        (Some(_), Some(dir)) => Folder::shared(dir, options.tour)?,
        (None, dir) => Folder::temporary(dir)?,
    };
    let rules = options.mtls.rules(folder.is_copy());
    let folder = folder.with_mtls(rules)?;
    let certificates = match options.mtls.certificates() {
        true => Some(Certificates::new()?),
        false => None,
    };
    let janitor = children::janitor(&program, &folder, certificates.as_ref())?;
    folder.fill(from)?;
    let named = || from.unwrap_or_else(|| folder.path()).to_owned();
    let loaded = options
        .mtls
        .compiling()
        .load(folder.path())
        .map_err(|rejected| LaunchError::Config {
            dir: named(),
            rejected,
        })?;
    let gateway_port =
        gateway::port(&loaded.config).ok_or_else(|| LaunchError::NoGateway(named()))?;
    Ok(Prepared {
        program,
        folder,
        janitor,
        gateway_port,
        server,
        certificates,
    })
}
