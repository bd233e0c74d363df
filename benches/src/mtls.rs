//! Row `mtls c=16`: what a request costs from mesh to mesh by mutual TLS, against hyper's client and server with rustls
//! by hand.

mod client;
mod server;
mod tls;

use std::io::Write;

use self::client::Ours;
pub(crate) use self::client::Plain;
pub(crate) use self::server::{Servers, serve};
use crate::compare::Settings;
use crate::error::BenchError;
use crate::paired::{self, Arms, Paired, block};
use crate::report::{Promise, Row};
use crate::secured::{self, Authority, CALLER, World};

/// What the row promises.
pub(crate) const PROMISE: Promise = Promise {
    name: "mtls c=16",
    text: "CPU of client and server per request from MeshClient to Mesh::serve by mutual TLS (PeerAuthentication STRICT, \
           no policies) over the same from hyper-util's legacy client to hyper's server with rustls on both sides, \
           certificates on both, the same cryptography; HTTP/1.1 over connections that are open, 128 bytes there and \
           back, 16 at a time",
    must: 1.10,
    reach: 1.00,
};

/// About 30 ms on one core of 2024.
const REQUESTS_PER_BLOCK: usize = 1_000;

/// Runs the row.
pub(crate) fn run(settings: &Settings, out: &mut impl Write) -> Result<Row, BenchError> {
    paired::run(start(settings), settings, out)
}

/// Sends requests through one arm and measures nothing: something to point a profiler at.
pub(crate) fn drive(ours: bool, requests: usize) -> Result<(), BenchError> {
    paired::drive(start(&Settings::UNMEASURED), ours, requests)
}

struct Clients {
    plain: [Plain; 2],
    ours: Ours,
    _world: World,
}

impl Arms for Clients {
    fn names(&self) -> &[&'static str] {
        &["plain", "plain again", "ours"]
    }

    async fn block(&self, arm: usize, requests: usize) -> Result<(), BenchError> {
        match self.plain.get(arm) {
            Some(plain) => block(plain, requests).await,
            None => block(&self.ours, requests).await,
        }
    }
}

async fn start(settings: &Settings) -> Result<Paired<Clients>, BenchError> {
    let authority = Authority::new("the authority")?;
    let world = World::start(&authority).await?;
    let servers = Servers::start(&world, false).await?;
    let mesh = secured::mesh(CALLER, world.plane(), &world.certificates(CALLER))?;
    let ours = Ours::new(&mesh, settings.spin)?;
    secured::answered(&mesh.client()).await?;
    let config = secured::client(&world.certificates(CALLER))?;
    let clients = Clients {
        plain: [
            Plain::new("plain", &config, servers.plain)?,
            Plain::new("plain again", &config, servers.plain)?,
        ],
        ours,
        _world: world,
    };
    Paired::new(&PROMISE, REQUESTS_PER_BLOCK, servers.process, clients)
}
