//! Row `http1 c=16`: what a request costs through the mesh, against hyper-util's own client.

mod client;

use std::io::Write;

use self::client::{Ours, Plain};
use crate::compare::Settings;
use crate::error::BenchError;
use crate::folder::{self, Protocol};
use crate::paired::{self, Arms, Paired, block};
use crate::report::{Promise, Row};
use crate::server::Server;

/// What the row promises.
pub(crate) const PROMISE: Promise = Promise {
    name: "http1 c=16",
    text: "CPU of client and server per request through MeshClient (1,000 virtual hosts; the called one has \
           1,000 routes, of which the last one matches and splits 90/10) over the same through hyper-util's \
           legacy client; HTTP/1.1, 128 bytes there and back, 16 at a time",
    must: 1.00,
    reach: 0.92,
};

/// About 25 ms on one core of 2024.
const REQUESTS_PER_BLOCK: usize = 1_200;

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
    /// The folder is followed for as long as the mesh lives.
    _folder: tempfile::TempDir,
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
    let server = Server::start().await?;
    let folder = tempfile::tempdir()?;
    let mesh = folder::mesh(folder.path(), Protocol::Http, server.address, settings.seed).await?;
    let ours = Ours::new(&mesh, settings.spin)?;
    ours.check().await?;
    let clients = Clients {
        plain: [
            Plain::new("plain", server.address)?,
            Plain::new("plain again", server.address)?,
        ],
        ours,
        _folder: folder,
    };
    Paired::new(&PROMISE, REQUESTS_PER_BLOCK, server, clients)
}
