//! The command line.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mesh_control_plane::ControlPlane;
use mesh_control_plane::ca::LONGEST_TTL;
use mesh_tower::Mesh;
use tracing_subscriber::EnvFilter;

use crate::ingress::{self, Gateway, IngressError};
use crate::launch::certificates::SHORTEST;
use crate::launch::folder::{self, FolderError};
use crate::launch::{Demo, LaunchError, Mtls, Options, Wanted};
use crate::process::{self, announce, say, warn};
use crate::service::settings::{Settings, SettingsError};
use crate::tour::{self, Task, TourError};

/// Istio's Bookinfo in a mesh without sidecars.
///
/// Without a command: starts all services, a control plane and an ingress, prints the URL, and stops them on Ctrl-C.
#[derive(Debug, Parser)]
// A flag before a command would otherwise be taken and not heeded.
#[command(name = "bookinfo", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    launch: Launch,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What `bookinfo` and `bookinfo tour` start.
#[derive(Debug, Args)]
struct Launch {
    /// Folder of Istio YAML. A temporary copy of it is used; with --control-plane, the folder itself.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Port of the ingress on 127.0.0.1; 0 lets the system choose.
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
    /// A control plane that runs already and reads --config, as host:port or http://host:port. Only workloads.yaml,
    /// bookinfo-mtls.yaml and a tour's bookinfo-tour.yaml are written there, and removed.
    #[arg(long, value_name = "URI")]
    control_plane: Option<String>,
    /// Red stars (reviews v3) are asked for by gRPC; a tour does so for its task grpc-ratings.
    #[arg(long)]
    grpc_ratings: bool,
    /// How calls between services are secured.
    #[arg(long, value_enum, default_value_t)]
    mtls: Mtls,
    /// How long a workload's certificate is valid, as 10s, 5m or 24h; at half of it the next one is there. At most 90 days.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = cert_ttl)]
    cert_ttl: Duration,
}

/// A life that a certificate can have.
fn cert_ttl(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err("write a number with s, m or h behind it".to_owned()),
    };
    let number = &text[..text.len() - 1];
    let number: u32 = number
        .parse()
        .map_err(|error| format!("{number:?}: {error}"))?;
    let ttl = Duration::from_secs(u64::from(number) * unit);
    match ttl {
        ttl if ttl < SHORTEST => Err(format!(
            "workloads look for a new certificate each second: the shortest is {SHORTEST:?}"
        )),
        ttl if ttl > LONGEST_TTL => Err("the longest is 2160h".to_owned()),
        ttl => Ok(ttl),
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one service, in the mesh that GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG names.
    Service {
        /// productpage, details, reviews or ratings.
        name: String,
        /// v1; v2 of details; v2, v3 of reviews; v-faulty, v-delayed, v-unavailable, v-unhealthy of ratings.
        #[arg(long, default_value = "v1")]
        version: String,
        /// Where to listen.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        #[command(flatten)]
        life: Life,
    },
    /// Serves a folder of Istio YAML to the services.
    ControlPlane {
        /// Folder of Istio YAML.
        #[arg(long, value_name = "DIR")]
        config: PathBuf,
        /// Where to listen.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Services have certificates: rules about mutual TLS are in force.
        #[arg(long)]
        certificates: bool,
        #[command(flatten)]
        life: Life,
    },
    /// Serves the routes of the Gateway to the outside.
    Ingress {
        /// Port on 127.0.0.1; 0 lets the system choose.
        #[arg(long, value_name = "N", default_value_t = 0)]
        port: u16,
        /// The port of the routes: the number in the Gateway.
        #[arg(long, value_name = "N")]
        gateway_port: u16,
        #[command(flatten)]
        life: Life,
    },
    /// Removes the launcher's own folder or files when stdin closes.
    #[command(hide = true)]
    Janitor {
        /// The folder or files.
        #[arg(value_name = "PATH", required = true)]
        targets: Vec<PathBuf>,
    },
    /// Plays Istio's tasks and says whether each did what it should.
    Tour {
        /// Writes the results to this file, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Plays one task alone.
        #[arg(long, value_name = "TASK")]
        only: Option<Task>,
        /// Applies nothing: succeeds if every check fails and shows the baseline instead.
        #[arg(long)]
        control: bool,
        #[command(flatten)]
        launch: Launch,
    },
}

