//! Every number that the README claims, re-runnable: `cargo run --release -p benches -- compare`.
//!
//! Each row is a ratio of two measurements of one run, so that it means the same on every machine.

mod compare;
mod error;
mod folder;
mod grpc;
mod handshakes;
mod http1;
mod instructions;
mod machine;
mod mtls;
mod paired;
mod plane;
mod publish;
mod push;
mod report;
mod resources;
mod rotation;
mod secured;
mod server;
mod stats;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::compare::Options;
use crate::error::BenchError;
use crate::instructions::World;

/// Measures mesh-tower against what it replaces.
#[derive(Debug, Parser)]
#[command(name = "benches", version)]
enum Command {
    /// Compares row by row. Exits with 1 when a row is worse than it must be.
    Compare(Options),
    /// Counts the instructions of a call in a large configuration against a small one. Exits with 1
    /// when it is more than it must be. Needs valgrind.
    Instructions(instructions::Options),
    /// Measures what requests over open connections feel of new clients. Exits with 1 when it is more than it must be.
    Handshakes(handshakes::Options),
    /// Replaces certificates and the root under load. Exits with 1 when a request fails, or when a new certificate is not
    /// seen.
    Rotation(rotation::Options),
    /// The plain server behind every arm of a row; started by `compare` and `instructions`.
    #[command(hide = true)]
    Serve,
    /// New clients of a server, again and again; started by `handshakes`.
    #[command(hide = true)]
    Knock {
        /// The server.
        server: SocketAddr,
        /// The folder of the workload's certificate.
        certificates: PathBuf,
    },
    /// Both servers of mutual TLS; started by `compare` and `handshakes`.
    #[command(hide = true)]
    ServeMtls {
        /// The control plane.
        plane: SocketAddr,
        /// The folder of the workload's certificate.
        certificates: PathBuf,
        /// Leaves the present core to the thread that serves requests.
        #[arg(long)]
        shakes_elsewhere: bool,
    },
    /// The gRPC server behind every arm of a row; started by `compare`.
    #[command(hide = true)]
    ServeGrpc,
    /// The control plane of tonic-xds; started by `compare`.
    #[command(hide = true)]
    PlaneGrpc {
        /// The gRPC server.
        backend: SocketAddr,
    },
    /// The control plane of a world; started by `instructions`.
    #[command(hide = true)]
    Plane {
        /// What it says.
        world: World,
        /// The plain server.
        backend: SocketAddr,
    },
    /// The control plane of row `push`; started by `compare`.
    #[command(hide = true)]
    PlanePush {
        /// The plain server.
        backend: SocketAddr,
    },
    /// Makes the calls whose instructions are counted; started by `instructions`.
    #[command(hide = true)]
    Counted {
        /// The control plane.
        plane: SocketAddr,
    },
    /// Does what a row does and measures nothing: something to point a profiler at.
    #[command(hide = true)]
    Drive {
        /// The mesh's client instead of the plain one.
        #[arg(long)]
        ours: bool,
        /// Row `grpc` instead of `http1`.
        #[arg(long)]
        grpc: bool,
        /// Row `mtls` instead of `http1`.
        #[arg(long, conflicts_with = "grpc")]
        mtls: bool,
        /// Changes of endpoints among so many clusters, as row `publish` makes them, instead of requests.
        #[arg(long, conflicts_with_all = ["ours", "grpc", "mtls"])]
        publish: Option<usize>,
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        requests: usize,
    },
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Compare(options) => compare::run(&options, &mut std::io::stdout().lock()),
        Command::Instructions(options) => {
            instructions::run(&options, &mut std::io::stdout().lock())
        }
        Command::Handshakes(options) => handshakes::run(&options, &mut std::io::stdout().lock()),
        Command::Knock {
            server,
            certificates,
        } => handshakes::knock(server, &certificates).map(|()| ExitCode::SUCCESS),
        Command::Rotation(options) => rotation::run(&options, &mut std::io::stdout().lock()),
        Command::Plane { world, backend } => {
            instructions::serve_plane(world, backend).map(|()| ExitCode::SUCCESS)
        }
        Command::PlanePush { backend } => push::serve(backend).map(|()| ExitCode::SUCCESS),
        Command::Counted { plane } => instructions::drive(plane).map(|()| ExitCode::SUCCESS),
        Command::Drive {
            ours,
            grpc,
            mtls,
            publish,
            requests,
        } => {
            let driven = match publish {
                Some(clusters) => publish::drive(clusters, requests),
                None if grpc => grpc::drive(ours, requests),
                None if mtls => mtls::drive(ours, requests),
                None => http1::drive(ours, requests),
            };
            driven.map(|()| ExitCode::SUCCESS)
        }
        Command::Serve => server::serve().map(|()| ExitCode::SUCCESS),
        Command::ServeMtls {
            plane,
            certificates,
            shakes_elsewhere,
        } => mtls::serve(plane, &certificates, shakes_elsewhere).map(|()| ExitCode::SUCCESS),
        Command::ServeGrpc => grpc::serve().map(|()| ExitCode::SUCCESS),
        Command::PlaneGrpc { backend } => grpc::serve_plane(backend).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error: BenchError| {
        // Nothing is left to do when even stderr is gone.
        drop(writeln!(std::io::stderr(), "benches: {error}"));
        ExitCode::from(2)
    })
}
