//! Row `grpc c=16`: what a unary call costs through the mesh, against tonic's own `Channel`. Beside it,
//! for the record, tonic-xds: with the same routes, but one virtual host and no split.

mod client;
mod echo;
mod peer;

use std::io::Write;
use std::time::Duration;

use mesh_tower::MeshChannel;
use tonic::transport::{Channel, Endpoint};

use self::client::{Caller, check, failed};
pub(crate) use self::echo::serve;
use self::peer::Peers;
pub(crate) use self::peer::serve_plane;
use crate::compare::Settings;
use crate::error::BenchError;
use crate::folder::{self, Protocol};
use crate::paired::{self, Arms, OURS, PLAIN, Paired, block};
use crate::report::{Promise, Row};
use crate::server::Server;

/// What the row promises.
pub(crate) const PROMISE: Promise = Promise {
    name: "grpc c=16",
    text: "CPU of client and server per unary call through Mesh::channel (1,000 virtual hosts; the called one has \
           1,000 routes, of which the last one matches and splits 90/10) over the same through tonic's Channel; \
           128 bytes there and back, 16 at a time. For the record tonic-xds: one virtual host with 1 and with \
           1,000 routes, of which the last one matches, without a split",
    must: 1.02,
    reach: 0.98,
};

/// About 25 ms on one core of 2024.
const REQUESTS_PER_BLOCK: usize = 1_000;

/// tonic-xds with one route, and with as many as ours.
const ONE: usize = OURS + 1;
const MANY: usize = OURS + 2;

/// The arms in words, in their order.
const NAMES: [&str; 5] = [
    "plain",
    "plain again",
    "ours",
    peer::ONE.arm,
    peer::MANY.arm,
];

/// Runs the row.
pub(crate) fn run(settings: &Settings, out: &mut impl Write) -> Result<Row, BenchError> {
    paired::run(start(settings), settings, out)
}

/// Makes calls through one arm and measures nothing: something to point a profiler at.
pub(crate) fn drive(ours: bool, requests: usize) -> Result<(), BenchError> {
    paired::drive(start(&Settings::UNMEASURED), ours, requests)
}

struct Clients {
    plain: [Caller<Channel>; 2],
    ours: Caller<MeshChannel>,
    peers: Peers,
    /// The folder is followed for as long as the mesh lives.
    _folder: tempfile::TempDir,
}

impl Arms for Clients {
    fn names(&self) -> &[&'static str] {
        &NAMES
    }

    async fn block(&self, arm: usize, requests: usize) -> Result<(), BenchError> {
        let [plain, again] = &self.plain;
        match arm {
            PLAIN => block(plain, requests).await,
            OURS => block(&self.ours, requests).await,
            ONE => block(&self.peers.one, requests).await,
            MANY => block(&self.peers.many, requests).await,
            _ => block(again, requests).await,
        }
    }
}

async fn start(settings: &Settings) -> Result<Paired<Clients>, BenchError> {
    let server = Server::spawn(&["serve-grpc"]).await?;
    let folder = tempfile::tempdir()?;
    let mesh = folder::mesh(folder.path(), Protocol::Grpc, server.address, settings.seed).await?;
    let target = format!("xds:///{}:{}", folder::CALLED, folder::PORT);
    let ours = mesh
        .channel(&target)
        .map_err(|error| failed(NAMES[OURS], error.to_string()))?;
    check(ours.clone().with_call_info()).await?;
    let plain = Endpoint::from_shared(format!("http://{}", server.address))
        .map_err(|error| failed(NAMES[PLAIN], error.to_string()))?;
    let peers = peer::start(server.address).await?;
    let unspun = Duration::ZERO;
    let clients = Clients {
        plain: [
            Caller::new(NAMES[0], plain.connect_lazy(), unspun),
            Caller::new(NAMES[1], plain.connect_lazy(), unspun),
        ],
        ours: Caller::new(NAMES[OURS], ours, settings.spin),
        peers,
        _folder: folder,
    };
    Paired::new(&PROMISE, REQUESTS_PER_BLOCK, server, clients)
}