/// When a process ends.
#[derive(Debug, Args)]
struct Life {
    /// Stops when stdin closes.
    #[arg(long)]
    stop_on_stdin_eof: bool,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The environment of a service.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The mesh.
    #[error(transparent)]
    Start(#[from] mesh_tower::StartError),
    /// A service's listener.
    #[error("{source} (the address is --listen)")]
    Listen {
        /// What the mesh said.
        source: mesh_tower::ListenError,
    },
    /// A service's server.
    #[error(transparent)]
    Serve(#[from] mesh_tower::ListenError),
    /// The control plane did not start.
    #[error(transparent)]
    ControlPlaneStart(#[from] mesh_control_plane::StartError),
    /// The control plane ended.
    #[error(transparent)]
    ControlPlane(#[from] mesh_control_plane::Ended),
    /// The ingress.
    #[error(transparent)]
    Ingress(#[from] IngressError),
    /// The launcher.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The launcher's folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A child ended while it was needed.
    #[error("{0}")]
    Died(crate::launch::child::Died),
    /// The tour.
    #[error(transparent)]
    Tour(#[from] TourError),
    /// Stdout.
    #[error("stdout is closed: {0}")]
    Stdout(#[from] io::Error),
}

/// Runs the command that the process's arguments name.
///
/// # Errors
/// When it fails; the error is one sentence for stderr.
pub async fn run() -> Result<ExitCode, CliError> {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    match cli.command {
        None => launch(&cli.launch.into()).await,
        Some(Command::Service {
            name,
            version,
            listen,
            life,
        }) => service(&name, &version, listen, &life).await,
        Some(Command::ControlPlane {
            config,
            listen,
            certificates,
            life,
        }) => control_plane(config, listen, certificates, &life).await,
        Some(Command::Ingress {
            port,
            gateway_port,
            life,
        }) => run_ingress(port, gateway_port, &life).await,
        Some(Command::Janitor { targets }) => {
            // A signal must not make it remove what is still in use; the launcher's end does.
            process::stdin_closed().await;
            folder::remove_all(&targets)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Tour {
            json,
            only,
            control,
            launch,
        }) => {
            let options = tour::Options {
                json,
                only,
                control,
                launch: Options {
                    tour: !control,
                    ..launch.into()
                },
            };
            Ok(if tour::run(&options).await? {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

impl From<Launch> for Options {
    fn from(launch: Launch) -> Self {
        Self {
            config: launch.config,
            port: launch.port,
            control_plane: launch.control_plane,
            grpc_ratings: launch.grpc_ratings,
            mtls: launch.mtls,
            cert_ttl: launch.cert_ttl,
            gateways: Wanted::default(),
            tour: false,
        }
    }
}

async fn service(
    name: &str,
    version: &str,
    listen: SocketAddr,
    life: &Life,
) -> Result<ExitCode, CliError> {
    let stop = process::stop(life.stop_on_stdin_eof);
    let mesh = Mesh::from_env().await?;
    let app = crate::service::router(name, version, &mesh, &Settings::from_env())?;
    let listener = mesh
        .listen(&listen.to_string())
        .await
        .map_err(|source| CliError::Listen { source })?;
    announce(listener.local_addr())?;
    process::serve(&mesh, listener, app, stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn control_plane(
    config: PathBuf,
    listen: SocketAddr,
    certificates: bool,
    life: &Life,
) -> Result<ExitCode, CliError> {
    let stop = process::stop(life.stop_on_stdin_eof);
    let options = mesh_control_plane::Options::default().certificates(certificates);
    let mut control_plane = ControlPlane::start_with(&config, listen, options).await?;
    announce(control_plane.local_addr())?;
    tokio::select! {
        ended = control_plane.run() => ended?,
        () = stop => {}
    }
    control_plane.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn run_ingress(port: u16, gateway_port: u16, life: &Life) -> Result<ExitCode, CliError> {
    let stop = process::stop(life.stop_on_stdin_eof);
    let mesh = Mesh::from_env().await?;
    let gateway = Gateway {
        mesh,
        port: gateway_port,
    };
    let address = (Ipv4Addr::LOCALHOST, port).into();
    ingress::serve(&gateway, address, announce, stop).await?;
    gateway.mesh.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn launch(options: &Options) -> Result<ExitCode, CliError> {
    let demo = tokio::select! {
        demo = Demo::start(options) => demo?,
        () = process::signal() => return Ok(ExitCode::FAILURE),
    };
    say(&greeting(&demo))?;
    let died = tokio::select! {
        died = demo.died() => Some(died),
        () = process::signal() => None,
    };
    if died.is_none() {
        warn("stopping");
    }
    demo.stop().await?;
    died.map_or(Ok(ExitCode::SUCCESS), |died| Err(CliError::Died(died)))
}

fn greeting(demo: &Demo) -> String {
    let folder = demo.folder().path().display();
    let kept = if demo.folder().is_copy() {
        "a temporary copy, removed at the end"
    } else {
        "yours; workloads.yaml is removed at the end"
    };
    let certificates = match demo.certificates() {
        Some(dir) => format!(
            "{} (a folder for each workload, removed at the end)",
            dir.display()
        ),
        None => "none: calls are plaintext (--mtls off)".to_owned(),
    };
    format!(
        "Bookinfo is up: {}/productpage\n\n  configuration  {folder} ({kept})\n  control plane  {}\n  certificates   {certificates}\n\n\
         Try next:\n  \
         reload the page: reviews v1 (no stars), v2 (black stars) and v3 (red stars) take turns\n  \
         cargo run -p meshctl -- apply --config {folder} -f bookinfo-rs/tasks/virtual-service-reviews-v3.yaml\n    \
         and reload: red stars only; `delete` instead of `apply` takes it back\n  \
         cargo run --release -p bookinfo-rs -- tour\n    plays Istio's tasks without a person\n\n\
         Ctrl-C stops everything.",
        demo.url(),
        demo.control_plane_address(),
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        assert!(
            Cli::try_parse_from(["bookinfo", "--port", "1", "tour"]).is_err(),
            "--port belongs after tour"
        );
        assert!(
            Cli::try_parse_from(["bookinfo", "tour", "--port", "1", "--only", "blue-green"])
                .is_ok()
        );
        for (arguments, grpc) in [
            (&["bookinfo"][..], false),
            (&["bookinfo", "--grpc-ratings"], true),
        ] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!(Options::from(cli.launch).grpc_ratings, grpc);
        }
    }
}
